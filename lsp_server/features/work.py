"""One request in its own thread: from the settings to a proposal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lsp_server.settings import Settings

if TYPE_CHECKING:
    from lsp_server.engine.client import HttpEngine
    from lsp_server.engine.supervise import LocalEngine
    from lsp_server.refine.events import Listener
    from lsp_server.refine.loop import Options
    from lsp_server.refine.proposal import FeedbackRequest, Proposal
    from lsp_server.refine.task import Request
    from runner.request import TestRequest
    from runner.warm import WarmProcesses


def propose(
    request: Request | FeedbackRequest,
    settings: Settings,
    cancel: threading.Event,
    listener: Listener,
    notice: Callable[[str], None],
    *,
    background: bool = False,
) -> Proposal:
    """Work on a request; blocks for as long as that takes.

    Args:
        request: what is asked.
        settings: the user's.
        cancel: stops decoding at the next token and kills the tests.
        listener: told of every step.
        notice: told what is being waited for.
        background: our own engine does everything else first.

    Raises:
        TaskError, NothingToFix, Cancelled, EngineError, UnknownModel, RunnerError: as `refine` has it.
    """
    # Loaded with the first request: the server itself has to be up at once.
    from lsp_server.refine.loop import refine, refine_further
    from lsp_server.refine.proposal import FeedbackRequest

    options = loop_options(request.snapshot.workspace, settings)
    engine = choose_engine(settings, notice, background=background)
    if isinstance(request, FeedbackRequest):
        return refine_further(request, engine, options, cancel, listener)
    return refine(request, engine, options, cancel, listener)


def loop_options(workspace: Path, settings: Settings) -> Options:
    """Return how requests about a workspace are worked on.

    Args:
        workspace: the project's root.
        settings: the user's.

    Raises:
        InterpreterError: as `test_request` has it.
    """
    from lsp_server.refine.loop import Options

    tests = test_request(workspace, settings)
    return Options(
        interpreter=tests.interpreter,
        rounds=settings.rounds,
        candidates=settings.candidates,
        time_limit=settings.timeLimit,
        test_args=tests.test_args,
        limits=tests.limits,
        sandbox=tests.sandbox,
        tools=settings.tools,
        warm=warm_processes(),
    )


def explain(
    proposal: Proposal,
    settings: Settings,
    cancel: threading.Event,
    notice: Callable[[str], None],
    listener: Callable[[str], None],
) -> str:
    """Have the model explain a proposal; blocks for as long as that takes.

    Args:
        proposal: with code.
        settings: the user's.
        cancel: ends it.
        notice: told what is being waited for.
        listener: told each piece as it comes.

    Returns:
        The whole of it.

    Raises:
        TaskError, EngineError, UnknownModel: it cannot be had.
    """
    from lsp_server.refine.explain import explain

    whole = ""
    for piece in explain(proposal, choose_engine(settings, notice), cancel):
        whole += piece
        listener(piece)
    return whole


def test_request(workspace: Path, settings: Settings) -> TestRequest:
    """Return how tests of a workspace are run; which of them, and on what texts, is left open.

    Args:
        workspace: the project's root.
        settings: the user's.

    Raises:
        InterpreterError: the setting names no interpreter, or none is found.
    """
    from runner.interpreter import find_interpreter
    from runner.request import Limits, Sandboxing, TestRequest

    return TestRequest(
        workspace,
        (),
        find_interpreter(workspace, settings.interpreter),
        test_args=settings.testArgs,
        limits=Limits(test_seconds=settings.testTimeout, wall_seconds=settings.runTimeout),
        sandbox=Sandboxing(
            level=settings.sandbox.level,
            network=settings.sandbox.network,
            readable=[Path(path) for path in settings.sandbox.readable],
            writable=[Path(folder) for folder in settings.sandbox.writable],
        ),
    )


def holds(proposal: Proposal, settings: Settings, cancel: threading.Event) -> bool:
    """Return whether a verified proposal's tests pass in a run of now, in a process of its own.

    Args:
        proposal: on the texts of its own snapshot.
        settings: the user's.
        cancel: ends the run.

    Raises:
        RunnerError: the tests cannot be run.
    """
    from lsp_server.refine.judge import judge
    from lsp_server.refine.proposal import VerdictKind
    from runner.run import run_tests

    task, baseline = proposal.task, proposal.baseline
    assert proposal.new_text is not None
    candidate = {task.document.path: proposal.new_text.encode("utf-8")}
    request = replace(
        test_request(task.snapshot.workspace, settings),
        tests=task.tests,
        files={**task.snapshot.overlay(), **candidate},
        expected=frozenset(baseline.passed | task.wanted.ids),
    )
    report = run_tests(request, cancel)
    return judge(baseline, report, task.wanted, frozenset()).kind is VerdictKind.VERIFIED


@lru_cache(maxsize=1)
def warm_processes() -> WarmProcesses:
    """Those of this process, with which they end."""
    from runner.warm import WarmProcesses

    return WarmProcesses()


def choose_engine(
    settings: Settings, notice: Callable[[str], None], *, background: bool = False
) -> HttpEngine | LocalEngine:
    """Return the user's endpoint if there is one, else our own engine.

    Args:
        settings: the user's.
        notice: told what is being waited for.
        background: our own engine does everything else first.

    Raises:
        EngineError: the endpoint is not a URL.
        UnknownModel: the catalog has no such model.
    """
    if settings.endpoint:
        from lsp_server.engine.client import HttpEngine

        return HttpEngine(settings.endpoint, settings.endpointToken, settings.model)
    from lsp_server.engine.supervise import LocalEngine
    from lsp_server.models import catalog, store

    model = store.entry(settings.model or catalog.DEFAULT).id
    return LocalEngine(model, settings.engine.idleUnload * 60, notice, background=background)


def model_name(settings: Settings) -> str:
    """Return the id of the model that requests go to; empty if that is the endpoint's to say."""
    from lsp_server.models import catalog

    return settings.model or ("" if settings.endpoint else catalog.DEFAULT)


def device(settings: Settings) -> str:
    """Return what our own engine's loaded model runs on; empty if it is not loaded, or not ours."""
    if settings.endpoint:
        return ""
    from lsp_server.engine.supervise import status
    from lsp_server.models import store

    return status(store.entry(model_name(settings)).id).device or ""


def is_told(error: Exception) -> bool:
    """Whether an error's message is written for the user, with what mends it."""
    from lsp_server.engine.protocol import EngineError
    from lsp_server.models.catalog import UnknownModel
    from lsp_server.models.store import ModelError
    from lsp_server.refine.loop import NothingToFix
    from lsp_server.refine.sessions import SessionsError
    from lsp_server.refine.task import TaskError
    from runner.errors import RunnerError

    told = EngineError | ModelError | UnknownModel | NothingToFix | SessionsError | TaskError | RunnerError
    return isinstance(error, told)
