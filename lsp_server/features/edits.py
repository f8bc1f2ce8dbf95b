"""From two texts to text edits: the changed lines only, at positions as the client counts them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import lru_cache

from lsprotocol import types
from pygls.workspace import PositionCodec

from lsp_server.refine.source import Region

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")
Hunk = tuple[int, int, str]
"""First line and the line after the last (from 0), and what takes their place."""


def lines_of(text: str) -> list[str]:
    """Split a text at the line ends that LSP knows, which are fewer than `str.splitlines` knows."""
    return _LINE.findall(text)


def hunks(before: str, after: str) -> list[Hunk]:
    """Return the runs of lines in which two texts differ, top down."""
    old, new = lines_of(before), lines_of(after)
    return [
        (start, end, "".join(new[new_start:new_end]))
        for tag, start, end, new_start, new_end in _opcodes(old, new)
        if tag != "equal"
    ]


def rebase(before: str, after: str, current: str, region: Region) -> str | None:
    """Return what `current` becomes when the change from `before` to `after` is made to it instead.

    Args:
        before: the text that was worked on.
        after: that text with the change.
        current: what the text has become meanwhile.
        region: the lines of `before` that the change is about.

    Returns:
        None if the lines around the change were touched, or occur more than once, so that their place is uncertain.
    """
    if current == before:
        return after
    old, now = lines_of(before), lines_of(current)
    untouched = [(a, b, c - a) for tag, a, b, c, _ in _opcodes(old, now) if tag == "equal"]
    target = "".join(old[region.start - 1 : region.end])
    if target.strip() and current.count(target) != 1:
        return None

    def offset(start: int, end: int) -> int | None:
        """How far a run of lines has moved; None if it, or the line on either side, was touched."""
        return next(
            (by for a, b, by in untouched if a <= max(start - 1, 0) and min(end + 1, len(old)) <= b), None
        )

    if offset(region.start - 1, region.end) is None:
        # The neighbours of a whole region may change: only for an insertion do they tell the place.
        inside = [by for a, b, by in untouched if a <= region.start - 1 and region.end <= b]
        if not inside or region.end < region.start:
            return None
    for start, end, text in reversed(hunks(before, after)):
        within = region.start - 1 <= start and end <= region.end
        moved = [by for a, b, by in untouched if a <= start and end <= b] if within else [offset(start, end)]
        if not moved or moved[0] is None:
            return None
        now[start + moved[0] : end + moved[0]] = [text]
    return "".join(now)


@lru_cache(maxsize=8)
def unchanged(before: str, after: str) -> tuple[tuple[int, int, int], ...]:
    """Return the runs of lines that two texts share: first line and the line after the last (from 0) of the first text,
    and how far they have moved."""
    codes = _opcodes(lines_of(before), lines_of(after))
    return tuple((a, b, c - a) for tag, a, b, c, _ in codes if tag == "equal")


def text_edits(before: str, after: str, codec: PositionCodec) -> list[types.TextEdit]:
    """Return the edits that turn one text into another.

    Args:
        before: the text as the client has it.
        after: the text as it is to be.
        codec: counts columns in the negotiated encoding.
    """
    old = lines_of(before)

    def position(line: int) -> types.Position:
        # A text without a final newline ends in its last line, not at the start of one more.
        if line >= len(old) and old and not old[-1].endswith(("\n", "\r")):
            return types.Position(len(old) - 1, codec.client_num_units(old[-1]))
        return types.Position(line, 0)

    return [
        types.TextEdit(types.Range(position(start), position(end)), text)
        for start, end, text in hunks(before, after)
    ]


def _opcodes(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    """difflib's opcodes, at a cost that depends on what lies between the first and the last difference."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    middle = difflib.SequenceMatcher(
        None, old[head : len(old) - tail], new[head : len(new) - tail], autojunk=False
    )
    codes = [("equal", 0, head, 0, head)] if head else []
    codes += [(tag, a + head, b + head, c + head, d + head) for tag, a, b, c, d in middle.get_opcodes()]
    if tail:
        codes.append(("equal", len(old) - tail, len(old), len(new) - tail, len(new)))
    merged: list[tuple[str, int, int, int, int]] = []
    for code in codes:
        if merged and code[0] == merged[-1][0] == "equal":
            _, a, _, c, _ = merged.pop()
            code = ("equal", a, code[2], c, code[4])
        merged.append(code)
    return merged
