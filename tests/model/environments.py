"""Environments for programs whose pins do not go with ours: each is made once, beside the models, and kept.

`.venv/bin/python -m tests.model.environments` makes those that are missing; so does the first test that needs one.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import threading
import venv
from dataclasses import dataclass
from pathlib import Path

from lsp_server.models import store
from lsp_server.models.pip import run_pip

INSTALL = ".venv/bin/python -m tests.model.environments"


@dataclass(frozen=True)
class Environment:
    """A program and what it needs, at versions that were tried together."""

    name: str
    pins: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it is, or will be."""
        pins = "\n".join([sys.version, *self.pins])
        return store.home() / "test-envs" / hashlib.sha256(pins.encode()).hexdigest()[:16]


LLAMA_CPP = Environment(
    "llama.cpp's server",
    (
        "llama-cpp-python[server]==0.3.36",
        "anyio==4.16.0",
        "fastapi==0.165.0",
        "numpy==2.4.6",
        "pydantic==2.14.3",
        "pydantic-settings==2.16.3",
        "sse-starlette==3.7.0",
        "starlette==1.10.0",
        "starlette-context==0.3.6",
        "uvicorn==0.54.0",
    ),
)
"""Its package has no wheel: llama.cpp is compiled, which takes a C++ compiler and some minutes."""

AIDER = Environment("aider", ("aider-chat==0.86.2",))
"""Pins all of its own dependencies."""


def python_of(environment: Environment) -> Path:
    """Return the environment's python, making the environment if it is not there.

    Raises:
        ModelError: pip failed; nothing is kept.
    """
    folder = environment.folder
    # A marker written last instead of a rename at the end: environments do not survive being moved.
    marker = folder / "complete"
    python = folder / "bin" / "python"
    with store.lock("test-envs", wait=3600):
        if not marker.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
            run_pip(python, ["install", *environment.pins], threading.Event())
            marker.write_text("\n".join(environment.pins), encoding="utf-8")
    return python


def main() -> None:
    """Make every environment that is missing."""
    for environment in (LLAMA_CPP, AIDER):
        print(f"{environment.name}: {python_of(environment)}", flush=True)


if __name__ == "__main__":
    main()
