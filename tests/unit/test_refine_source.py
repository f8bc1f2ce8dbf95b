"""Outlines of texts that are being edited are those of the texts parsed anew."""

from __future__ import annotations

import random

import pytest

from lsp_server.refine.source import Outlines, Source

TEXT = '''\
import os


@decorated(
    1)
def first(a, b):
    """Say what it is."""
    if a:
        def inner():
            return b
        return inner
    return (a +
            b)


class Thing:
    """A thing."""

    size = 1

    @property
    def stub(self):
        ...

    async def later(self):
        async with self as x:
            pass


try:
    def guarded():
        raise NotImplementedError
except ImportError:
    guarded = None

for each in []:
    class Inner: pass

text = """
def not_a_function():
    pass
"""


def last():
    return 1
'''
PIECES = (
    *("", " ", "    ", "\n", "\n\n", "\t", ":", "(", ")", '"""', "'", "\\\n", "#", "\x0c", "😀", "\r\n"),
    *(
        "def new():\n    return 1\n",
        "class New:\n    x = 1\n",
        "@d\n",
        "async ",
        "if x:\n    ",
        "return 1\n",
        "else:\n",
    ),
)


@pytest.mark.parametrize("seed", range(40))
def test_an_edited_text_has_the_outline_of_the_text_itself(seed: int) -> None:
    random_ = random.Random(seed)
    outlines, text = Outlines(most=2), TEXT
    for step in range(40):
        start = random_.randrange(len(text) + 1)
        if random_.random() < 0.5:
            start = text.rfind("\n", 0, start) + 1
        end = min(len(text), start + random_.choice((0, 0, 0, 1, 2, 30)))
        text = text[:start] + random_.choice(PIECES) + text[end:]
        if random_.random() < 0.1:
            text = TEXT  # as undoing everything does
        if random_.random() < 0.1:
            outlines(f"other{random_.randrange(3)}", TEXT[: random_.randrange(len(TEXT))])
        assert outlines("this", text).definitions == Source(text).definitions, (seed, step, text)


def test_an_unchanged_text_is_not_looked_at_again() -> None:
    outlines = Outlines()
    assert outlines("this", TEXT) is outlines("this", TEXT)
    assert outlines("this", TEXT).text == TEXT
    names = [each.name for each in outlines("this", TEXT).definitions]
    assert names == [
        *("first", "first.inner", "Thing", "Thing.stub", "Thing.later", "guarded", "Inner", "last"),
    ]
