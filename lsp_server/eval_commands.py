"""`oci-companion eval humaneval | humaneval+ | mbpp | mbpp+`, and the group that all evaluations are in."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsp_server import comparison_commands, repair_commands
from lsp_server.interrupt import cancel_on_interrupt
from lsp_server.settings_options import add_jobs_option, add_model_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from lsp_server.engine.client import HttpEngine
    from lsp_server.engine.supervise import LocalEngine
    from lsp_server.evaluation.benchmark import Plan
    from lsp_server.evaluation.problems import Problem, Problems
    from lsp_server.evaluation.run_folder import RunFolder

BENCHMARKS = ("humaneval", "humaneval+", "mbpp", "mbpp+")


def add(actions: Any) -> None:
    """Add the commands to the parser's `eval` group."""
    for name in BENCHMARKS:
        what = "the base tests" if name[-1] != "+" else "all of EvalPlus' tests"
        command = actions.add_parser(name, help=f"greedy pass@1, scored by EvalPlus; feedback is on {what}")
        command.add_argument("--feedback", default="none", choices=["none", "execution", "human", "oracle"])
        command.add_argument(
            "--rounds", type=int, default=0, metavar="N", help="replies at most (2 with feedback, else 1)"
        )
        command.add_argument("--prompts", default="official", choices=["official", "companion"])
        command.add_argument(
            "--data", type=Path, metavar="FILE", help="EvalPlus' .jsonl or .jsonl.gz; downloaded if not given"
        )
        command.add_argument("--author-endpoint", default="", metavar="URL", help="who writes the feedback")
        command.add_argument("--author-model", default="", metavar="ID", help="its token: OCI_AUTHOR_TOKEN")
        command.add_argument("--sandbox", default="strict", choices=["strict", "off"])
        command.set_defaults(run=_benchmark, benchmark=name)
        add_run_options(command)
    repair_commands.add(actions)
    comparison_commands.add_compare(actions)
    comparison_commands.add_report(actions)


def add_run_options(command: argparse.ArgumentParser) -> None:
    """Add what every evaluation of a model takes."""
    add_model_options(command)
    command.add_argument("--only", default="", metavar="TEXT", help="tasks with this in their name")
    command.add_argument("--limit", type=int, default=0, metavar="N", help="so many tasks at most")
    command.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="a run that is there goes on; in the data folder if not given",
    )
    add_jobs_option(command)
    command.add_argument("--dry-run", action="store_true", help="say what would be run, and run nothing")


def _benchmark(options: argparse.Namespace) -> int:
    from rich.console import Console

    from lsp_server.evaluation import official
    from lsp_server.evaluation.benchmark import Plan
    from lsp_server.evaluation.run_folder import EvaluationError
    from lsp_server.models import store
    from lsp_server.models.catalog import DEFAULT

    if options.rounds < 0 or options.limit < 0:
        raise EvaluationError("--rounds and --limit take numbers above 0.")
    if options.feedback == "none" and options.rounds > 1:
        raise EvaluationError(
            "Further rounds need something to go by: --feedback execution, human or oracle."
        )
    if options.feedback in ("human", "oracle") and not (options.author_endpoint and options.author_model):
        raise EvaluationError(
            f"--feedback {options.feedback} needs its author: --author-endpoint URL and --author-model ID."
        )
    console = Console()
    plan = Plan(
        options.benchmark.rstrip("+"),
        "plus" if options.benchmark.endswith("+") else "base",
        options.feedback,
        options.rounds or (1 if options.feedback == "none" else official.ROUNDS),
        options.prompts,
    )
    options.model = options.model or ("" if options.endpoint else DEFAULT)
    problems = _problems(plan, options, console)
    if problems is None:
        return 0
    chosen = problems.chosen(options.only, options.limit)
    if options.dry_run:
        _show_plan(console, plan, chosen, options)
        return 0
    manifest = _manifest(plan, problems, options)
    name = f"{plan.benchmark}_{plan.feedback}_{plan.rounds}_{plan.prompts}_{options.model.replace('/', '_')}"
    folder = options.output or store.home() / "evaluations" / name
    return _run(console, plan, chosen, manifest, folder, options)


def _problems(plan: Plan, options: argparse.Namespace, console: Console) -> Problems | None:
    """Return what the run is of; None where a dry run would have to download it."""
    from lsp_server.evaluation import problems
    from lsp_server.models import store

    downloads = store.home() / "evaluations" / "data"
    file = problems.data_file(plan.dataset, options.data, downloads)
    if file is None and options.dry_run:
        console.print(
            f"Would download {problems.PUBLISHED[plan.dataset]}; name a file with --data to see what would be run.",
            highlight=False,
            soft_wrap=True,
        )
        return None
    if file is None:
        with console.status(f"Downloading {problems.PUBLISHED[plan.dataset]}…"):
            file = problems.download(plan.dataset, downloads)
    return problems.read(plan.dataset, file)


def _manifest(plan: Plan, problems: Problems, options: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict

    from lsp_server.evaluation import scoring, subject
    from lsp_server.evaluation.benchmark import SAMPLING

    measured = subject.described(options.model, options.endpoint)
    measured["versions"]["evalplus"] = scoring.VERSION
    author = {"endpoint": options.author_endpoint, "model": options.author_model}
    return {
        "kind": "benchmark",
        "benchmark": plan.benchmark,
        "data": {"dataset": plan.dataset, "sha256": problems.sha256, "problems": len(problems.all)},
        **measured,
        "prompts": plan.prompts,
        "feedback": plan.feedback,
        "author": author if plan.feedback in ("human", "oracle") else None,
        "rounds": plan.rounds,
        "limits": {"min_seconds": scoring.MIN_SECONDS, "factor": scoring.FACTOR},
        "sampling": asdict(SAMPLING),
        "sandbox": options.sandbox,
    }


def _run(
    console: Console,
    plan: Plan,
    chosen: Sequence[Problem],
    manifest: dict[str, Any],
    path: Path,
    options: argparse.Namespace,
) -> int:
    from rich.markup import escape

    from lsp_server.engine.client import HttpEngine
    from lsp_server.evaluation import benchmark
    from lsp_server.evaluation.run_folder import RunFolder
    from lsp_server.evaluation.scoring import Scorer
    from lsp_server.features.work import choose_engine
    from lsp_server.settings import Settings
    from lsp_server.terminal import task_progress

    cancel = cancel_on_interrupt()

    def say(text: str) -> None:
        console.print(f"  {text}", style="dim", highlight=False, markup=False)

    token = os.environ.get("OCI_ENDPOINT_TOKEN", "")
    settings = Settings(model=options.model, endpoint=options.endpoint, endpointToken=token)
    author_token = os.environ.get("OCI_AUTHOR_TOKEN", "")

    def engine() -> HttpEngine | LocalEngine:
        return choose_engine(settings, say)

    def author() -> HttpEngine:
        return HttpEngine(options.author_endpoint, author_token, options.author_model)

    has_author = plan.feedback in ("human", "oracle")
    engine()  # what cannot be an endpoint is refused before anything is made
    if has_author:
        author()
    folder = RunFolder.begin(path, manifest)
    with console.status("Preparing EvalPlus…") as status:
        scorer = Scorer.prepare(plan.dataset, say, cancel, options.sandbox)
        scorer.know(
            chosen,
            cancel,
            lambda left: status.update(f"EvalPlus computes the expected outputs of {left} problems…"),
        )
    done = folder.outcomes()
    with task_progress(console) as bar:
        task = bar.add_task(plan.benchmark, total=len(chosen))
        bar.advance(task, sum(each.id in done for each in chosen))
        for outcome in benchmark.run(
            plan, chosen, folder, engine, author if has_author else None, scorer, cancel, options.jobs
        ):
            rounds = "" if len(outcome.attempts) == 1 else f" in {len(outcome.attempts)} rounds"
            verdict = "[green]passed[/]" if outcome.passed_plus else "[red]failed[/]"
            if outcome.passed and not outcome.passed_plus:
                verdict = "[yellow]passed the base tests only[/]"
            if outcome.error:
                verdict = f"[red]{escape(outcome.error)}[/]"
            bar.console.print(
                f"{outcome.id}: {verdict}{rounds} [dim]({outcome.seconds:.0f} s)", highlight=False
            )
            bar.advance(task)
    _show(console, plan, folder, options.model)
    if cancel.is_set():
        console.print("Stopped: the same command goes on from here.")
        return 2
    return 0


def _show(console: Console, plan: Plan, folder: RunFolder, model: str) -> None:
    """Print the table of all that the folder holds, and write it there, with EvalPlus' samples."""
    from rich.table import Table

    from lsp_server.evaluation import benchmark, table

    outcomes = folder.outcomes()
    if not outcomes:
        return
    samples = "".join(json.dumps(each) + "\n" for each in benchmark.samples(outcomes.values()))
    (folder.path / "samples.jsonl").write_text(samples, encoding="utf-8")
    title = {"humaneval": "HumanEval", "mbpp": "MBPP"}[plan.dataset]
    found = table.rows(model, plan.feedback, outcomes.values())
    shown = Table(box=None, header_style="bold")
    for column in table.header(title):
        shown.add_column(column)
    for row in found:
        shown.add_row(*row.cells)
    console.print(shown)
    console.print(
        f"{len(outcomes)} problems, {plan.prompts} prompts: {folder.path}", highlight=False, soft_wrap=True
    )
    text = f"{table.markdown(title, found)}\n{len(outcomes)} problems; {plan.prompts} prompts.\n"
    (folder.path / "table.md").write_text(text, encoding="utf-8")


def _show_plan(console: Console, plan: Plan, chosen: Sequence[Problem], options: argparse.Namespace) -> None:
    from lsp_server.evaluation import subject
    from lsp_server.evaluation.benchmark import SAMPLING
    from lsp_server.evaluation.dialogue import begin

    lines = [
        f"{plan.benchmark}: {len(chosen)} problems, {plan.prompts} prompts, feedback: {plan.feedback}, "
        f"{plan.rounds} rounds at most",
        f"Replies: greedy, {SAMPLING.max_tokens} tokens at most",
    ]
    if options.endpoint:
        lines.append(f"Model: {options.model} at {options.endpoint}")
    else:
        lines += [f"Model: {options.model}", *subject.needs(options.model)]
        first = [begin(plan.prompts, plan.dataset, each).messages for each in chosen]
        if counts := sorted(subject.prompt_tokens(options.model, first)):
            middle = counts[len(counts) // 2]
            lines.append(
                f"First prompts: {sum(counts)} tokens, {counts[0]} to {counts[-1]} each, {middle} in the middle"
            )
    if plan.feedback in ("human", "oracle"):
        lines.append(f"Author of the feedback: {options.author_model} at {options.author_endpoint}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
