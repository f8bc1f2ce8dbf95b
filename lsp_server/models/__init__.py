"""The models: which there are, where they come from, and how they become ONNX."""
