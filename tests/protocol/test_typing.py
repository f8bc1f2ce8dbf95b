"""A thousand edits in ten seconds: afterwards the server tests the very text that the editor has, byte for byte."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.protocol.editor import Editor
from tests.protocol.test_on_save import shown

EDITS = 1000
SECONDS = 10.0
PIECES = ("😀", "é", "e\u0301", "𝒳", "漢", "\t", "\u2028", "\x0c", "\n", "\r\n", "# ", "x = 1\n", "")
TEST = """\
import hashlib
from pathlib import Path


def test_text():
    assert '😀é𝒳', hashlib; assert hashlib.sha256(Path('typed.py').read_bytes()).hexdigest() == '😀'
"""
UNITS = {"utf-8": 1, "utf-16": 2, "utf-32": 4}


@pytest.mark.parametrize("encoding", UNITS)
async def test_a_thousand_edits_leave_the_same_text(
    editor: Editor, project: Path, settings: dict[str, Any], encoding: str
) -> None:
    (project / "test_typed.py").write_text(TEST)
    (project / "typed.py").write_text("")

    def offer(capabilities: types.ClientCapabilities) -> None:
        assert capabilities.general is not None
        capabilities.general.position_encodings = [types.PositionEncodingKind(encoding)]

    answer = await editor.start(project, settings=settings, change=offer)
    assert answer.capabilities.position_encoding == encoding
    typed, test = editor.open(project / "typed.py"), editor.open(project / "test_typed.py")
    random_ = random.Random(encoding)
    text = "# 😀\n" * 100
    for _ in range(EDITS):
        start = random_.randrange(len(text) + 1)
        end = min(len(text), start + random_.choice((0, 0, 0, 1, 5)))
        text = text[:start] + random_.choice(PIECES) + text[end:]
        editor.type(typed, text)
        await asyncio.sleep(SECONDS / EDITS)
    await editor.command("oci.runTests", uri=test)
    await editor.until("what the test has read", lambda: shown(editor, test))
    (seen,) = shown(editor, test)
    assert hashlib.sha256(text.encode()).hexdigest() in seen.message
    line = TEST.splitlines()[5]
    codec = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding]
    assert seen.range.end.character == len(line.encode(codec)) // UNITS[encoding]
