"""Which conversation a prompt goes on from, with generators that only count."""

from __future__ import annotations

from typing import Any

import pytest

from lsp_server.engine.cache import HEADROOM, STEP, Conversations, shared_prefix


class Counting:
    """Stands for a generator of the runtime."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.rewound = capacity, [-1]

    def rewind_to(self, length: int) -> None:
        self.rewound.append(length)


def conversations(budget: int = 4 * STEP, context: int = 16_384, **more: Any) -> Conversations:
    return Conversations(Counting, token_bytes=1, budget=budget, context=context, **more)


def ask(held: Conversations, prompt: list[int], reply: int = 10) -> tuple[Any, int]:
    conversation, common = held.take(prompt, reply)
    held.give_back(conversation, prompt)
    return conversation, common


FIRST, SECOND, THIRD = list(range(100)), list(range(200, 300)), list(range(400, 500))


def test_a_prompt_goes_on_from_the_conversation_that_it_shares_most_with() -> None:
    held = conversations()
    first, _ = ask(held, FIRST)
    second, _ = ask(held, SECOND)
    assert first is not second
    again, common = ask(held, [*FIRST, 7, 8])
    assert (again, common) == (first, 100)
    assert first.generator.rewound[-1] == 100
    assert ask(held, SECOND) == (second, 98), "the last two tokens of a prompt are computed anew"


def test_the_longest_unused_is_dropped_when_the_budget_is_spent() -> None:
    held = conversations(budget=2 * STEP)
    first, _ = ask(held, FIRST)
    second, _ = ask(held, SECOND)
    third, common = ask(held, THIRD)
    assert (third, common) == (first, 0)
    assert ask(held, SECOND)[0] is second
    assert held.count == 2


def test_a_paused_conversation_is_never_taken_by_another() -> None:
    held = conversations(budget=STEP)
    paused, _ = held.take(FIRST, 10)
    other, common = held.take([*FIRST, 1], 10)
    assert other is not paused
    assert common == 0


def test_a_longer_conversation_gets_a_larger_cache() -> None:
    held = conversations()
    first, _ = ask(held, FIRST)
    assert first.capacity == STEP
    longer, common = ask(held, [*FIRST, *range(1000, 1000 + STEP)])
    assert (common, longer.capacity) == (0, 2 * STEP)
    assert HEADROOM < STEP


def test_a_cache_never_exceeds_the_context() -> None:
    held = conversations(context=1500)
    assert ask(held, FIRST, reply=10_000)[0].capacity == 1500


def test_what_is_uncertain_is_dropped() -> None:
    held = conversations()
    conversation, _ = held.take(FIRST, 10)
    held.give_back(conversation, None)
    assert held.count == 0


def test_without_reuse_everything_is_computed() -> None:
    held = conversations(reuse=False)
    ask(held, FIRST)
    assert ask(held, FIRST)[1] == 0


def test_a_cache_that_grows_counts_what_it_holds_and_is_never_made_anew() -> None:
    held = conversations(budget=400, grows=True)
    first, _ = ask(held, FIRST)
    assert (first.capacity, first.size) == (16_384, 100)
    ask(held, SECOND)
    longer = [*FIRST, *range(1000, 1100)]
    assert ask(held, longer) == (first, 100)
    assert held.count == 2
    assert ask(held, [*longer, *range(1100, 1200)]) == (first, 200)
    assert held.count == 1, "what another holds is dropped as this one grows"


def test_short_of_memory_others_go_first_then_the_room_to_grow() -> None:
    made: list[int] = []

    def make(capacity: int) -> Counting:
        made.append(capacity)
        if capacity > 1000 and len(made) > 1:
            raise MemoryError
        return Counting(capacity)

    held = Conversations(make, token_bytes=1, budget=10 * STEP, context=16_384)
    ask(held, FIRST)
    second, _ = ask(held, SECOND)
    assert made == [STEP, STEP, STEP, 110]
    assert (second.capacity, held.count) == (110, 1)
    with pytest.raises(MemoryError):
        ask(held, list(range(2000, 4000)))


def test_shared_prefix() -> None:
    assert shared_prefix([1, 2, 3], [1, 2, 4]) == 2
    assert shared_prefix([1, 2], [1, 2, 3]) == 2
    assert shared_prefix([], [1]) == 0
