"""Decided sessions in Code-Feedback's form, written with the user's consent: what a model can be tuned with.

https://huggingface.co/datasets/m-a-p/Code-Feedback: `{"id": int, "messages": [{"role": str, "content": str}]}` a line.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Any

import filelock

from lsp_server.engine.protocol import Message
from lsp_server.models.store import home
from lsp_server.refine.proposal import Proposal
from lsp_server.refine.sessions import Decision, name_of

WORKSPACE, SOMEWHERE, SECRET = "/workspace", "/path/to", "<secret>"
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_MAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
_OWN_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|Users|root|mnt|media|srv|opt|data|tmp|var|private|Volumes|workspaces)/[^\s\"'`,;:)\]}>]*"
)
_WINDOWS_PATH = re.compile(r"\b[A-Za-z]:\\+Users\\+[^\n\"'`<>|:*?]*")
"""Paths that say whose machine it is."""
_LOGIN = re.compile(r"(?<=://)[^/\s:@]*:[^/\s]+(?=@)")
_TOKEN = re.compile(
    r"\b(?:gh[pousr]_|github_pat_|gl[a-z]{2,4}-|sk-|sk_live_|rk_live_|hf_|npm_|pypi-|xox[a-z]-|AIza|ya29\.)[\w.-]{8,}"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
)
"""Tokens that say what they are, whole: `detect-secrets` gives a part of some."""
_BEARER = re.compile(r"(?<=Bearer )[\w.~+/=-]{8,}", re.IGNORECASE)
_NAMED = re.compile(r"(?<=[=:])[ \t]*[\"']?[\w./+~-]{12,}=*[\"']?(?=\s|$|[,;)\]}])", re.MULTILINE)
_NAME_BEFORE = re.compile(r"(?:key|token|secret|passw(?:or)?d|credential)s?[\"']?\s*[=:]$", re.IGNORECASE)


def collect(proposal: Proposal, decision: Decision) -> None:
    """Append a decided session to those of its workspace, with secrets and paths taken out.

    Args:
        proposal: whose best round's conversation is written.
        decision: what the user has decided.

    Raises:
        OSError: it cannot be written.
    """
    if (done := proposal.best) is None:
        return
    workspace = proposal.task.snapshot.workspace
    messages = [*done.asked, Message("assistant", done.reply)]
    line = {
        "id": time.time_ns() // 1_000_000,
        "messages": [{"role": each.role, "content": scrub(each.content, workspace)} for each in messages],
        "decision": decision,
        "verdict": proposal.receipt.verdict.kind.value,
    }
    _folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    file = _folder() / f"{name_of(workspace)}.jsonl"
    with filelock.FileLock(_folder() / ".lock"):
        file.touch(mode=0o600)
        with file.open("r+b") as out:
            # A line that was broken off stays one of its own.
            out.seek(max(out.seek(0, os.SEEK_END) - 1, 0))
            begin = b"" if out.read(1) in (b"", b"\n") else b"\n"
            out.write(begin + json.dumps(line).encode() + b"\n")


def collected() -> Iterator[str]:
    """Return all that was collected, a JSON text a session."""
    for file in sorted(_folder().glob("*.jsonl")):
        for line in file.read_bytes().decode("ascii", "replace").split("\n"):
            try:
                json.loads(line)
            except ValueError:
                continue  # the machine was switched off as it was written
            yield line


def purge() -> int:
    """Delete all that was collected; return how many sessions that were."""
    count = sum(1 for _ in collected())
    for file in _folder().glob("*.jsonl"):
        file.unlink()
    return count


def scrub(text: str, workspace: Path) -> str:
    """Return a text without what it should not tell: secrets, addresses, logins, and where it was written.

    Args:
        text: of a conversation.
        workspace: whose path becomes `/workspace`.
    """
    for pattern in (_PRIVATE_KEY, _LOGIN, _TOKEN, _BEARER):
        text = pattern.sub(SECRET, text)
    text = _NAMED.sub(lambda found: SECRET if _NAME_BEFORE.search(text, 0, found.start()) else found[0], text)
    for folder in (workspace, workspace.resolve()):
        text = re.sub(rf"{re.escape(str(folder))}(?![\w-])", WORKSPACE, text)
    if str(Path.home()) != "/":
        text = re.sub(rf"{re.escape(str(Path.home()))}(?![\w-])", SOMEWHERE, text)
    for pattern in (_OWN_PATH, _WINDOWS_PATH):
        text = pattern.sub(lambda path: _last(path[0]), text)
    return _MAIL.sub("someone@example.org", "\n".join(map(_without_secrets, text.split("\n"))))


def _last(path: str) -> str:
    """Return a path with nothing but its name, which is what a traceback is read for; a user's folder has none."""
    parts = PureWindowsPath(path).parts  # which takes either separator
    return f"{SOMEWHERE}/{parts[-1]}" if len(parts) > 3 else SOMEWHERE


def _without_secrets(line: str) -> str:
    found: set[str] = set()
    for plugin in _plugins():
        secrets = plugin.analyze_line(filename="", line=line, line_number=1)
        found |= {each.secret_value for each in secrets if each.secret_value}
    for secret in sorted(found, key=len, reverse=True):
        line = line.replace(secret, SECRET)
    return line


@lru_cache(maxsize=1)
def _plugins() -> Sequence[Any]:
    """Return what knows secrets by their looks; none of them asks anybody whether a secret works."""
    # Not at the top: it is slow to load, and few have consented.
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    known: Sequence[Any] = list(get_mapping_from_secret_type_to_class().values())
    return [plugin() for plugin in known]


def _folder() -> Path:
    return home() / "code-feedback"
