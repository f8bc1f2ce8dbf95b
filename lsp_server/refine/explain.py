"""Why a test failed and what was changed, in the model's words."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from lsp_server.engine.protocol import Engine, Sampling
from lsp_server.refine import prompt
from lsp_server.refine.budget import Budget
from lsp_server.refine.proposal import Proposal
from lsp_server.refine.task import TaskError

TOKENS = 240
"""A few sentences."""
_FORM = "Explain in two or three sentences, without code,"
_OF_FAILURE = f"{_FORM} why the test failed and what you changed."
_OF_COMPLAINT = f"{_FORM} what was reported and what you changed."
_OF_NEW_CODE = f"{_FORM} what you wrote and how it works."


def explain(proposal: Proposal, engine: Engine, cancel: threading.Event) -> Iterator[str]:
    """Yield an explanation piece by piece.

    Args:
        proposal: whose best round is explained, in its own conversation.
        engine: what has made it, or another.
        cancel: ends it early.

    Raises:
        TaskError: the proposal has no code.
        EngineError: the engine cannot answer.
    """
    if (done := proposal.best) is None:
        raise TaskError("There is no code to explain: no round came to a candidate.")
    budget = Budget(engine.prompt_tokens, lambda messages: engine.count(messages, cancel))
    task = proposal.task
    question = _OF_COMPLAINT if task.complaint else _OF_FAILURE if task.kind == "fix" else _OF_NEW_CODE
    messages = prompt.next_turn(done.asked, done.reply, question, done.asked[:1], budget)
    yield from engine.stream(messages, Sampling(max_tokens=TOKENS), cancel)
