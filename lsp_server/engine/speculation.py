"""Drafts of what comes next, looked up in what was there before: a repair mostly copies its prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

NGRAM_SIZE = 3
"""Tokens that have to repeat before what followed them is drafted."""
LOOKED_AT = 8
"""Latest places where they occurred that are compared."""
COMPARED = 32
"""Tokens before them that may tell the places apart."""


class Lookup:
    """The tokens of a conversation, and where each n-gram of them occurred (prompt lookup decoding, Saxena, 2023).

    Args:
        tokens: of the prompt.
    """

    def __init__(self, tokens: Iterable[int]) -> None:
        self._tokens: list[int] = []
        self._after: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for token in tokens:
            self.append(token)

    def __getitem__(self, part: slice) -> list[int]:
        """Return some of the tokens."""
        return self._tokens[part]

    def append(self, token: int) -> None:
        """Take one more token."""
        if len(self._tokens) >= NGRAM_SIZE:
            self._after[tuple(self._tokens[-NGRAM_SIZE:])].append(len(self._tokens))
        self._tokens.append(token)

    def drafts(self, width: int) -> list[int]:
        """Return what followed the last tokens where they occurred before, with most in common before them.

        Args:
            width: most tokens wanted.
        """
        places = self._after.get(tuple(self._tokens[-NGRAM_SIZE:]), ())[-LOOKED_AT:]
        if width <= 0 or not places:
            return []
        # Among equals the latest: it is what the model itself wrote.
        best = max(places, key=lambda place: (self._in_common(place), place))
        return self._tokens[best : best + width]

    def _in_common(self, place: int) -> int:
        """Tokens before a place that are the last ones, too."""
        end = len(self._tokens)
        shared = NGRAM_SIZE
        while (
            shared < COMPARED
            and shared < place
            and self._tokens[place - shared - 1] == self._tokens[end - shared - 1]
        ):
            shared += 1
        return shared
