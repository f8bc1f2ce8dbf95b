"""Runs inside the export environment (torch, transformers, the builder): imports nothing else of the companion."""
