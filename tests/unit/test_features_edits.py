"""Edits: minimal, at the right columns, and moved along when the text around them has changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace import PositionCodec

from lsp_server.features.edits import hunks, lines_of, rebase, text_edits
from lsp_server.refine.source import Region

TEXTS = st.lists(st.sampled_from(["a\n", "b\n", "\n", "\tc\r\n", "🐍é\n", "x\x0cy\u2028z\n", "end"])).map(
    "".join
)
BEFORE = "import re\n\n\ndef a():\n    return 1\n\n\ndef b():\n    return 2\n"
AFTER = BEFORE.replace("return 2", "return 3")
REGION = Region(8, 9, "b")


def apply(text: str, edits: list[types.TextEdit], encoding: str, width: int) -> str:
    """Apply edits in the plainest way: by the encoded bytes of each line."""
    lines = lines_of(text)
    starts = [len("".join(lines[:n]).encode(encoding)) for n in range(len(lines) + 1)]
    data = text.encode(encoding)
    for edit in reversed(edits):
        start = starts[edit.range.start.line] + edit.range.start.character * width
        end = starts[edit.range.end.line] + edit.range.end.character * width
        data = data[:start] + edit.new_text.encode(encoding) + data[end:]
    return data.decode(encoding)


@pytest.mark.parametrize(
    ("kind", "encoding", "width"),
    [("utf-8", "utf-8", 1), ("utf-16", "utf-16-le", 2), ("utf-32", "utf-32-le", 4)],
)
@given(before=TEXTS, after=TEXTS)
def test_edits_make_the_text(kind: str, encoding: str, width: int, before: str, after: str) -> None:
    codec = PositionCodec(types.PositionEncodingKind(kind))
    assert apply(before, text_edits(before, after, codec), encoding, width) == after


@given(TEXTS)
def test_lines_are_the_text(text: str) -> None:
    assert "".join(lines_of(text)) == text


def test_only_changed_lines_are_touched() -> None:
    assert hunks(BEFORE, AFTER) == [(8, 9, "    return 3\n")]


def test_form_feeds_end_no_line() -> None:
    assert lines_of("a\x0cb\u2028c\r\nd\re") == ["a\x0cb\u2028c\r\n", "d\r", "e"]


def test_rebase_onto_the_same_text() -> None:
    assert rebase(BEFORE, AFTER, BEFORE, REGION) == AFTER


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import re\n", "import re\nimport os\n"),
        ("import re\n\n\n", ""),
        ("return 1", "return 10"),
        ("def b", "\nX = 1\n\n\ndef b"),
    ],
)
def test_rebase_onto_a_text_changed_elsewhere(old: str, new: str) -> None:
    assert rebase(BEFORE, AFTER, BEFORE.replace(old, new), REGION) == AFTER.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return 2", "return 22"),
        ("def b():\n    return 2\n", ""),
        ("def b", "async def b"),
    ],
)
def test_no_rebase_onto_a_target_that_was_touched(old: str, new: str) -> None:
    assert rebase(BEFORE, AFTER, BEFORE.replace(old, new), REGION) is None


def test_no_rebase_onto_a_target_that_is_there_twice() -> None:
    assert rebase(BEFORE, AFTER, BEFORE + "\n\ndef b():\n    return 2\n", REGION) is None


def test_an_added_import_moves_along_only_if_its_surroundings_are_the_same() -> None:
    after = "import re\nimport os\n" + AFTER.removeprefix("import re\n")
    moved = "# mine\n" + BEFORE
    assert rebase(BEFORE, after, moved, REGION) == "# mine\n" + after
    assert rebase(BEFORE, after, BEFORE.replace("import re", "import sys"), REGION) is None


def test_an_insertion_keeps_its_place_between_its_neighbours() -> None:
    before, after, region = "a\nb\n", "a\nnew\nb\n", Region(2, 1)
    assert rebase(before, after, "first\na\nb\n", region) == "first\na\nnew\nb\n"
    assert rebase(before, after, "a\nmine\nb\n", region) is None
