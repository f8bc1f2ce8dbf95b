"""The file by which a running server is found: port, process id and bearer token, for the user's eyes only."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from lsp_server.models.store import home


@dataclass(frozen=True)
class Running:
    """How to reach a server of ours."""

    model: str
    pid: int
    port: int
    token: str

    @property
    def endpoint(self) -> str:
        """Base address, as `oci.endpoint` would name it."""
        return f"http://127.0.0.1:{self.port}/v1"


def run_dir() -> Path:
    """Folder of run files, made so that no other user can enter it."""
    folder = home() / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return folder


def log_file(model: str) -> Path:
    """Where the server of a model writes its log."""
    folder = home() / "logs"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / f"serve-{model}.log"


def write(running: Running) -> Path:
    """Publish a server, atomically, readable by its user alone."""
    final = _path(running.model)
    run_dir()
    temporary = final.with_suffix(f".{running.pid}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(asdict(running), stream)
    return temporary.replace(final)


def read(model: str) -> Running | None:
    """The published server of a model, alive or not, or None."""
    try:
        return Running(**json.loads(_path(model).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def withdraw(running: Running) -> None:
    """Remove the run file if it still is this server's."""
    if read(running.model) == running:
        _path(running.model).unlink(missing_ok=True)


def _path(model: str) -> Path:
    return home() / "run" / f"{model}.json"
