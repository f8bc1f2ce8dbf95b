"""Repair tasks, worked on by the loop that the editor's user has, and checked once more outside of it."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lsp_server.engine.protocol import Message
from lsp_server.evaluation.meter import CostingEngine, MeteredEngine
from lsp_server.evaluation.outcome import Attempt, TaskOutcome
from lsp_server.evaluation.run_folder import EvaluationError, RunFolder
from lsp_server.evaluation.tasks import NoTask, RepairTask, lay_out
from lsp_server.evaluation.workers import work_on
from lsp_server.features.work import loop_options, test_request
from lsp_server.refine.events import Event, RoundDone
from lsp_server.refine.loop import STRATEGY, Cancelled, NothingToFix, Strategy, refine
from lsp_server.refine.proposal import Proposal, Round, VerdictKind
from lsp_server.refine.task import FixRequest, Snapshot, TaskError
from lsp_server.settings import Settings
from runner.interpreter import describe
from runner.report import Report
from runner.run import run_tests
from runner.tool import run_tool

OUTSIDE_SECONDS = 120.0
"""For plain pytest on a repair: longer than our own limit, so that it alone decides."""


def run_tasks(
    tasks: Sequence[RepairTask],
    settings: Settings,
    engine: Callable[[], CostingEngine],
    folder: RunFolder,
    cancel: threading.Event,
    show: Callable[[TaskOutcome], None],
    *,
    jobs: int = 1,
    seed: int = 0,
    strategy: Strategy = STRATEGY,
) -> None:
    """Work on the tasks that the folder has no outcome of; each outcome is in it before the next is begun.

    Args:
        tasks: what is worked on; one that could not be tried before is tried again.
        settings: rounds, candidates, limits and sandbox, as a user has them, and the interpreter, which is never looked
            for in a task's project.
        engine: makes who answers, one for each task.
        folder: where outcomes go.
        cancel: ends the run after the reply or test that is running; what was done stays.
        show: told each new outcome.
        jobs: tasks at once, where the engine serves several requests faster than one after the other.
        seed: for other samples than another run's.
        strategy: how a failure is worked on.

    Raises:
        Cancelled: `cancel` was set.
        EngineError, RunnerError, EvaluationError: the model or the tests cannot be run; the run goes on from there
            when it is called again.
    """
    tried = folder.tried()

    def work(task: RepairTask) -> TaskOutcome:
        return _attempt(task, settings, engine(), cancel, seed, strategy)

    left = (task for task in tasks if task.id not in tried)
    with closing(work_on(left, work, jobs, cancel)) as outcomes:
        for outcome in outcomes:
            folder.add(outcome)
            show(outcome)


def proven(task: RepairTask, settings: Settings, cancel: threading.Event) -> RepairTask:
    """Return a task that was seen to be one: its tests fail as it is, and pass with its solution.

    Args:
        task: with a solution.
        settings: limits, sandbox and interpreter.
        cancel: ends the runs.

    Returns:
        The task with its failing test files in front.

    Raises:
        NoTask: the tests say something else.
        Cancelled: `cancel` was set.
        RunnerError, EvaluationError: the tests cannot be run.
    """
    with _project(task) as project:
        before = _run(project, task, settings, {}, cancel)
        solution = {PurePosixPath(path): text.encode("utf-8") for path, text in task.solution.items()}
        after = _run(project, task, settings, solution, cancel)
    if cancel.is_set():
        raise Cancelled
    failing = {test.partition("::")[0] for test in before.failed} | {
        str(e.path) for e in before.collection_errors
    }
    if not failing:
        raise NoTask("its tests pass without the repair")
    if after.failed:
        raise NoTask(f"{min(after.failed)} fails with the repair, too")
    if after.collection_errors or not after.passed:
        raise NoTask("its tests cannot be run here")
    order = sorted(task.tests, key=lambda test: test.partition("::")[0] not in failing)
    return replace(task, tests=tuple(order))


def _run(
    project: Path,
    task: RepairTask,
    settings: Settings,
    files: dict[PurePosixPath, bytes],
    cancel: threading.Event,
) -> Report:
    request = replace(test_request(project, _named(settings)), import_folders=_import_folders(project, task))
    return run_tests(replace(request, tests=task.tests, files=files), cancel)


def _attempt(
    task: RepairTask,
    settings: Settings,
    engine: CostingEngine,
    cancel: threading.Event,
    seed: int,
    strategy: Strategy,
) -> TaskOutcome:
    metered = MeteredEngine(engine, seed)
    ends: list[tuple[Round, int]] = []
    began = time.monotonic()

    def listen(event: Event) -> None:
        if isinstance(event, RoundDone):
            ends.append((event.round, len(metered.replies)))

    with _project(task) as project:
        request = FixRequest(Snapshot(project), PurePosixPath(task.tests[0].partition("::")[0]), test="")
        try:
            options = replace(
                loop_options(project, _named(settings)),
                strategy=strategy,
                import_folders=_import_folders(project, task),
            )
            proposal = refine(request, metered, options, cancel, listen)
        except (TaskError, NothingToFix) as error:
            if cancel.is_set():
                raise Cancelled from error
            return TaskOutcome(
                task.id,
                _attempts(metered, ends),
                passed=False,
                seconds=time.monotonic() - began,
                error=str(error),
            )
        seconds = time.monotonic() - began
        outside = _passes_outside(project, task, proposal, settings, cancel) if proposal.verified else None
    if cancel.is_set():
        raise Cancelled
    last = metered.replies[-1] if metered.replies else None
    return TaskOutcome(
        id=task.id,
        attempts=_attempts(metered, ends),
        passed=proposal.verified,
        outside=outside,
        seconds=seconds,
        detail={
            "found": str(proposal.task.document.path) == task.target,
            "path": str(proposal.task.document.path),
            "region": proposal.task.region.name,
            "verdict": proposal.receipt.verdict.kind.value,
            "reason": proposal.receipt.verdict.reason,
            "isolation": proposal.receipt.isolation,
            "diff": proposal.diff(),
        },
        conversation=_conversation(last.messages, last.text) if last else (),
    )


def _attempts(metered: MeteredEngine, ends: Sequence[tuple[Round, int]]) -> tuple[Attempt, ...]:
    """Return each reply as an attempt; the last of a verified round is the one that passed."""
    attempts: list[Attempt] = []
    begins = 0
    for done, end in ends:
        proven = done.verdict.kind is VerdictKind.VERIFIED
        reason = "" if proven else done.verdict.reason  # the best reply's; no other's is known
        for at in range(begins, end):
            reply = metered.replies[at]
            passed = proven and at == end - 1
            attempts.append(
                Attempt(
                    round=done.number,
                    passed=passed,
                    prompt_tokens=reply.prompt_tokens,
                    reply_tokens=reply.reply_tokens,
                    seconds=reply.seconds,
                    reason=reason,
                )
            )
        begins = end
    return tuple(attempts)


def _conversation(asked: Sequence[Message], reply: str) -> tuple[Message, ...]:
    return (*asked, Message("assistant", reply))


def _passes_outside(
    project: Path, task: RepairTask, proposal: Proposal, settings: Settings, cancel: threading.Event
) -> bool:
    """Whether all of a task's tests pass where neither our runner nor our verdict has a say.

    It is plain pytest, or unittest where there is none, by its exit status; in the sandbox all the same, since
    the code is a model's.
    """
    assert proposal.new_text is not None
    request = test_request(project, _named(settings))
    interpreter = describe(request.interpreter)
    driver = ["pytest", "-q", "-p", "no:cacheprovider"] if interpreter.has_pytest else ["unittest"]
    run = run_tool(
        replace(
            request,
            files={proposal.task.document.path: proposal.new_text.encode("utf-8")},
            import_folders=_import_folders(project, task),
            limits=replace(request.limits, wall_seconds=OUTSIDE_SECONDS),
        ),
        [str(interpreter.executable), "-m", *driver, *task.tests],
        cancel,
    )
    return run.status == 0


@contextmanager
def _project(task: RepairTask) -> Iterator[Path]:
    """Lay a task's project out for as long as it is worked on."""
    with tempfile.TemporaryDirectory(prefix="oci-repair-") as folder:
        # Resolved, for on some systems the folder for temporary files is a link.
        project = Path(folder).resolve() / "project"
        project.mkdir()
        lay_out(task, project)
        yield project


def _named(settings: Settings) -> Settings:
    """See that the interpreter is the user's choice: one that is looked for could be a file of the task's."""
    if not Path(settings.interpreter).is_absolute():
        raise EvaluationError("Name the Python that runs the tests: --interpreter PYTHON.")
    return settings


def _import_folders(project: Path, task: RepairTask) -> tuple[PurePosixPath, ...]:
    """Return where a commit's tests look for modules first: an editable install would give them the user's own tree."""
    if task.base is None:
        return ()
    above = folder = PurePosixPath(task.target).parent
    while above.name and (project / above / "__init__.py").exists():
        above = above.parent
    # A folder that is no package may have files with names of the standard library's.
    roots = [] if above == folder else [above]
    return tuple(dict.fromkeys([*roots, PurePosixPath("src"), PurePosixPath()]))
