"""The problems of HumanEval+ and MBPP+, as EvalPlus publishes them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from lsp_server.evaluation.json_lines import JsonLine, json_lines, read_data
from lsp_server.evaluation.run_folder import EvaluationError

Dataset = Literal["humaneval", "mbpp"]

VARIABLES: Mapping[Dataset, str] = {"humaneval": "HUMANEVAL_OVERRIDE_PATH", "mbpp": "MBPP_OVERRIDE_PATH"}
"""Where EvalPlus itself looks for a file of one's own."""
PUBLISHED: Mapping[Dataset, str] = {
    "humaneval": "https://github.com/evalplus/humanevalplus_release/releases/download/v0.1.10/"
    "HumanEvalPlus.jsonl.gz",
    "mbpp": "https://github.com/evalplus/mbppplus_release/releases/download/v0.2.0/MbppPlus.jsonl.gz",
}
"""What EvalPlus 0.3.1 would download."""
_FIELDS = ("task_id", "prompt", "entry_point", "canonical_solution", "base_input", "plus_input", "atol")


@dataclass(frozen=True)
class Problem:
    """One problem."""

    id: str
    prompt: str
    """Signature and docstring (HumanEval), or description and an example (MBPP)."""
    entry_point: str
    canonical_solution: str
    line: bytes
    """The whole of it, as the evaluator reads it: a JSON object and a newline."""


@dataclass(frozen=True)
class Problems:
    """The problems of one file."""

    dataset: Dataset
    sha256: str
    """Of the file's text, uncompressed."""
    all: tuple[Problem, ...]

    def chosen(self, only: str = "", limit: int = 0) -> tuple[Problem, ...]:
        """Return those that are asked for, in the file's order.

        Args:
            only: id of one, or part of an id or of a function's name; empty: all.
            limit: so many at most; 0: all.

        Raises:
            EvaluationError: there are none.
        """
        exact = [each for each in self.all if each.id == only]
        found = exact or [each for each in self.all if only in each.id or only in each.entry_point]
        if not found:
            raise EvaluationError(f"No problem is called '{only}': the first is {self.all[0].id}.")
        return tuple(found[: limit or None])


def data_file(dataset: Dataset, given: Path | None, downloads: Path) -> Path | None:
    """Return the file that holds a data set, or None if it has to be downloaded.

    Args:
        dataset: which.
        given: the user's choice; None: EvalPlus' variable, then what was downloaded.
        downloads: folder of downloaded files.

    Raises:
        EvaluationError: the file that is named is not there.
    """
    variable = VARIABLES[dataset]
    named = given or (Path(os.environ[variable]) if os.environ.get(variable) else None)
    if named is not None:
        if not named.is_file():
            source = "--data" if given else variable
            raise EvaluationError(f"There is no file {named}, which {source} names.")
        return named
    downloaded = downloads / Path(PUBLISHED[dataset]).name
    return downloaded if downloaded.is_file() else None


def download(dataset: Dataset, folder: Path) -> Path:
    """Download the file that EvalPlus would, and return where it is.

    Args:
        dataset: which.
        folder: where it is kept.

    Raises:
        EvaluationError: it cannot be had from here.
    """
    url = PUBLISHED[dataset]
    try:
        answer = httpx.get(url, follow_redirects=True, timeout=60).raise_for_status()
    except httpx.HTTPError as error:
        raise EvaluationError(
            f"{url} cannot be downloaded ({error or type(error).__name__}): connect to the network, or get the file "
            f"elsewhere and name it with --data FILE or {VARIABLES[dataset]}."
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / Path(url).name
    partial = file.with_suffix(".partial")
    partial.write_bytes(answer.content)
    partial.replace(file)
    return file


def read(dataset: Dataset, file: Path) -> Problems:
    """Read a data file, `.jsonl` or `.jsonl.gz`.

    Raises:
        EvaluationError: it cannot be read, or is no file of EvalPlus'.
    """
    data = read_data(file)
    problems = tuple(_problem(file, line) for line in json_lines(file, data))
    if not problems:
        raise EvaluationError(f"{file} holds no problem.")
    return Problems(dataset, hashlib.sha256(data).hexdigest(), problems)


def _problem(file: Path, line: JsonLine) -> Problem:
    row = line.value
    missing: Sequence[str] = [name for name in _FIELDS if not isinstance(row, dict) or row.get(name) is None]
    if not isinstance(row, dict) or missing:
        raise EvaluationError(
            f"{file}, line {line.number}, has no {', '.join(missing)}: a file of EvalPlus' (HumanEvalPlus.jsonl, "
            "MbppPlus.jsonl) is needed."
        )
    # EvalPlus insists on the field, and reads it only to make further inputs; MBPP+ has files without it.
    whole = line.text if "contract" in row else json.dumps({**row, "contract": ""}).encode()
    return Problem(
        row["task_id"], row["prompt"], row["entry_point"], row["canonical_solution"], whole.strip() + b"\n"
    )
