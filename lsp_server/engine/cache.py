"""Key/value caches of several conversations side by side, within a memory budget, the longest unused dropped first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

STEP = 2048
"""Tokens; caches are taken in multiples of it, for the runtime fills the whole of one when it makes it."""
HEADROOM = 1024
"""Tokens that a conversation may grow by before its cache has to be made anew: about a round of refinement."""
WORTH_KEEPING = 0.5
"""Part of a conversation that a prompt must share to go on from it, while there is room for another beside it."""
RECOMPUTED = 2
"""Last tokens of a prompt that are always computed anew: the logits of the last choose the first of the reply, and
the runtime's attention rounds a single token otherwise than one of several."""


@dataclass
class Conversation:
    """One generator, and the tokens whose keys and values it holds."""

    generator: Any
    capacity: int
    """Most tokens it can hold."""
    size: int
    """Tokens that it takes memory for."""
    tokens: list[int] = field(default_factory=list)
    busy: bool = False
    """A reply is being made with it; it may be paused."""
    used: int = 0
    """Counts up with each use."""


class Conversations:
    """Finds the conversation that a prompt goes on from, or makes a new one.

    Args:
        make: makes a generator for so many tokens; RuntimeError or MemoryError when there is no memory for it.
        token_bytes: bytes of keys and values a token.
        budget: bytes that all together may take. One conversation is always allowed.
        context: most tokens of one.
        reuse: go on from what is shared; otherwise each prompt is computed from its beginning.
        grows: a cache takes memory for the tokens that it holds, and not for all that it may come to hold.
    """

    def __init__(
        self,
        make: Callable[[int], Any],
        token_bytes: int,
        budget: int,
        context: int,
        reuse: bool = True,
        grows: bool = False,
    ) -> None:
        self._make, self._token_bytes, self._budget = make, token_bytes, budget
        self._context, self._reuse, self._grows = context, reuse, grows
        self._held: list[Conversation] = []
        self._uses = itertools.count(1)

    @property
    def count(self) -> int:
        """How many conversations are held."""
        return len(self._held)

    def take(self, prompt: Sequence[int], reply: int) -> tuple[Conversation, int]:
        """Return a conversation for a prompt and a reply, and how many of the prompt's tokens it has already.

        It is rewound to just these, and busy until given back.

        Args:
            prompt: token ids.
            reply: most tokens that will be added.

        Raises:
            RuntimeError, MemoryError: there is no memory even for this one alone.
        """
        need = min(len(prompt) + reply, self._context)
        idle = [each for each in self._held if not each.busy and each.capacity >= need]
        candidates = [
            (each, shared_prefix(each.tokens, prompt[:-RECOMPUTED]) if self._reuse else 0) for each in idle
        ]
        best, common = max(candidates, key=lambda pair: (pair[1], -pair[0].used), default=(None, 0))
        capacity = min(self._context, -(-(need + HEADROOM) // STEP) * STEP)
        if self._grows:
            capacity = self._context
        size = need if self._grows else capacity
        if best is None or (common < WORTH_KEEPING * len(best.tokens) and self._fits(size)):
            best, common = self._new(capacity, need), 0
        else:
            best.generator.rewind_to(common)
        best.busy, best.used = True, next(self._uses)
        if self._grows:
            best.size = need
            while not self._fits(0) and self._drop_oldest():
                pass
        return best, common

    def give_back(self, conversation: Conversation, tokens: Sequence[int] | None) -> None:
        """Keep a conversation with the tokens it now holds; None: that is uncertain, so it is dropped."""
        conversation.busy = False
        if tokens is None:
            self._held = [each for each in self._held if each is not conversation]
            conversation.generator = None
        else:
            conversation.tokens = list(tokens)
            if self._grows:
                conversation.size = len(tokens)

    def drop_idle(self) -> bool:
        """Drop every conversation that is not busy; return whether there was one."""
        dropped = False
        while self._drop_oldest():
            dropped = True
        return dropped

    def _fits(self, size: int) -> bool:
        taken = sum(each.size for each in self._held)
        return not self._held or (taken + size) * self._token_bytes <= self._budget

    def _new(self, capacity: int, need: int) -> Conversation:
        while not self._fits(need if self._grows else capacity) and self._drop_oldest():
            pass
        while True:
            try:
                made = Conversation(self._make(capacity), capacity, need if self._grows else capacity)
                break
            except (RuntimeError, MemoryError):
                # First at others' expense, then without room to grow, then not at all.
                if self._drop_oldest():
                    continue
                if capacity == need:
                    raise
                capacity = need
        self._held.append(made)
        return made

    def _drop_oldest(self) -> bool:
        idle = [each for each in self._held if not each.busy]
        if not idle:
            return False
        self.give_back(min(idle, key=lambda each: each.used), None)
        return True


def shared_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    shorter = min(len(left), len(right))
    return next((i for i in range(shorter) if left[i] != right[i]), shorter)
