"""The tools for other assistants, called by the official MCP client over standard input and output."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp_types import CallToolResult

from tests.protocol.conftest import CALC, RIGHT, WRONG
from tests.protocol.editor import WAIT_SECONDS
from tests.protocol.endpoint import Endpoint, fenced
from tests.protocol.model import local_model
from tests.protocol.test_on_save import _alive

FIXED = CALC.replace("a - b", "a + b")


@pytest.fixture(autouse=True)
def without_plugins(project: Path, settings: dict[str, Any]) -> None:
    """Tests that start fast."""
    (project / "pytest.ini").write_text(f"[pytest]\naddopts = {' '.join(settings['testArgs'])}\n")


@asynccontextmanager
async def client(folder: Path, *options: str) -> AsyncIterator[Client]:
    """A client of a server that was started in a folder."""
    arguments = [
        "-m",
        "lsp_server.cli",
        "mcp",
        "--candidates",
        "1",
        "--interpreter",
        sys.executable,
        *options,
    ]
    started = StdioServerParameters(
        command=sys.executable, args=arguments, env=dict(os.environ), cwd=str(folder)
    )
    async with Client(stdio_client(started)) as connected:
        yield connected


def said(result: CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if part.type == "text")


def structured(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, said(result)
    assert result.structured_content is not None
    return result.structured_content


def family() -> list[psutil.Process]:
    """Processes of the server and those that it has started."""
    return [
        child
        for server in psutil.Process().children()
        if "lsp_server.cli" in " ".join(server.cmdline())
        for child in (server, *server.children(recursive=True))
    ]


async def until(what: str, happened: Callable[[], Any]) -> None:
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not happened():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"did not come: {what}") from None


async def test_the_tools_say_what_they_take_and_give(project: Path) -> None:
    async with client(project) as assistant:
        tools = {tool.name: tool for tool in (await assistant.list_tools()).tools}
    assert set(tools) == {"fix_failing_test", "generate_and_verify", "run_tests"}
    fix = tools["fix_failing_test"]
    assert fix.input_schema["required"] == ["test"]
    assert fix.input_schema["properties"]["apply"]["default"] is False
    assert fix.output_schema is not None
    assert {"verified", "receipt", "diff", "rounds", "applied"} <= set(fix.output_schema["properties"])
    annotations = tools["run_tests"].annotations
    assert annotations is not None
    assert annotations.read_only_hint


async def test_a_test_is_repaired_in_rounds_and_nothing_is_written(project: Path, endpoint: Endpoint) -> None:
    endpoint.replies = [WRONG, RIGHT]
    steps: list[tuple[float, str]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, message or ""))

    async with client(project, "--endpoint", endpoint.url) as assistant:
        arguments = {"test": "test_calc.py::TestCalc::test_add"}
        result = await assistant.call_tool("fix_failing_test", arguments, progress_callback=note)
    proposal = structured(result)
    assert proposal["verified"]
    assert not proposal["applied"]
    assert (proposal["path"], proposal["target"]) == ("calc.py", "add")
    assert [each["verdict"]["kind"] for each in proposal["rounds"]] == ["rejected", "verified"]
    assert proposal["rounds"][1]["report"]["tests"]["test_calc.py::TestCalc::test_add"]["outcome"] == "passed"
    assert proposal["receipt"]["after"] == {"passed": 2, "total": 2}
    assert "-    return a - b\n+    return a + b\n" in proposal["diff"]
    assert said(result).startswith("verified: ")
    assert proposal["diff"] in said(result)
    assert (project / "calc.py").read_text() == CALC
    assert [n for n in (1, 2) if any(f"Round {n} of 3" in message for _, message in steps)] == [1, 2]
    assert all(before < after for (before, _), (after, _) in pairwise(steps))


async def test_apply_writes_what_is_verified_and_nothing_else(project: Path, endpoint: Endpoint) -> None:
    endpoint.replies = [WRONG, RIGHT]
    arguments = {"test": "calc.py", "apply": True, "rounds": 1}
    async with client(project, "--endpoint", endpoint.url) as assistant:
        refused = structured(await assistant.call_tool("fix_failing_test", arguments))
        assert not refused["verified"]
        assert not refused["applied"]
        assert "only what is verified" in refused["refusal"]
        assert (project / "calc.py").read_text() == CALC
        written = structured(await assistant.call_tool("fix_failing_test", arguments))
    assert written["applied"]
    assert (project / "calc.py").read_text() == FIXED
    assert sorted(path.name for path in project.iterdir()) == ["calc.py", "pytest.ini", "test_calc.py"]


async def test_a_stub_is_written(project: Path, endpoint: Endpoint) -> None:
    endpoint.replies = [fenced("def add(a, b):\n    return a + b")]
    (project / "calc.py").write_text(CALC.replace("return a - b", "..."))
    arguments = {"path": str(project / "calc.py"), "line": 2, "apply": True}
    async with client(project, "--endpoint", endpoint.url) as assistant:
        assert structured(await assistant.call_tool("generate_and_verify", arguments))["verified"]
    assert (project / "calc.py").read_text() == FIXED


async def test_tests_are_run_all_or_those_named(project: Path) -> None:
    async with client(project) as assistant:
        every = await assistant.call_tool("run_tests", {})
        one = await assistant.call_tool("run_tests", {"tests": ["test_calc.py::test_double"]})
    assert {test: result["outcome"] for test, result in structured(every)["tests"].items()} == {
        "test_calc.py::TestCalc::test_add": "failed",
        "test_calc.py::test_double": "passed",
    }
    assert structured(every)["isolation"] == "bubblewrap"
    assert "1 of 2 tests pass" in said(every)
    assert "assert -1 == 5" in said(every)
    assert list(structured(one)["tests"]) == ["test_calc.py::test_double"]


@pytest.mark.parametrize("way", ["above", "absolute", "link"])
async def test_nothing_outside_the_workspace_is_touched(project: Path, tmp_path: Path, way: str) -> None:
    outside = tmp_path / "test_outside.py"
    outside.write_text("def test():\n    assert False\n")
    (project / "test_link.py").symlink_to(outside)
    path = {"above": "../test_outside.py", "absolute": str(outside), "link": "test_link.py"}[way]
    async with client(project) as assistant:
        for tool, arguments in (
            ("fix_failing_test", {"test": path, "apply": True}),
            ("generate_and_verify", {"path": path, "line": 1}),
            ("run_tests", {"tests": [path]}),
        ):
            result = await assistant.call_tool(tool, arguments)
            assert result.is_error
            assert f"{path} is not in the workspace" in said(result)


async def test_why_nothing_could_be_done_is_told(project: Path, endpoint: Endpoint) -> None:
    async with client(project, "--endpoint", endpoint.url) as assistant:
        passing = await assistant.call_tool("fix_failing_test", {"test": "test_calc.py::test_double"})
        missing = await assistant.call_tool("fix_failing_test", {"test": "nowhere.py"})
        rounds = await assistant.call_tool("fix_failing_test", {"test": "calc.py", "rounds": 0})
    assert passing.is_error
    assert "none fails" in said(passing)
    assert "There is no file nowhere.py" in said(missing)
    assert rounds.is_error
    assert "rounds" in said(rounds)
    assert not endpoint.asked


async def test_a_cancelled_call_ends_the_model_s_reply(project: Path, endpoint: Endpoint) -> None:
    endpoint.pause = 0.5
    endpoint.replies = ["word " * 500]
    async with client(project, "--endpoint", endpoint.url) as assistant, anyio.create_task_group() as calls:
        calls.start_soon(assistant.call_tool, "fix_failing_test", {"test": "calc.py", "apply": True})
        await until("the model", endpoint.streaming.is_set)
        calls.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await until("it to be left alone", endpoint.broken_off.is_set)
    assert (project / "calc.py").read_text() == CALC


@pytest.mark.parametrize("way", ["cancelled", "client gone"])
async def test_no_test_process_is_left(project: Path, way: str) -> None:
    (project / "calc.py").write_text(CALC.replace("return a - b", "while True: pass"))
    running: list[psutil.Process] = []
    with anyio.CancelScope():
        options = ("--test-timeout", "100", "--run-timeout", "200")
        async with client(project, *options) as assistant, anyio.create_task_group() as calls:
            calls.start_soon(assistant.call_tool, "run_tests", {})
            await until("the tests' processes", lambda: len(family()) > 1)
            running = family()
            calls.cancel_scope.cancel()
            if way == "cancelled":
                with anyio.CancelScope(shield=True):
                    await until("their end", lambda: len(family()) == 1)
    await until("no process", lambda: not any(_alive(process) for process in running))


async def test_a_missing_extra_is_told_with_the_command_that_installs_it(project: Path) -> None:
    without = (
        "import sys; sys.modules['mcp'] = None; from lsp_server.cli import main; sys.exit(main(['mcp']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", without], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{sys.executable} -m pip install mcp" in done.stderr
    assert "Traceback" not in done.stderr


async def test_with_the_real_model(project: Path) -> None:
    options = ("--model", local_model(), "--time-limit", "600")
    async with client(project, *options) as assistant:
        arguments = {"test": "test_calc.py::TestCalc::test_add", "apply": True}
        proposal = structured(await assistant.call_tool("fix_failing_test", arguments))
    assert proposal["verified"]
    assert proposal["receipt"]["model"] == local_model()
    assert (project / "calc.py").read_text() == FIXED
