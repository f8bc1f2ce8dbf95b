"""Runs in EvalPlus' own environment, in the sandbox: imports nothing else of the companion."""
