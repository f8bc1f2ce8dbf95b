"""Runs a project's tests on a candidate text, in a sandbox; knows nothing of LSP or models."""
