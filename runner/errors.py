"""Why tests could not be run at all."""

from __future__ import annotations


class RunnerError(Exception):
    """Tests could not be run at all; the message says what mends it."""


class InterpreterError(RunnerError):
    """No usable interpreter, or it lacks pytest."""


class SandboxUnavailable(RunnerError):
    """No isolation level works here and the user has not switched the sandbox off."""
