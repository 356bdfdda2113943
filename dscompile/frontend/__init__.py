"""Reads networks: net.yaml, ONNX, TFLite. Every reader gives the same typed Network, or errors with their places."""
