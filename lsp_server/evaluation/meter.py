"""An engine that counts what its replies cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lsp_server.engine.client import Cost
from lsp_server.engine.protocol import Engine, Message, Sampling

SEEDS = 1_000_003
"""More than any run asks for."""


class CostingEngine(Engine, Protocol):
    """An engine that tells what its latest reply cost."""

    last_cost: Cost | None


@dataclass(frozen=True)
class Reply:
    """One reply, with what it answers and what it cost."""

    messages: tuple[Message, ...]
    text: str
    sampling: Sampling
    prompt_tokens: int
    reply_tokens: int
    seconds: float


class MeteredEngine:
    """Passes requests on to an engine and keeps every reply with its cost.

    A reply that was cut by whoever asked (all of its code was there) is counted by the model's tokenizer where the
    endpoint has one, else by its pieces.

    Args:
        engine: who answers.
        seed: from 0; runs with different ones share no request's seed.
    """

    def __init__(self, engine: CostingEngine, seed: int = 0) -> None:
        self.replies: list[Reply] = []
        self._engine = engine
        self._seed = seed

    @property
    def model(self) -> str:
        """Id of the model that answers."""
        return self._engine.model

    @property
    def prompt_tokens(self) -> int:
        """Most tokens that a prompt should have."""
        return self._engine.prompt_tokens

    def count(self, messages: Sequence[Message], cancel: threading.Event) -> int | None:
        """Return how many tokens a conversation has, as the engine says."""
        return self._engine.count(messages, cancel)

    def stream(
        self, messages: Sequence[Message], sampling: Sampling, cancel: threading.Event
    ) -> Iterator[str]:
        """Yield the engine's reply, and keep it.

        Raises:
            EngineError: as the engine has it.
        """
        if sampling.seed is not None:
            sampling = replace(sampling, seed=sampling.seed + SEEDS * self._seed)
        before, began, pieces = self._engine.last_cost, time.monotonic(), []
        try:
            for piece in self._engine.stream(messages, sampling, cancel):
                pieces.append(piece)
                yield piece
        finally:
            text = "".join(pieces)
            seconds = time.monotonic() - began
            prompt_tokens, reply_tokens = self._cost(before, messages, text, len(pieces))
            self.replies.append(Reply(tuple(messages), text, sampling, prompt_tokens, reply_tokens, seconds))

    def _cost(
        self, before: Cost | None, messages: Sequence[Message], text: str, pieces: int
    ) -> tuple[int, int]:
        cost = self._engine.last_cost
        if cost is not None and cost is not before:
            return cost.prompt_tokens, cost.completion_tokens
        go_on = threading.Event()  # the user's stop ends the reply, not its bill
        # As a user's words: a template may refuse a conversation that ends otherwise.
        around, counted = (self._engine.count([Message("user", each)], go_on) for each in ("", text))
        reply_tokens = pieces if around is None or counted is None else counted - around
        return self._engine.count(messages, go_on) or 0, reply_tokens
