"""What is drafted: what followed the last tokens where they occurred before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lsp_server.engine.speculation import NGRAM_SIZE, Lookup

tokens = st.lists(st.integers(0, 3), max_size=60)


def test_what_followed_before_is_drafted() -> None:
    assert Lookup([1, 2, 3, 4, 5, 6, 1, 2, 3]).drafts(2) == [4, 5]


def test_the_place_with_most_in_common_wins_then_the_latest() -> None:
    two_places = [9, 1, 2, 3, 4, 8, 1, 2, 3, 5]
    assert Lookup([*two_places, 9, 1, 2, 3]).drafts(1) == [4]
    assert Lookup([*two_places, 8, 1, 2, 3]).drafts(1) == [5]
    assert Lookup([*two_places, 7, 1, 2, 3]).drafts(1) == [5]


def test_nothing_is_drafted_without_a_precedent_or_a_wish() -> None:
    assert Lookup([]).drafts(4) == []
    assert Lookup([1, 2, 3]).drafts(4) == []
    assert Lookup([1, 2, 3, 4, 1, 2]).drafts(4) == []
    assert Lookup([1, 2, 3, 4, 1, 2, 3]).drafts(0) == []


@given(before=tokens, after=tokens, width=st.integers(0, 5))
def test_a_draft_is_a_continuation_that_was_there(before: list[int], after: list[int], width: int) -> None:
    lookup = Lookup(before)
    for token in after:
        lookup.append(token)
    whole = before + after
    assert lookup[:] == whole
    drafts = lookup.drafts(width)
    assert len(drafts) <= width
    places = [
        at for at in range(NGRAM_SIZE, len(whole)) if whole[at - NGRAM_SIZE : at] == whole[-NGRAM_SIZE:]
    ]
    assert bool(drafts) == bool(width and places)
    assert not drafts or any(whole[at : at + len(drafts)] == drafts for at in places)
