"""Problems of our own in EvalPlus' form: nothing of the published data is in the repository."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

ADD: dict[str, Any] = {
    "task_id": "Tiny/1",
    "prompt": '\n\ndef add(a: int, b: int) -> int:\n    """Return the sum of a and b."""\n',
    "contract": "",
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "base_input": [[2, 3], [0, 0]],
    "plus_input": [[-1, 1], [1000, 1]],
    "atol": 0,
}
HALVE: dict[str, Any] = {
    "task_id": "Tiny/2",
    "prompt": 'def halve(values: list) -> list:\n    """Return every value divided by two."""\n',
    "contract": "",
    "entry_point": "halve",
    "canonical_solution": "    return [value / 2 for value in values]\n",
    "base_input": [[[1.0, 3.0]]],
    "plus_input": [[[]], [[0.5]]],
    "atol": 0,
}
SQUARE: dict[str, Any] = {
    "task_id": "Mbpp/90001",
    "prompt": '"""\nWrite a function to square a number.\nassert square(3) == 9\n"""\n',
    "entry_point": "square",
    "canonical_solution": "\ndef square(n):\n    return n * n\n",
    "base_input": [[3], [2]],
    "plus_input": [[-4]],
    "atol": 0,
}
"""As in MBPP+, without a contract."""


def write(file: Path, *problems: dict[str, Any]) -> Path:
    """Write problems as a data file; return it."""
    data = "".join(json.dumps(each) + "\n" for each in problems).encode()
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    return file


def solved(problem: dict[str, Any]) -> str:
    """Return a problem's canonical solution as a module."""
    return str(problem["prompt"] + problem["canonical_solution"])


def attempt(problem: dict[str, Any], body: str) -> str:
    """Return a solution with another body."""
    return f"{problem['prompt']}{body}"
