"""The refinement loop: baseline, target, then rounds of reply, candidate, report and verdict."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lsp_server.engine.protocol import Engine
from lsp_server.refine.events import Listener
from lsp_server.refine.proposal import Proposal
from lsp_server.refine.task import Request
from runner.run import Limits, Sandboxing


@dataclass(frozen=True)
class Options:
    """How a request is worked on."""

    interpreter: Path
    rounds: int = 3
    candidates: int = 1
    """Replies tried per round; the first is greedy, the others are sampled."""
    time_limit: float = 120.0
    """Seconds for the whole request; a round under way is not begun anew after it."""
    test_args: Sequence[str] = ()
    edit_tests: bool = False
    limits: Limits = field(default_factory=Limits)
    sandbox: Sandboxing = field(default_factory=Sandboxing)


class Cancelled(Exception):
    """The user has stopped the request."""


class NothingToFix(Exception):
    """Every test that was asked about passes already."""


def refine(
    request: Request, engine: Engine, options: Options, cancel: threading.Event, listener: Listener
) -> Proposal:
    """Work on a request until a candidate is verified or the options say stop; blocks for as long as that takes.

    Args:
        request: what is asked.
        engine: where replies come from.
        options: rounds, time, interpreter, sandbox.
        cancel: stops decoding at the next token and kills the tests.
        listener: told of every step, from the calling thread.

    Raises:
        TaskError: the request names nothing that can be worked on.
        NothingToFix: no wanted test fails.
        Cancelled: `cancel` was set.
        EngineError, RunnerError: the model or the tests cannot be run; the message says what mends it.
    """
    raise NotImplementedError
