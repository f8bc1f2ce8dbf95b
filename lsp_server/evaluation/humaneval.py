"""Repair tasks of HumanEval: HumanEvalFix's bugs, and what a model has got wrong.

Source: Chen et al., Evaluating Large Language Models Trained on Code, 2021; HumanEvalFix: Muennighoff et al., OctoPack,
2023, rows of `bigcode/humanevalpack`, language Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lsp_server.evaluation.json_lines import json_lines, read_data
from lsp_server.evaluation.outcome import TaskOutcome
from lsp_server.evaluation.run_folder import EvaluationError
from lsp_server.evaluation.tasks import RepairTask

MODULE = "solution.py"


def fixes(path: Path) -> list[RepairTask]:
    """Return the rows of HumanEvalPack as tasks: the function in one module, the row's checks as its test.

    Args:
        path: the rows, one JSON object a line, `.jsonl` or `.jsonl.gz`.

    Raises:
        EvaluationError: it cannot be read, or a row lacks what a task needs.
    """
    needed = ("task_id", "declaration", "buggy_solution", "canonical_solution", "test", "entry_point")
    tasks = []
    for row in _rows(path, "HumanEvalPack", needed):
        head = f"{row.get('import') or ''}\n{row.get('test_setup') or ''}\n{row['declaration']}".lstrip("\n")
        tasks.append(_task(row, row["declaration"], head + row["buggy_solution"], head))
    return tasks


def failures(path: Path, outcomes: Mapping[str, TaskOutcome]) -> list[RepairTask]:
    """Return what a model got wrong in its first replies as tasks: its own code, and the problem's checks as the test.

    Args:
        path: HumanEval's rows, one JSON object a line, `.jsonl` or `.jsonl.gz`.
        outcomes: of `eval humaneval` or `humaneval+`, by problem; only those that fail the base tests become tasks.

    Raises:
        EvaluationError: it cannot be read, or a row lacks what a task needs.
    """
    needed = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
    tasks = []
    for row in _rows(path, "HumanEval", needed):
        outcome = outcomes.get(row["task_id"])
        rounds = outcome.detail.get("rounds", ()) if outcome else ()
        if not rounds or rounds[0]["base"] == "pass":
            continue
        written, name = rounds[0]["solution"], row["entry_point"]
        if name not in _defined(written):
            continue  # nothing was written that could be repaired
        before = row["prompt"].partition(f"def {name}(")[0]
        lacks = _defined(before) - _defined(written)
        tasks.append(_task(row, row["prompt"], f"{before}{written}" if lacks else written, row["prompt"]))
    return tasks


def _task(row: Mapping[str, Any], declaration: str, written: str, head: str) -> RepairTask:
    name = row["entry_point"]
    test = re.sub(rf"^check\({re.escape(name)}\)\s*\Z", "", row["test"].strip(), flags=re.MULTILINE)
    tests = f"from solution import {name}\n\n\n{test.strip()}\n\n\ndef test_{name}():\n    check({name})\n"
    # A row's checks may call the functions that its declaration brings along.
    if "import *" not in tests and (others := _defined(declaration) - {name}):
        tests = f"from solution import {', '.join(sorted(others))}\n{tests}"
    return RepairTask(
        id=row["task_id"],
        files={MODULE: _ended(written), "test_solution.py": tests},
        tests=("test_solution.py",),
        target=MODULE,
        solution={MODULE: _ended(head + row["canonical_solution"])},
    )


def _rows(path: Path, what: str, needed: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file that have all that is needed of them."""
    for line in json_lines(path, read_data(path)):
        row = line.value
        if not isinstance(row, dict):
            raise EvaluationError(f"Line {line.number} of {path} is no row of {what}: it is no object.")
        if lacks := [key for key in needed if not isinstance(row.get(key), str)]:
            raise EvaluationError(
                f"Line {line.number} of {path} is no row of {what}: it lacks {', '.join(lacks)}."
            )
        yield row


def _defined(code: str) -> set[str]:
    return set(re.findall(r"^def (\w+)", code, flags=re.MULTILINE))


def _ended(text: str) -> str:
    return text.rstrip() + "\n"
