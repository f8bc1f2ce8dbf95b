"""OCI Companion: code written or repaired by a local model, proposed once your tests have proven it."""

__version__ = "0.1.0"
