"""HumanEvalFix, of HumanEvalPack: functions with one bug each, as repair tasks.

Source: Muennighoff et al., OctoPack, 2023; rows of `bigcode/humanevalpack`, language Python.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lsp_server.evaluation.run_folder import EvaluationError
from lsp_server.evaluation.tasks import RepairTask

_NEEDED = ("task_id", "declaration", "buggy_solution", "canonical_solution", "test", "entry_point")
MODULE = "solution.py"


def convert(path: Path) -> list[RepairTask]:
    """Return the rows of a file as tasks: the function in one module, the row's checks as its test.

    Args:
        path: the rows, one JSON object a line.

    Raises:
        EvaluationError: it cannot be read, or a row lacks what a task needs.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}") from error
    return [_task(row, number, path) for number, row in enumerate(rows, 1)]


def _task(row: dict[str, Any], number: int, path: Path) -> RepairTask:
    if not isinstance(row, dict) or (lacks := [key for key in _NEEDED if not isinstance(row.get(key), str)]):
        what = f"it lacks {', '.join(lacks)}" if isinstance(row, dict) else "it is no object"
        raise EvaluationError(f"Line {number} of {path} is no row of HumanEvalPack: {what}.")
    name = row["entry_point"]
    head = f"{row.get('import') or ''}\n{row.get('test_setup') or ''}\n{row['declaration']}".lstrip("\n")
    test = re.sub(rf"^check\({re.escape(name)}\)\s*\Z", "", row["test"].strip(), flags=re.MULTILINE)
    tests = f"from solution import {name}\n\n\n{test.strip()}\n\n\ndef test_{name}():\n    check({name})\n"
    # A row's checks may call the functions that its declaration brings along.
    if "import *" not in tests and (others := _defined(row["declaration"]) - {name}):
        tests = f"from solution import {', '.join(sorted(others))}\n{tests}"
    return RepairTask(
        id=row["task_id"],
        files={MODULE: _ended(head + row["buggy_solution"]), "test_solution.py": tests},
        tests=("test_solution.py",),
        target=MODULE,
        solution={MODULE: _ended(head + row["canonical_solution"])},
    )


def _defined(declaration: str) -> set[str]:
    return set(re.findall(r"^def (\w+)", declaration, flags=re.MULTILINE))


def _ended(text: str) -> str:
    return text.rstrip() + "\n"
