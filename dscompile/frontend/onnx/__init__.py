"""ONNX files: reading, and every operator as layers of a network; and the way back."""
