"""From a model's reply to the code in it."""

from __future__ import annotations

import re

from lsp_server.refine.source import Source

_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+-]*)[^\n]*$", re.MULTILINE)
_PYTHON = frozenset({"", "python", "py", "python3", "pycon"})


class NoCode(Exception):
    """A reply has nothing that could go into the target; the message is written for the model."""


def code_of(reply: str, name: str) -> str:
    """Return the code of a reply that is meant for the target.

    The last block that defines the target wins, else the last Python block (as in OpenCodeInterpreter's own
    evaluation), else the whole reply where it is nothing but code. A block that the token limit cut off counts.

    Args:
        reply: the model's text.
        name: the target's qualified name; empty when lines, not a definition, are to be written.

    Raises:
        NoCode: there is no code, or it is for something else.
    """
    blocks = _blocks(reply)
    if not blocks:
        if not _is_code(reply):
            raise NoCode("The reply has no code block.")
        blocks = [reply]
    if not name:
        return blocks[-1]
    defining = [block for block in blocks if defines(Source(block), name)]
    if not defining:
        raise NoCode(f"The code does not define `{name}`.")
    return defining[-1]


def is_answered(reply: str, name: str) -> bool:
    """Whether a closed block of a reply that still streams defines the target, so that no more of it is needed.

    Args:
        reply: what there is of it.
        name: the target's qualified name; empty: any closed block will not do, since more may follow.
    """
    if not name or len(_FENCE.findall(reply)) % 2:
        return False
    blocks = _blocks(reply)
    return bool(blocks) and defines(Source(blocks[-1]), name)


def defines(code: Source, name: str) -> bool:
    """Whether code holds a definition for a qualified name, or for its last part outside of any class."""
    last = name.rpartition(".")[2]
    return any(d.name in (name, last) for d in code.definitions)


def _blocks(reply: str) -> list[str]:
    """Return the contents of a reply's Python blocks, in order."""
    blocks: list[str] = []
    opened: tuple[str, str, int] | None = None
    for fence in _FENCE.finditer(reply):
        marker, language = fence.group(1), fence.group(2).lower()
        if opened is None:
            opened = (marker, language, fence.end() + 1)
        elif marker[0] == opened[0][0] and len(marker) >= len(opened[0]) and not language:
            if opened[1] in _PYTHON:
                blocks.append(reply[opened[2] : fence.start()])
            opened = None
    if opened is not None and opened[1] in _PYTHON:
        blocks.append(reply[opened[2] :])
    return [block for block in blocks if block.strip()]


def _is_code(text: str) -> bool:
    try:
        compile(text.strip() + "\n", "<reply>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return re.search(r"\b(def|class|return|import)\b|=", text) is not None
