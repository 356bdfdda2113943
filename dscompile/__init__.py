"""Ahead-of-time compiler for depthwise-separable CNNs."""

__version__ = "0.1.0"
