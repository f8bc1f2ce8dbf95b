"""From a command to an edit: progress, receipt, confirmation, and everything that may happen meanwhile."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from lsprotocol import types

from tests.protocol.conftest import CALC, RIGHT, WRONG
from tests.protocol.editor import Editor
from tests.protocol.endpoint import Endpoint, fenced

FIXED = CALC.replace("a - b", "a + b")
TEST = "TestCalc::test_add"


async def test_a_fix_is_told_step_by_step_and_applied_with_its_receipt(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.replies = [WRONG, RIGHT]
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py")
    test = editor.open(project / "test_calc.py")
    (action,) = await editor.actions(test, 5, only=["quickfix"])
    assert action["title"] == "Fix failing test with OCI"
    answer = await editor.command(action["command"]["command"], **action["command"]["arguments"][0])
    token = answer["token"]
    await editor.until("the edit", lambda: editor.edits)
    await editor.until("the end", lambda: editor.ended(token))

    steps = editor.steps(token)
    assert any(s.startswith("Round 1 of 3: rejected") for s in steps)
    assert "Round 2 of 3: 2 tests running" in steps
    begin = editor.progress_reports[token][0]
    assert isinstance(begin, types.WorkDoneProgressBegin)
    assert begin.cancellable
    percentages = [
        r.percentage for r in editor.progress_reports[token] if getattr(r, "percentage", None) is not None
    ]
    assert percentages == sorted(percentages)

    (edit,) = editor.edits
    (change,) = edit.document_changes or []
    assert isinstance(change, types.TextDocumentEdit)
    assert change.text_document.version == 1
    assert [(e.range.start.line, e.range.end.line, e.new_text) for e in change.edits] == [
        (1, 2, "    return a + b\n")
    ]
    (annotation,) = (edit.change_annotations or {}).values()
    assert annotation.needs_confirmation
    assert annotation.label == "OCI verified: 2 of 2 tests pass, 2 rounds"
    assert "tests      1 of 2 passed before → 2 of 2 pass now" in (annotation.description or "")
    assert editor.text(calc) == FIXED
    assert (project / "calc.py").read_text() == CALC, "the file is the editor's to save"


async def test_unsaved_text_is_what_is_tested(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py", FIXED)
    await editor.command("oci.fix", uri=calc)
    await editor.until("the message", lambda: editor.said("none fails"))
    assert not editor.edits


async def test_generate_writes_a_stub(editor: Editor, project: Path, settings: dict[str, Any]) -> None:
    stub = CALC.replace("return a - b", "...")
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py", stub)
    (action,) = [a for a in await editor.actions(calc, 0) if a["title"] == "Generate with OCI"]
    await editor.command("oci.generate", **action["command"]["arguments"][0])
    await editor.until("the edit", lambda: editor.edits)
    await editor.until("the text", lambda: editor.text(calc) == FIXED)


async def test_what_is_not_verified_says_so(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.replies = [WRONG]
    await editor.start(project, settings={**settings, "rounds": 1})
    calc = editor.open(project / "calc.py")
    token = (await editor.command("oci.fix", uri=calc, line=1))["token"]
    await editor.until("the end", lambda: editor.ended(token))
    await editor.until("an offer", lambda: editor.edits)
    (annotation,) = (editor.edits[0].change_annotations or {}).values()
    assert annotation.needs_confirmation
    assert "NOT VERIFIED" in annotation.label


@pytest.mark.parametrize("by", ["progress", "command"])
async def test_cancel_in_the_middle(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint, by: str
) -> None:
    endpoint.replies, endpoint.pause = ["word " * 2000], 0.02
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py")
    token = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.until("the reply", endpoint.streaming.is_set)
    if by == "progress":
        editor.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(token))
    else:
        assert await editor.command("oci.cancel", token=token) == {"cancelled": [token]}
    await editor.until("the end", lambda: editor.ended(token))
    assert editor.steps(token)[-1] == "Stopped"
    await editor.until("the model to be left alone", endpoint.broken_off.is_set)
    assert not editor.edits
    assert editor.text(calc) == CALC


async def test_cancel_while_tests_hang_leaves_no_run(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    """What stays is the process that is ready for the next run, with nothing below it."""
    endpoint.replies = [fenced("def add(a, b):\n    while True: pass")]
    await editor.start(project, settings={**settings, "testTimeout": 30})
    calc = editor.open(project / "calc.py")
    token = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.until("tests", lambda: any("running" in s for s in editor.steps(token)))
    assert editor._server is not None
    server = psutil.Process(editor._server.pid)
    await editor.until("the tests' processes", lambda: _busy(server))
    await editor.command("oci.cancel")
    await editor.until("the end", lambda: editor.ended(token))
    await editor.until("no run", lambda: not _busy(server))
    # Two of bubblewrap's, the process that forks, the child that waits for the next run, and what renews what they see.
    await editor.until("one idle process at most", lambda: len(server.children(recursive=True)) <= 5)


def _busy(server: psutil.Process) -> list[psutil.Process]:
    """The server's descendants that compute: the tests never end by themselves."""
    before = _seconds(server)
    time.sleep(0.5)
    return [process for process, used in _seconds(server).items() if used - before.get(process, 0) > 0.2]


def _seconds(server: psutil.Process) -> dict[psutil.Process, float]:
    """Processor time that each descendant has used."""
    found = {}
    for process in server.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found[process] = sum(process.cpu_times()[:2])
    return found


@pytest.mark.parametrize("farewell", ["shutdown", "gone"])
async def test_the_end_of_the_server_leaves_no_process(
    project: Path, settings: dict[str, Any], endpoint: Endpoint, farewell: str
) -> None:
    endpoint.replies = [fenced("def add(a, b):\n    while True: pass")]
    editor = Editor()
    await editor.start(project, settings={**settings, "testTimeout": 30})
    calc = editor.open(project / "calc.py")
    token = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.until("tests", lambda: any("running" in s for s in editor.steps(token)))
    assert editor._server is not None
    server = psutil.Process(editor._server.pid)
    await editor.until("the tests' processes", lambda: server.children(recursive=True))
    family = [server, *server.children(recursive=True)]
    if farewell == "shutdown":
        await editor.shutdown_session()
    else:
        assert editor._server.stdin is not None
        editor._server.stdin.close()
    await editor.until("no process", lambda: not any(_alive(p) for p in family))
    await editor.stop()


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_a_buffer_changed_in_the_same_place_gets_nothing(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.pause = 0.2
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py")
    token = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.until("the reply", endpoint.streaming.is_set)
    mine = CALC.replace("a - b", "a - b  # mine")
    editor.type(calc, mine)
    await editor.until("the message", lambda: editor.said("Nothing was applied"))
    assert not editor.edits
    assert editor.text(calc) == mine
    # It is kept: once the text is back, it fits again.
    editor.type(calc, CALC)
    assert await editor.command("oci.applyProposal") == {"token": token}
    await editor.until("the edit", lambda: editor.text(calc) == FIXED)


async def test_a_buffer_changed_elsewhere_is_rebased(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.pause = 0.2
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    await editor.until("the reply", endpoint.streaming.is_set)
    editor.type(calc, '"""Sums."""\n\n' + CALC)
    await editor.until("the edit", lambda: editor.edits)
    await editor.until("the text", lambda: editor.text(calc) == '"""Sums."""\n\n' + FIXED)
    (annotation,) = (editor.edits[0].change_annotations or {}).values()
    assert "changed elsewhere" in (annotation.description or "")


@pytest.mark.parametrize("how", ["closed", "deleted"])
async def test_a_file_that_is_gone_gets_nothing(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint, how: str
) -> None:
    endpoint.pause = 0.2
    await editor.start(project, settings=settings)
    calc, test = project / "calc.py", editor.open(project / "test_calc.py")
    if how == "closed":
        editor.open(calc)
    await editor.command("oci.fixTest", uri=test, test=TEST)
    await editor.until("the reply", endpoint.streaming.is_set)
    await asyncio.sleep(0.3)
    if how == "closed":
        editor.close_buffer(calc.as_uri())
    else:
        calc.unlink()
    await editor.until("the message", lambda: editor.messages)
    assert not editor.edits


async def test_the_server_answers_while_it_works(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.replies, endpoint.pause = ["word " * 2000], 0.005
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py")
    token = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.until("the reply", endpoint.streaming.is_set)
    taken = []
    for _ in range(50):
        started = time.perf_counter()
        assert await editor.actions(calc, 1)
        taken.append(time.perf_counter() - started)
    assert not editor.ended(token)
    print(
        f"codeAction while a reply streams: median {sorted(taken)[25] * 1000:.1f} ms, worst {max(taken) * 1000:.1f} ms"
    )
    await editor.command("oci.cancel")


async def test_a_second_request_for_a_file_is_refused(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.pause = 0.2
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    answer = await editor.command("oci.fix", uri=calc)
    assert answer["token"] is None
    assert editor.said("being worked on already")
    await editor.command("oci.cancel")


async def test_an_endpoint_that_is_down_is_one_clear_message(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.close()
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py")
    token = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.until("the end", lambda: editor.ended(token))
    (message,) = editor.messages
    assert "nothing answers" in message.message
    assert "oci.endpoint" in message.message
    assert message.type is types.MessageType.Error


async def test_positions_are_counted_as_the_client_counts(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    # The last line has no end, so its length is a column of the edit; emoji are two units of UTF-16.
    before = "def add(a, b):\n    '''🐍🐍'''; return a - b"
    await editor.start(project, settings=settings)
    (project / "test_calc.py").write_text(
        "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
    )
    calc = editor.open(project / "calc.py", before)
    await editor.command("oci.fix", uri=calc)
    await editor.until("the edit", lambda: editor.edits)
    (change,) = editor.edits[0].document_changes or []
    assert isinstance(change, types.TextDocumentEdit)
    assert change.edits[-1].range.end == types.Position(
        1, len("    '''🐍🐍'''; return a - b".encode("utf-16-le")) // 2
    )
    await editor.until("the text", lambda: editor.text(calc).rstrip() == "def add(a, b):\n    return a + b")


async def test_an_untrusted_workspace_runs_nothing(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    await editor.start(project, settings=settings, options={"trusted": False})
    calc = editor.open(project / "calc.py")
    assert (await editor.command("oci.fix", uri=calc))["token"] is None
    assert editor.said("not trusted")
    assert not endpoint.asked
