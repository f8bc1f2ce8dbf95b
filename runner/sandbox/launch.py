"""How one process is started, at whatever isolation level."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

INSIDE = Path(__file__).resolve().parent.parent / "inside"
"""The files that run in the user's interpreter."""


@dataclass
class Launch:
    """A command that starts a program, and what that has to know of where it is."""

    level: str
    """Isolation level, for the report."""
    wrapper: list[str]
    """What makes the isolation, with its arguments."""
    program: list[str]
    """What is run in it: the driver, with the user's interpreter."""
    workspace: Path
    """Where the workspace is for the program."""
    environment: dict[str, str]
    descriptors: list[int] = field(default_factory=list)
    """Inherited by the command, and closed here once it runs."""
    cache: str = "/tmp/pytest-cache"
    counts_processes: bool = False
    """Whether the kernel counts this sandbox's processes apart from the user's other ones."""
    temporary: Path | None = None
    """A folder to remove after the run."""
    guarded: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    """Files in it that the run may not change, where it could, with what tells a change (`copy.guard`)."""

    @property
    def command(self) -> list[str]:
        """The whole command line."""
        return [*self.wrapper, *self.program]

    def close_descriptors(self) -> None:
        """Close this process's copies of the descriptors."""
        while self.descriptors:
            os.close(self.descriptors.pop())
