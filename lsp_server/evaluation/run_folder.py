"""A folder that holds an evaluation: what it was of, and what came of each task; a run that was stopped goes on in it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cattrs import BaseValidationError
from cattrs.preconf.json import make_converter

from lsp_server.evaluation.outcome import TaskOutcome

MANIFEST = "run.json"
OUTCOMES = "outcomes.jsonl"
CONVERSATIONS = "conversations.jsonl"
"""Every conversation in Code-Feedback's form: `{"id", "messages": [{"role", "content"}]}`."""


class EvaluationError(Exception):
    """An evaluation cannot be run, gone on with, or read; the message says what to do."""


class RunFolder:
    """The files of one evaluation.

    Args:
        path: the folder.
        manifest: what the run is: kind, data, model, options, versions; everything needed to reproduce it.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self.manifest = dict(manifest)

    @classmethod
    def begin(cls, path: Path, manifest: Mapping[str, Any]) -> RunFolder:
        """Make a folder for a run, or take the one that an earlier call of the same run has left.

        Raises:
            EvaluationError: the folder holds another run.
        """
        wanted = json.loads(json.dumps(manifest))
        try:
            there = _manifest(path)
        except FileNotFoundError:
            return cls._made(path, wanted)
        except OSError as error:
            raise EvaluationError(f"{path} cannot be used: {error.strerror}.") from error
        except ValueError as error:
            raise EvaluationError(
                f"{path / MANIFEST} is damaged: choose another folder (--output)."
            ) from error
        differs = sorted(key for key in {*there, *wanted} if there.get(key) != wanted.get(key))
        if differs:
            raise EvaluationError(
                f"{path} holds another run, which differs in {', '.join(differs)}: "
                "choose another folder (--output), or delete it."
            )
        folder = cls(path, wanted)
        folder._drop_unfinished()
        return folder

    @classmethod
    def _made(cls, path: Path, manifest: dict[str, Any]) -> RunFolder:
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise EvaluationError(f"{path} cannot be used: {error.strerror}.") from error
        return cls(path, manifest)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Return a run that is there.

        Raises:
            EvaluationError: there is none.
        """
        try:
            return cls(path, _manifest(path))
        except (OSError, ValueError) as error:
            raise EvaluationError(f"{path} holds no evaluation: it has no readable {MANIFEST}.") from error

    def outcomes(self) -> dict[str, TaskOutcome]:
        """Return what came of each task so far, by its id; half a line that a killed run has left is passed over.

        Raises:
            EvaluationError: a line is damaged, or of another version of ours.
        """
        try:
            # What follows the last line's end is half a line, even if its JSON is whole: `add` will cut it.
            *lines, _ = (self.path / OUTCOMES).read_bytes().split(b"\n")
        except FileNotFoundError:
            return {}
        converter, outcomes = make_converter(forbid_extra_keys=True), {}
        for number, line in enumerate(lines, 1):
            try:
                outcome = converter.loads(line, TaskOutcome)
            except (ValueError, TypeError, AttributeError, BaseValidationError) as error:
                raise EvaluationError(
                    f"{self.path / OUTCOMES}: line {number} is damaged, or of another version of oci-companion."
                ) from error
            outcomes[outcome.id] = outcome
        return outcomes

    def tried(self) -> set[str]:
        """Return the ids of the tasks that need not be tried again: all but those that could not be tried.

        Raises:
            EvaluationError: as `outcomes` has it.
        """
        return {outcome.id for outcome in self.outcomes().values() if not outcome.error}

    def add(self, outcome: TaskOutcome) -> None:
        """Write down what came of a task; it is on disk when this returns."""
        row = make_converter().unstructure(outcome)
        conversation = row.pop("conversation")
        if conversation:
            self._append(CONVERSATIONS, {"id": outcome.id, "messages": conversation})
        self._append(OUTCOMES, row)

    def _drop_unfinished(self) -> None:
        """Drop conversations of tasks without an outcome: a run was killed between the two, and will write them anew."""
        file = self.path / CONVERSATIONS
        if not file.is_file():
            return
        rows: dict[str, bytes] = {}
        finished = self.outcomes()
        try:
            for line in file.read_bytes().split(b"\n")[:-1]:
                id = json.loads(line)["id"]
                if id in finished:
                    rows[id] = line  # of a task that was tried again, the last
        except (ValueError, TypeError, KeyError) as error:
            raise EvaluationError(f"{file} is damaged: choose another folder (--output).") from error
        partial = file.with_suffix(".partial")
        partial.write_bytes(b"".join(line + b"\n" for line in rows.values()))
        partial.replace(file)

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        path = self.path / name
        line = json.dumps(row).encode("ascii") + b"\n"  # escaped: a lone surrogate of a model's is not UTF-8
        with path.open("ab+") as file:
            if file.tell() and not _ends_in_newline(path):  # of half a line that a killed run has left
                _cut_last_line(path)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _cut_last_line(path: Path) -> None:
    data = path.read_bytes()
    os.truncate(path, data.rfind(b"\n") + 1)


def _manifest(path: Path) -> dict[str, Any]:
    found = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{MANIFEST} is no object")
    return found
