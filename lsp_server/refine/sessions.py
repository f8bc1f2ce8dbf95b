"""What was proposed in a workspace and what the user decided, kept in the user's data folder."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from cattrs.preconf.json import JsonConverter, make_converter

from lsp_server.models.store import home
from lsp_server.refine.proposal import Proposal, Round
from lsp_server.refine.task import Snapshot
from runner.report import Report

Decision = Literal["waiting", "applied", "discarded"]

MOST_SESSIONS = 200
MOST_BYTES = 20 << 20
"""Of a workspace's sessions. What is decided goes first, then what waits, the oldest first."""
_FORMAT = 1
"""Raised when what is written can no longer be read; files of another format are left alone."""
_BUSY_SECONDS = 5.0
_TABLES = """
CREATE TABLE IF NOT EXISTS workspace (path TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS session (
    id TEXT PRIMARY KEY,
    created REAL NOT NULL,
    path TEXT NOT NULL,
    target TEXT NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    decision TEXT NOT NULL,
    proposal BLOB NOT NULL
);
"""


class SessionsError(Exception):
    """The sessions cannot be read or written; the message says why and what to do."""


@dataclass(frozen=True)
class Session:
    """One request's proposal, in short."""

    id: str
    created: float
    """Seconds since the epoch."""
    path: str
    """The file that the proposal changes, relative to the workspace."""
    target: str
    """Qualified name of the function or class; empty for plain lines."""
    verdict: str
    reason: str
    decision: Decision


class Sessions:
    """The sessions of one workspace; may be used from several threads and processes.

    Args:
        workspace: absolute.
    """

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.file = _folder() / f"{name_of(workspace)}-{_FORMAT}.sqlite"

    def put(self, session: str, proposal: Proposal) -> None:
        """Keep a proposal until it is decided, and for some time after.

        Raises:
            SessionsError: it cannot be written.
        """
        told = zlib.compress(json.dumps(_converter().unstructure(_slim(proposal))).encode())
        verdict, document = proposal.receipt.verdict, proposal.task.document
        with self._open() as database:
            database.execute(
                "INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, 'waiting', ?)"
                " ON CONFLICT (id) DO UPDATE SET decision = 'waiting'",
                (
                    session,
                    time.time(),
                    str(document.path),
                    proposal.task.region.name,
                    verdict.kind.value,
                    verdict.reason,
                    told,
                ),
            )
            self._shrink(database)

    def decide(self, session: str, decision: Decision) -> None:
        """Note what the user has decided.

        Raises:
            SessionsError: as `put`.
        """
        with self._open() as database:
            database.execute("UPDATE session SET decision = ? WHERE id = ?", (decision, session))

    def list(self, decision: Decision | None = None) -> list[Session]:
        """Return the sessions, the latest first.

        Args:
            decision: only those; None: all.

        Raises:
            SessionsError: they cannot be read.
        """
        if not self.file.exists():
            return []
        with self._open() as database:
            rows = database.execute(
                "SELECT id, created, path, target, verdict, reason, decision FROM session"
                " WHERE ?1 IS NULL OR decision = ?1 ORDER BY created DESC",
                (decision,),
            )
            return [Session(*row) for row in rows]

    def proposal(self, session: str) -> Proposal | None:
        """Return a session's proposal, without what its runs executed; None if it is not kept.

        Raises:
            SessionsError: as `list`.
        """
        if not self.file.exists():
            return None
        with self._open() as database:
            row = database.execute("SELECT proposal FROM session WHERE id = ?", (session,)).fetchone()
        if row is None:
            return None
        try:
            return _converter().structure(json.loads(zlib.decompress(row[0])), Proposal)
        except Exception as error:  # cattrs has no common one
            raise SessionsError(f"The session {session} cannot be read: it is damaged.") from error

    def purge(self) -> None:
        """Delete all of them."""
        for file in self.file.parent.glob(f"{self.file.name}*"):
            file.unlink(missing_ok=True)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            if not self.file.exists():
                self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.file.touch(mode=0o600)
            with closing(sqlite3.connect(self.file, timeout=_BUSY_SECONDS)) as database, database:
                if not database.execute("SELECT name FROM sqlite_master WHERE name = 'session'").fetchone():
                    database.executescript(_TABLES)
                    database.execute(
                        "INSERT INTO workspace SELECT ? WHERE NOT EXISTS (SELECT 1 FROM workspace)",
                        (str(self.workspace),),
                    )
                yield database
        except sqlite3.DatabaseError as error:
            raise SessionsError(
                f"The sessions in {self.file} cannot be used ({error}). "
                "If that goes on, delete the file: what was proposed is lost with it, and nothing else."
            ) from error
        except OSError as error:
            raise SessionsError(f"{self.file} cannot be written: {error.strerror}.") from error

    def _shrink(self, database: sqlite3.Connection) -> None:
        kept = database.execute(
            "SELECT id, length(proposal) FROM session ORDER BY decision = 'waiting' DESC, created DESC"
        ).fetchall()
        size = 0
        for place, (session, length) in enumerate(kept):
            # The latest is kept in any case, and one that is too large is no reason to drop the others.
            if place and (place >= MOST_SESSIONS or size + length > MOST_BYTES):
                database.execute("DELETE FROM session WHERE id = ?", (session,))
            elif length <= MOST_BYTES:
                size += length


def name_of(workspace: Path) -> str:
    """Return what files about a workspace are called, the same by whatever links it is reached."""
    return hashlib.sha256(os.fsencode(workspace.resolve())).hexdigest()[:16]


def purge_all() -> None:
    """Delete the sessions of all workspaces, readable or not."""
    for file in _folder().glob("*.sqlite*"):
        file.unlink(missing_ok=True)


def workspaces() -> list[Path]:
    """Return the workspaces that have sessions."""
    found = []
    for file in sorted(_folder().glob(f"*-{_FORMAT}.sqlite")):
        try:
            with closing(sqlite3.connect(file)) as database:
                found += [Path(path) for (path,) in database.execute("SELECT path FROM workspace")]
        except sqlite3.DatabaseError:
            continue  # what is damaged says so when it is used
    return found


def _folder() -> Path:
    return home() / "sessions"


@lru_cache(maxsize=1)
def _converter() -> JsonConverter:
    converter = make_converter()
    for kind in (Path, PurePosixPath):
        converter.register_unstructure_hook(kind, str)
        converter.register_structure_hook(kind, _path)
    return converter


def _path(text: Any, kind: type[Path]) -> Path:
    return kind(text)


def _slim(proposal: Proposal) -> Proposal:
    """Leave out what only the work itself needs: what was executed, the other buffers, the editor's version."""
    task = proposal.task
    document = replace(task.document, version=None)
    return replace(
        proposal,
        task=replace(task, snapshot=Snapshot(task.snapshot.workspace), document=document),
        baseline=_slim_report(proposal.baseline),
        rounds=tuple(_slim_round(each) for each in proposal.rounds),
    )


def _slim_round(done: Round) -> Round:
    return replace(done, report=_slim_report(done.report)) if done.report is not None else done


def _slim_report(report: Report) -> Report:
    results = {test: replace(result, footprint=None) for test, result in report.results.items()}
    return replace(report, results=results, shared={})
