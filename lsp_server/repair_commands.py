"""`oci-companion eval repair | mine | tasks`."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsp_server.interrupt import cancel_on_interrupt
from lsp_server.settings_options import add_settings_options, settings_of

if TYPE_CHECKING:
    from rich.console import Console

    from lsp_server.evaluation.history import Commit
    from lsp_server.evaluation.outcome import TaskOutcome
    from lsp_server.evaluation.run_folder import RunFolder
    from lsp_server.evaluation.tasks import RepairTask
    from lsp_server.refine.feedback import Wording
    from lsp_server.settings import Settings


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
    history = kinds.add_parser("history", help="of commits that made failing tests pass")
    history.add_argument("repository", type=Path, metavar="FOLDER")
    _add_history_options(history)
    history.set_defaults(run=_history)
    for command in (fixes, history):
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
        command.add_argument("--seed", type=int, default=0, help="for other samples than another run's")
        command.add_argument(
            "--jobs", type=int, default=1, metavar="N", help="tasks at once, where the endpoint gains by it"
        )
    for command in (repair, mine, history):
        add_settings_options(command)
        command.set_defaults(time_limit=600.0)


def _add_history_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--last", type=int, default=10, metavar="K", help="so many bug fixes (10)")
    command.add_argument(
        "--look-at",
        type=int,
        default=200,
        metavar="N",
        help="candidates whose tests are run to find them (200)",
    )


def _repair(options: argparse.Namespace) -> int:
    from lsp_server.evaluation.tasks import read_tasks

    tasks = [task for task in read_tasks(options.data) if options.only in task.id]
    return _run("repair", tasks, options, cancel_on_interrupt())


def _mine(options: argparse.Namespace) -> int:
    cancel = cancel_on_interrupt()
    options.interpreter = options.interpreter or _interpreter(options.repository)
    tasks = _mined(options, cancel)
    if not tasks:
        print(
            "No bug fix was found: no commit that changes one source file, and with it tests that failed before and "
            "pass after it, in this environment."
        )
        return 2
    return _run("mine", tasks, options, cancel)


def _humanevalfix(options: argparse.Namespace) -> int:
    from lsp_server.evaluation.humanevalfix import convert
    from lsp_server.evaluation.tasks import write_tasks

    print(f"{write_tasks(options.to, convert(options.data))} tasks: {options.to}")
    return 0


def _history(options: argparse.Namespace) -> int:
    from lsp_server.evaluation.tasks import write_tasks

    options.interpreter = options.interpreter or _interpreter(options.repository)
    print(f"{write_tasks(options.to, _mined(options, cancel_on_interrupt()))} tasks: {options.to}")
    return 0


def _interpreter(repository: Path) -> str:
    """The repository's own: the folders that tasks are laid out in have none."""
    from lsp_server.evaluation.history import root_of
    from runner.interpreter import find_interpreter

    return str(find_interpreter(root_of(repository)))


def _mined(options: argparse.Namespace, cancel: threading.Event) -> list[RepairTask]:
    """Look through a history, the latest commit first, for repairs that can be seen to be ones here."""
    from itertools import islice

    from rich.console import Console

    from lsp_server.evaluation.history import repairs, task_of
    from lsp_server.evaluation.repair import proven
    from lsp_server.evaluation.run_folder import EvaluationError
    from lsp_server.evaluation.tasks import NoTask

    console = Console(stderr=True)
    settings = settings_of(options)
    found: list[RepairTask] = []
    looked_at = 0
    with console.status("Looking through the history") as status:
        for commit in islice(repairs(options.repository), options.look_at):
            looked_at += 1
            status.update(f"{len(found)} of {options.last} found; trying {_named(commit)}")
            try:
                found.append(proven(task_of(options.repository, commit), settings, cancel))
            except (NoTask, EvaluationError) as error:
                console.print(f"  not used: {_named(commit)}: {error}", highlight=False, markup=False)
            if len(found) == options.last:
                break
    console.print(f"{len(found)} bug fixes, of {looked_at} commits that change one source file and tests.")
    return found


def _named(commit: Commit) -> str:
    return f"{commit.id[:12]} {commit.subject[:60]}"


def _run(kind: str, tasks: Sequence[RepairTask], options: argparse.Namespace, cancel: threading.Event) -> int:
    """Work on tasks with a line for each, and print what came of all; 1 if a claimed repair fails outside."""
    from rich.console import Console

    from lsp_server.evaluation.repair import run_tasks
    from lsp_server.features.work import choose_engine
    from lsp_server.refine.loop import Cancelled
    from lsp_server.terminal import task_progress

    settings = settings_of(options)
    folder = _folder(kind, tasks, settings, options)
    console = Console()
    with task_progress(console) as progress:
        done = folder.outcomes()
        bar = progress.add_task(kind, total=len(tasks), completed=sum(task.id in done for task in tasks))

        def show(outcome: TaskOutcome) -> None:
            console.print(_line(outcome), highlight=False, markup=False, soft_wrap=True)
            progress.advance(bar)

        try:
            run_tasks(
                tasks,
                settings,
                lambda: choose_engine(settings, lambda text: console.print(text)),
                folder,
                cancel,
                show,
                jobs=options.jobs,
                seed=options.seed,
                wording=_wording(options),
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

    loop = {"rounds": settings.rounds, "candidates": settings.candidates, "seed": options.seed}
    wording = dataclasses.asdict(_wording(options))
    limits = {name: getattr(settings, name) for name in ("timeLimit", "testTimeout", "runTimeout")}
    manifest = {
        "kind": kind,
        "data": {"sha256": _digest(map(repr, tasks)), "tasks": len(tasks)},
        "loop": loop,
        "wording": wording,
        "limits": limits,
        "sandbox": dataclasses.asdict(settings.sandbox),
        **described(model_name(settings), settings.endpoint),
    }
    name = f"{kind}-{_digest([repr(manifest)])[:12]}"
    return RunFolder.begin(options.output or store.home() / "evaluations" / name, manifest)


def _wording(options: argparse.Namespace) -> Wording:
    from lsp_server.refine.feedback import Wording

    return Wording(options.feedback_form, not options.hide_tests)


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
    console.print("\n" + "\n".join(lines), highlight=False, markup=False)
    console.print(f"Kept in {folder.path}: run.json, outcomes.jsonl, conversations.jsonl", highlight=False)
    return 1 if whole.wrong_claims else 0
