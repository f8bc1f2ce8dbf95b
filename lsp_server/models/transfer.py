"""What the two sources of a model have in common: progress, cancelling, and checking what arrived."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from .store import Cancelled, ModelError

Progress = Callable[[int, int], None]
"""Called with bytes that are there and bytes in all."""

BLOCK = 1 << 20
"""Bytes read, hashed or written at a time."""


class Unreachable(ModelError):
    """A source could not be reached or does not have the files."""


class WrongContent(ModelError):
    """What arrived is not what was asked for; it has been deleted."""


def check_cancel(cancel: threading.Event) -> None:
    """Raise `Cancelled` when `cancel` is set."""
    if cancel.is_set():
        raise Cancelled("stopped; run the same command again to go on from here")


def verify(file: Path, size: int, digest: str, algorithm: str, cancel: threading.Event) -> None:
    """Check a file's size and hash; delete it when they are wrong.

    Args:
        file: what arrived.
        size: bytes it must have.
        digest: hash it must have, in hex.
        algorithm: `sha256`, or `git` for the id that git gives the content.
        cancel: stops the hashing.

    Raises:
        WrongContent: it is something else.
        Cancelled: `cancel` was set.
    """
    actual_size = file.stat().st_size
    found = "" if actual_size != size else _digest(file, size, algorithm, cancel)
    if found != digest:
        file.unlink()
        detail = (
            f"{actual_size} bytes instead of {size}" if not found else f"{algorithm} {found}, not {digest}"
        )
        raise WrongContent(
            f"{file.name} is not the published file ({detail}); it was deleted. Pull again; if this happens twice, "
            "the source or something on the way to it alters files"
        )


def _digest(file: Path, size: int, algorithm: str, cancel: threading.Event) -> str:
    git = algorithm == "git"
    state = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if git else hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            check_cancel(cancel)
            state.update(block)
    return state.hexdigest()
