"""Show a request's progress and its proposal in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.status import Status
from rich.syntax import Syntax
from rich.text import Text

from lsp_server.refine.events import (
    AskedAgain,
    BaselineDone,
    BaselineStarted,
    Event,
    ReplyJudged,
    ReplyText,
    RoundDone,
    RoundStarted,
    TargetFound,
    TestDone,
    TestsStarted,
)
from lsp_server.refine.feedback import cut
from lsp_server.refine.proposal import Proposal, Verdict, VerdictKind
from runner.report import Report

COLOURS = {
    VerdictKind.VERIFIED: "green",
    VerdictKind.UNSANDBOXED: "yellow",
    VerdictKind.UNTESTED: "yellow",
    VerdictKind.PARTIAL: "yellow",
    VerdictKind.REJECTED: "red",
}


class RefinementView:
    """Prints what the loop tells, as it happens.

    Args:
        console: where to; standard error when standard output carries data.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status = Status("", console=console)
        self.done = 0
        self.total = 0
        self.streaming = False

    def __enter__(self) -> RefinementView:
        """Begin to show."""
        return self

    def __exit__(self, *error: object) -> None:
        """End any line or spinner that is still open."""
        self._end_stream()
        self.status.stop()

    def say(self, text: str) -> None:
        """Show what is being waited for."""
        self.status.update(f"[dim]{text}")
        self.status.start()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case BaselineStarted(tests):
                self._tests(f"Running {', '.join(tests) or 'the checks'} on the file as it is")
            case BaselineDone(report):
                self._baseline(report)
            case TargetFound(task):
                name = f" [bold]{task.region.name}[/]" if task.region.name else ""
                lines = f"lines {task.region.start}–{max(task.region.start, task.region.end)}"
                self.console.print(f"Target:{name} in {task.document.path}, {lines}")
            case RoundStarted(number, of):
                self.console.rule(f"Round {number} of {of}", style="dim", align="left")
                self.say("Reading the prompt…")
            case ReplyText(text):
                if not self.streaming:
                    self.status.stop()
                    self.streaming = True
                self.console.print(Text(text, style="cyan"), end="", soft_wrap=True)
            case AskedAgain():
                self._end_stream()
                self.console.print("[dim]The same code as before: another reply is sampled.")
                self.say("Reading the prompt…")
            case ReplyJudged(verdict, number, of):
                self._end_stream()
                self._judged(verdict)
                if number:
                    self.console.print(f"[dim]Reply {number} of {of} is sampled.")
                    self.say("Reading the prompt…")
                else:
                    self.console.print(f"[dim]The best of {of} replies:")
            case TestsStarted(count):
                self._end_stream()
                self.total = count
                self._tests("Running the tests on the candidate")
            case TestDone():
                self.done += 1
                total = f" of {self.total}" if self.total else ""
                self.status.update(f"[dim]{self.done}{total} tests have run")
            case RoundDone(round):
                self._end_stream()
                self.status.stop()
                self._judged(round.verdict, f" ({round.seconds:.1f} s)")

    def _judged(self, verdict: Verdict, took: str = "") -> None:
        kind = (verdict.kind.value, f"bold {COLOURS[verdict.kind]}")
        self.console.print(Text.assemble(kind, f": {verdict.reason}", (took, "dim")), soft_wrap=True)

    def _tests(self, text: str) -> None:
        self.done = 0
        self.say(text + "…")

    def _end_stream(self) -> None:
        if self.streaming:
            self.console.print()
            self.streaming = False

    def _baseline(self, report: Report) -> None:
        self.status.stop()
        self.total = 0
        self.console.print(
            f"{len(report.passed)} of {len(report.results)} tests pass "
            f"[dim]({report.seconds:.1f} s, isolation: {report.isolation})"
        )
        for error in report.collection_errors:
            self._failure(str(error.path), error.failure.message, error.failure.detail)
        failing = [report.results[i] for i in report.results if i in report.failed]
        for result in failing[:1]:
            detail = result.failure.detail if result.failure else ""
            message = result.failure.message if result.failure else ""
            self._failure(f"{result.id} {result.outcome.value}", message, detail)
        for result in failing[1:]:
            self.console.print(Text(f"  {result.id} {result.outcome.value}", style="red"))

    def _failure(self, title: str, message: str, detail: str) -> None:
        self.console.print(Text(f"  {title}", style="bold red"))
        self.console.print(Padding(Text(cut(detail or message, 1500), style="red"), (0, 4)))


def show_proposal(console: Console, proposal: Proposal) -> None:
    """Print a proposal's coloured diff and its receipt."""
    diff = proposal.diff()
    if diff:
        console.print()
        if console.is_terminal:
            coloured = Syntax(diff, "diff", theme="ansi_dark", background_color="default").highlight(diff)
            console.print(coloured, soft_wrap=True)
        else:
            console.file.write(diff)  # a patch, byte for byte
    kind = proposal.receipt.verdict.kind
    title = "Receipt" if kind is VerdictKind.VERIFIED else "Receipt: not verified"
    console.print(
        Panel(_receipt(proposal.receipt.lines()), title=title, border_style=COLOURS[kind], expand=False)
    )


def _receipt(lines: Sequence[str]) -> Text:
    return Text("\n".join(lines))


def download_progress(console: Console) -> Progress:
    """Return a progress bar for bytes."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def task_progress(console: Console) -> Progress:
    """Return a progress bar for tasks of many seconds each, with an estimate of the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=3600,
    )
