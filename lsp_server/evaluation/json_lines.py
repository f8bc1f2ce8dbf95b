"""Files of JSON lines: one value a line, as they are or compressed by gzip."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsp_server.evaluation.run_folder import EvaluationError


@dataclass(frozen=True)
class JsonLine:
    """One line of a file."""

    number: int
    """From 1, those that are empty counted."""
    text: bytes
    """Without its end."""
    value: Any


def read_data(path: Path) -> bytes:
    """Return what is in a file, uncompressed if its name ends in `.gz`.

    Raises:
        EvaluationError: it cannot be read.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.name.endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise EvaluationError(f"{path} cannot be read: {error}") from error


def json_lines(path: Path, data: bytes) -> Iterator[JsonLine]:
    """Yield the lines that are not empty.

    Args:
        path: of the file, for messages.
        data: what is in it, in UTF-8.

    Raises:
        EvaluationError: a line is no JSON.
    """
    # JSON may hold all that `str.splitlines` splits at.
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                yield JsonLine(number, line, json.loads(line))
            except ValueError as error:  # no UTF-8, or no JSON
                raise EvaluationError(f"Line {number} of {path} cannot be read as JSON: {error}") from error
