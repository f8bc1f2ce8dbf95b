"""`oci-companion eval repair | mine | tasks`."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsp_server.interrupt import cancel_on_interrupt
from lsp_server.settings_options import add_jobs_option, add_settings_options, at_least, settings_of

if TYPE_CHECKING:
    from rich.console import Console

    from lsp_server.evaluation.history import Commit
    from lsp_server.evaluation.outcome import TaskOutcome
    from lsp_server.evaluation.run_folder import RunFolder
    from lsp_server.evaluation.tasks import RepairTask
    from lsp_server.refine.loop import Strategy
    from lsp_server.settings import Settings


NONE_FOUND = (
    "No bug fix was found: no commit that changes one source file, and with it tests that failed before and pass after "
    "it, in this environment."
)


def add(actions: Any) -> None:
    """Add the commands to the parser's `eval` group."""
    repair = actions.add_parser(
        "repair", help="how many repair tasks are repaired, in which round, at what cost"
    )
    repair.add_argument(
        "--data", type=Path, required=True, metavar="FILE.jsonl", help="tasks: id, files, tests, target"
    )
    repair.add_argument("--only", default="", metavar="TEXT", help="tasks whose id has it")
    repair.set_defaults(run=_repair)

    mine = actions.add_parser("mine", help="the last bug fixes of your own repository, as repair tasks")
    mine.add_argument("repository", nargs="?", type=Path, default=Path(), metavar="FOLDER")
    _add_history_options(mine)
    mine.set_defaults(run=_mine)

    tasks = actions.add_parser("tasks", help="make repair tasks of other data")
    kinds = tasks.add_subparsers(required=True, metavar="KIND")
    fixes = kinds.add_parser("humanevalfix", help="of HumanEvalPack's rows (Python)")
    fixes.add_argument("data", type=Path, metavar="FILE.jsonl")
    fixes.set_defaults(run=_humanevalfix)
    failures = kinds.add_parser(
        "failures", help="of HumanEval's problems that a model got wrong in its first reply"
    )
    failures.add_argument("evaluation", type=Path, metavar="RUN", help="folder of an `eval humaneval` run")
    failures.add_argument("--data", type=Path, required=True, metavar="FILE", help="HumanEval's own rows")
    failures.set_defaults(run=_failures)
    history = kinds.add_parser("history", help="of commits that made failing tests pass")
    history.add_argument("repository", type=Path, metavar="FOLDER")
    _add_history_options(history)
    history.set_defaults(run=_history)
    for command in (fixes, failures, history):
        command.add_argument("--to", type=Path, required=True, metavar="FILE.jsonl")

    for command in (repair, mine):
        command.add_argument(
            "--output", type=Path, metavar="FOLDER", help="of the run; one that was stopped goes on in it"
        )
        command.add_argument(
            "--feedback-form",
            default="values",
            choices=["values", "official", "ipython"],
            help="how a failure is put to the model",
        )
        command.add_argument(
            "--hide-tests", action="store_true", help="the model is not shown the failing tests' source"
        )
        command.add_argument(
            "--reason", action="store_true", help="after a failure the model has to say first what is wrong"
        )
        command.add_argument(
            "--no-localisation",
            action="store_true",
            help="the model is not told which function has the bug, and writes the whole file",
        )
        command.add_argument(
            "--restart", action="store_true", help="after a failure that was there before, begin anew"
        )
        command.add_argument(
            "--seed", type=at_least(0), default=0, help="for other samples; first replies are greedy"
        )
        add_jobs_option(command)
    for command in (repair, mine, history):
        add_settings_options(command)
        command.set_defaults(time_limit=600.0)


def _add_history_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--last", type=at_least(1), default=10, metavar="K", help="so many bug fixes (10)")
    command.add_argument(
        "--look-at",
        type=at_least(1),
        default=200,
        metavar="N",
        help="candidates whose tests are run to find them (200)",
    )


def _repair(options: argparse.Namespace) -> int:
    from lsp_server.evaluation.run_folder import EvaluationError
    from lsp_server.evaluation.tasks import read_tasks

    tasks = [task for task in read_tasks(options.data) if options.only in task.id]
    if not tasks:
        raise EvaluationError(f"No task of {options.data} has '{options.only}' in its id.")
    repositories = {task.base.repository for task in tasks if task.base}
    if len(repositories) > 1 and not options.interpreter:
        raise EvaluationError(
            "The tasks are of several repositories: --interpreter PYTHON says what runs their tests."
        )
    options.interpreter = _interpreter(Path(next(iter(repositories), ".")), options.interpreter)
    return _run("repair", tasks, options, cancel_on_interrupt())


def _mine(options: argparse.Namespace) -> int:
    from lsp_server.evaluation.git import root_of

    cancel = cancel_on_interrupt()
    options.interpreter = _interpreter(root_of(options.repository), options.interpreter)
    tasks = list(_mined(options, cancel))
    if not tasks:
        print(NONE_FOUND)
        return 2
    return _run("mine", tasks, options, cancel)


def _humanevalfix(options: argparse.Namespace) -> int:
    from lsp_server.evaluation.humaneval import fixes
    from lsp_server.evaluation.tasks import write_tasks

    print(f"{write_tasks(options.to, fixes(options.data))} tasks: {options.to}")
    return 0


def _failures(options: argparse.Namespace) -> int:
    from lsp_server.evaluation.humaneval import failures
    from lsp_server.evaluation.run_folder import EvaluationError, RunFolder
    from lsp_server.evaluation.tasks import write_tasks

    folder = RunFolder.open(options.evaluation)
    if not folder.manifest.get("benchmark", "").startswith("humaneval"):
        raise EvaluationError(f"{folder.path} holds no run of `eval humaneval` or `eval humaneval+`.")
    tasks = failures(options.data, folder.outcomes())
    if not tasks:
        print("None: every first reply passed, or none was of these problems.")
        return 2
    print(f"{write_tasks(options.to, tasks)} tasks: {options.to}")
    return 0


def _history(options: argparse.Namespace) -> int:
    from lsp_server.evaluation.git import root_of
    from lsp_server.evaluation.tasks import write_tasks

    options.interpreter = _interpreter(root_of(options.repository), options.interpreter)
    count = write_tasks(options.to, _mined(options, cancel_on_interrupt()))
    print(f"{count} tasks: {options.to}" if count else NONE_FOUND)
    return 0 if count else 2


def _interpreter(folder: Path, named: str) -> str:
    """Return the user's choice, or the one of a folder of theirs: none is looked for where tasks are laid out."""
    from runner.interpreter import find_interpreter

    return str(find_interpreter(folder.absolute(), named))


def _mined(options: argparse.Namespace, cancel: threading.Event) -> Iterator[RepairTask]:
    """Look through a history, the latest commit first, for repairs that can be seen to be ones here."""
    from itertools import islice

    from rich.console import Console
    from rich.text import Text

    from lsp_server.evaluation.history import repairs, task_of
    from lsp_server.evaluation.repair import proven
    from lsp_server.evaluation.run_folder import EvaluationError
    from lsp_server.evaluation.tasks import NoTask

    console = Console(stderr=True)
    settings = settings_of(options)
    found = looked_at = 0
    with console.status("Looking through the history") as status:
        for commit in islice(repairs(options.repository), options.look_at):
            looked_at += 1
            status.update(Text(f"{found} of {options.last} found; trying {_named(commit)}"))
            try:
                task = proven(task_of(options.repository, commit), settings, cancel)
            except (NoTask, EvaluationError) as error:
                console.print(Text(f"  not used: {_named(commit)}: {error}"))
                continue
            found += 1
            yield task
            if found == options.last:
                break
    console.print(f"{found} bug fixes, of {looked_at} commits that change one source file and tests.")


def _named(commit: Commit) -> str:
    from lsp_server.evaluation.summary import visible

    return visible(f"{commit.id[:12]} {commit.subject[:60]}")


def _run(kind: str, tasks: Sequence[RepairTask], options: argparse.Namespace, cancel: threading.Event) -> int:
    """Work on tasks with a line for each, and print what came of all; 1 if a claimed repair fails outside."""
    from rich.console import Console

    from lsp_server.evaluation.repair import run_tasks
    from lsp_server.evaluation.summary import visible
    from lsp_server.features.work import choose_engine
    from lsp_server.refine.loop import Cancelled
    from lsp_server.terminal import task_progress

    settings = settings_of(options)
    folder = _folder(kind, tasks, settings, options)
    console = Console()
    with task_progress(console) as progress:
        tried = folder.tried()
        bar = progress.add_task(kind, total=len(tasks), completed=sum(task.id in tried for task in tasks))

        def show(outcome: TaskOutcome) -> None:
            console.print(visible(_line(outcome)), highlight=False, markup=False, soft_wrap=True)
            progress.advance(bar)

        try:
            run_tasks(
                tasks,
                settings,
                lambda: choose_engine(settings, lambda text: console.print(text, markup=False)),
                folder,
                cancel,
                show,
                jobs=options.jobs,
                seed=options.seed,
                strategy=_strategy(options),
            )
        except Cancelled:
            print(f"Stopped; the same command with --output {folder.path} goes on.", file=sys.stderr)
            raise KeyboardInterrupt from None
    outcomes = folder.outcomes()
    return _summary(console, [outcomes[task.id] for task in tasks], settings, folder)


def _folder(
    kind: str, tasks: Sequence[RepairTask], settings: Settings, options: argparse.Namespace
) -> RunFolder:
    """Take the folder of this run: one that is named after what is run, if none is given."""
    import dataclasses

    from lsp_server.evaluation.run_folder import RunFolder
    from lsp_server.evaluation.subject import described
    from lsp_server.features.work import model_name
    from lsp_server.models import store
    from runner.interpreter import describe

    loop = {"rounds": settings.rounds, "candidates": settings.candidates, "seed": options.seed}
    limits = {name: getattr(settings, name) for name in ("timeLimit", "testTimeout", "runTimeout")}
    manifest = {
        "kind": kind,
        "data": {"sha256": _digest(map(repr, tasks)), "tasks": len(tasks)},
        "loop": loop,
        "strategy": dataclasses.asdict(_strategy(options)),
        "limits": limits,
        "sandbox": dataclasses.asdict(settings.sandbox),
        "python": ".".join(map(str, describe(Path(settings.interpreter)).version)),
        **described(model_name(settings), settings.endpoint),
    }
    name = f"{kind}-{_digest([repr(manifest)])[:12]}"
    return RunFolder.begin(options.output or store.home() / "evaluations" / name, manifest)


def _strategy(options: argparse.Namespace) -> Strategy:
    from lsp_server.refine.feedback import Wording
    from lsp_server.refine.loop import Strategy

    wording = Wording(options.feedback_form, not options.hide_tests, options.reason)
    return Strategy(wording, not options.no_localisation, options.restart)


def _digest(texts: Iterable[str]) -> str:
    import hashlib

    return hashlib.sha256("\n".join(texts).encode("utf-8")).hexdigest()


def _line(outcome: TaskOutcome) -> str:
    wrote = f"{outcome.seconds:6.1f} s {outcome.tokens:6} tokens"
    if outcome.error:
        return f"{outcome.id:40.40} not tried {wrote}  {outcome.error}"
    if not outcome.passed:
        return (
            f"{outcome.id:40.40} -         {wrote}  {outcome.detail['verdict']}: {outcome.detail['reason']}"
        )
    wrong = "" if outcome.outside else "  BUT ITS TESTS FAIL OUTSIDE"
    return f"{outcome.id:40.40} verified  {wrote}  in round {outcome.round}{wrong}"


def _summary(console: Console, outcomes: Sequence[TaskOutcome], settings: Settings, folder: RunFolder) -> int:
    from lsp_server.evaluation.summary import summarise

    whole = summarise(outcomes)
    passed, interval = whole.passed, whole.passed.interval
    rounds = ", ".join(f"{rate.passed} by round {n}" for n, rate in enumerate(whole.by_round, 1))
    found = sum(outcome.detail.get("found", False) for outcome in outcomes)
    lines = [
        f"verified           {passed.passed} of {passed.of} ({passed.share:.0%}; 95 % interval {interval.low:.0%} to "
        f"{interval.high:.0%}): {rounds}",
        f"wrong but claimed  {len(whole.wrong_claims)}",
        f"right file found   {found} of {passed.of}",
        f"tokens written     {whole.all_tokens}",
    ]
    if whole.seconds is not None:
        lines.append(
            f"seconds a task     {whole.seconds.median:.1f} (median), {whole.all_seconds:.0f} for all"
        )
    console.print("\n" + "\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    kept = f"Kept in {folder.path}: run.json, outcomes.jsonl, conversations.jsonl"
    console.print(kept, highlight=False, markup=False, soft_wrap=True)
    return 1 if whole.wrong_claims else 0
