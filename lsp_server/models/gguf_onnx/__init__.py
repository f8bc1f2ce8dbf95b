"""A GGUF file straight to the ONNX folder that the engine loads, its quantised blocks kept, without PyTorch."""
