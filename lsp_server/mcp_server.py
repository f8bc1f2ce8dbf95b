"""The tools for other assistants, over the Model Context Protocol: repair, generation and test runs in one workspace."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field

from lsp_server import __version__, disk
from lsp_server.features import work
from lsp_server.features.narrator import Narrator
from lsp_server.refine.events import TestDone
from lsp_server.refine.proposal import Proposal
from lsp_server.refine.record import ProposalRecord, ReportRecord, proposal_record, report_record
from lsp_server.refine.task import Request, TaskError
from lsp_server.settings import Settings
from runner.index import holds_tests, source_files
from runner.report import Report, Stop
from runner.run import run_tests

INSTRUCTIONS = """\
A small local model that repairs and writes Python functions. Each reply of it is run against the project's tests in a
sandbox; `verified` means that the failing tests pass now, none is broken, and a second run agreed. Nothing is written
unless `apply` is true and the proposal is verified: else take its `diff`."""
MOST_NAMED = 20
"""Failing tests that the text of a result names; its structured content has all of them."""

T = TypeVar("T")
Apply = Annotated[
    bool, Field(description="Write the file if the proposal is verified; false: write nothing.")
]
Instruction = Annotated[str, Field(description="What is wanted, in words; may be empty.")]
Rounds = Annotated[
    int | None, Field(ge=1, le=10, description="Replies of the model tried after each other, at most.")
]


class AppliedProposal(ProposalRecord):
    """A proposal, and whether it was written."""

    applied: bool
    refusal: str
    """Why it was not written although that was asked for."""


def create_server(workspace: Path, settings: Settings) -> MCPServer[None]:
    """Return the server with its tools.

    Args:
        workspace: absolute path of the folder that its tools work in, and never outside of it.
        settings: the user's; a tool's caller can neither open the sandbox nor choose interpreter or model.
    """
    server: MCPServer[None] = MCPServer(
        "oci-companion",
        title="OCI Companion",
        instructions=INSTRUCTIONS,
        version=__version__,
        log_level="WARNING",
    )
    tools = _Tools(workspace, settings)
    edits = ToolAnnotations(destructive_hint=True, idempotent_hint=False, open_world_hint=False)
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    server.add_tool(tools.fix_failing_test, annotations=edits)
    server.add_tool(tools.generate_and_verify, annotations=edits)
    server.add_tool(tools.run_tests, annotations=reads)
    return server


class _Tools:
    """The tools of one workspace."""

    def __init__(self, workspace: Path, settings: Settings) -> None:
        self._workspace = workspace
        self._settings = settings

    async def fix_failing_test(
        self,
        context: Context,
        test: Annotated[
            str,
            Field(
                description="What fails: PATH::TEST for one test, a test file, or a source file whose tests are found. "
                "Paths are absolute or relative to the workspace."
            ),
        ],
        line: Annotated[
            int | None, Field(ge=1, description="For a source file: a line of the function to change.")
        ] = None,
        instruction: Instruction = "",
        rounds: Rounds = None,
        apply: Apply = False,
    ) -> Annotated[CallToolResult, AppliedProposal]:
        """Repair the function that makes a test fail; finds it, changes it, and proves the change by the tests."""
        request = partial(
            disk.fix_request, test, self._workspace, self._workspace, line=line, instruction=instruction
        )
        return await self._propose(context, request, rounds, apply)

    async def generate_and_verify(
        self,
        context: Context,
        path: Annotated[str, Field(description="A Python file, absolute or relative to the workspace.")],
        line: Annotated[
            int, Field(ge=1, description="Line of a stub, a docstring or a comment that says what to write.")
        ],
        end_line: Annotated[
            int | None, Field(ge=1, description="Last line, to rewrite the lines from `line` on.")
        ] = None,
        instruction: Instruction = "",
        rounds: Rounds = None,
        apply: Apply = False,
    ) -> Annotated[CallToolResult, AppliedProposal]:
        """Write the code at a line, and prove it by the file's tests; without tests it is never verified."""
        request = partial(
            disk.generate_request,
            path,
            line,
            self._workspace,
            self._workspace,
            end_line=end_line,
            instruction=instruction,
        )
        return await self._propose(context, request, rounds, apply)

    async def run_tests(
        self,
        context: Context,
        tests: Annotated[
            list[str] | None,
            Field(description="Test files, or tests as PATH::TEST; empty: every test file of the workspace."),
        ] = None,
    ) -> Annotated[CallToolResult, ReportRecord]:
        """Run tests in the sandbox, on the files as they are; nothing is changed."""

        def run(cancel: threading.Event, narrator: Narrator) -> Report:
            named = self._tests(tests or [])
            request = replace(work.test_request(self._workspace, self._settings), tests=named)
            narrator.notice("running the tests")
            return run_tests(request, cancel, lambda result: narrator(TestDone(result)))

        report = await _worked(context, run)
        return CallToolResult(
            content=[TextContent(text=_summary(report))],
            structured_content=dict(report_record(report)),
        )

    async def _propose(
        self, context: Context, request: Callable[[], Request], rounds: int | None, apply: bool
    ) -> CallToolResult:
        settings = self._settings if rounds is None else replace(self._settings, rounds=rounds)

        def propose(cancel: threading.Event, narrator: Narrator) -> tuple[Proposal, str]:
            proposal = work.propose(request(), settings, cancel, narrator, narrator.notice)
            return proposal, disk.write(proposal) if apply and not cancel.is_set() else ""

        proposal, refusal = await _worked(context, propose)
        applied = apply and not refusal
        record = AppliedProposal(**proposal_record(proposal), applied=applied, refusal=refusal)
        said = [*proposal.receipt.lines(), *([f"not written: {refusal}"] if refusal else []), proposal.diff()]
        return CallToolResult(
            content=[TextContent(text="\n".join(said))],
            structured_content=dict(record),
        )

    def _tests(self, named: list[str]) -> tuple[str, ...]:
        """Return tests as pytest arguments relative to the workspace."""
        found = []
        for test in named:
            file, separator, rest = test.partition("::")
            _, path = disk.located(file, self._workspace, self._workspace)
            found.append(f"{path}{separator}{rest}")
        found = found or [str(path) for path in source_files(self._workspace) if holds_tests(path)]
        if not found:
            raise TaskError(f"No test file was found in {self._workspace}: none is named test_*.py.")
        return tuple(found)


async def _worked(context: Context, function: Callable[[threading.Event, Narrator], T]) -> T:
    """Return what a blocking function returns, which is told to stop, and waited for, if the call is cancelled.

    Raises:
        ToolError: with what the user has to know.
    """
    cancel = threading.Event()
    steps = _Steps(context)
    narrator = Narrator(steps, asyncio.get_running_loop())
    telling = asyncio.ensure_future(steps.tell())
    running = asyncio.ensure_future(asyncio.to_thread(function, cancel, narrator))
    try:
        done = await asyncio.shield(running)
        steps.end("")
        await telling
        return done
    except asyncio.CancelledError:
        cancel.set()
        with anyio.CancelScope(shield=True), suppress(Exception):
            await running
        raise
    except Exception as error:
        if work.is_told(error):
            raise ToolError(str(error)) from error
        raise
    finally:
        telling.cancel()


class _Steps:
    """Progress notifications of one call, in the order of its steps.

    Args:
        context: of the call.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._steps: asyncio.Queue[tuple[str, float] | None] = asyncio.Queue()
        self._last = 0.0

    def report(self, message: str, percentage: int) -> None:
        """Tell how far the work is."""
        self._last = max(percentage, self._last + 0.01)  # the protocol wants it to grow each time
        self._steps.put_nowait((message, self._last))

    def end(self, message: str) -> None:
        """Let `tell` come to its end."""
        self._steps.put_nowait(None)

    async def tell(self) -> None:
        """Send the steps as they come, until the end."""
        while (step := await self._steps.get()) is not None:
            message, done = step
            await self._context.report_progress(done, 100, message)


def _summary(report: Report) -> str:
    """Return a run in a few lines: the counts, then what fails."""
    lines = [f"{len(report.passed)} of {len(report.results)} tests pass (isolation: {report.isolation})"]
    if report.stop is not Stop.FINISHED:
        lines.append(f"stopped: {report.stop.value}. {report.stop_detail}")
    lines += [
        f"{error.path} was not collected: {error.failure.message}" for error in report.collection_errors
    ]
    failing = [result for result in report.results.values() if result.outcome.fails]
    for result in failing[:MOST_NAMED]:
        why = f": {result.failure.message}" if result.failure else ""
        lines.append(f"{result.id} {result.outcome.value}{why}")
    if len(failing) > MOST_NAMED:
        lines.append(f"and {len(failing) - MOST_NAMED} more")
    return "\n".join(lines)
