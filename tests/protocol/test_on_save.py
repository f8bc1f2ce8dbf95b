"""Save, diagnostic, fix, save, no diagnostic: with a real server process and real test runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psutil
import pytest
from lsprotocol import types

from tests.protocol.conftest import CALC, TEST_CALC
from tests.protocol.editor import WAIT_SECONDS, Editor, plain
from tests.protocol.endpoint import Endpoint

FIXED = CALC.replace("a - b", "a + b")


def shown(editor: Editor, uri: str) -> list[types.Diagnostic]:
    return list(editor.diagnostics.get(uri, []))


async def test_a_failure_is_shown_at_both_places_and_goes_when_it_is_mended(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings)
    calc, test = editor.open(project / "calc.py"), editor.open(project / "test_calc.py")
    editor.save(calc)
    await editor.until("both", lambda: shown(editor, calc) and shown(editor, test))
    (seen,), (suspected,) = shown(editor, test), shown(editor, calc)
    assert seen.message == "TestCalc::test_add fails: AssertionError: assert -1 == 5\nwhere -1 = add(2, 3)"
    assert (seen.severity, seen.source) == (types.DiagnosticSeverity.Error, "oci")
    assert seen.range == types.Range(types.Position(5, 8), types.Position(5, 29))
    assert suspected.severity == types.DiagnosticSeverity.Warning
    assert suspected.message == "`add` may be why TestCalc::test_add fails"
    assert suspected.range == types.Range(types.Position(0, 0), types.Position(0, 14))
    assert suspected.related_information is not None
    assert [(i.location.uri, i.location.range.start.line) for i in suspected.related_information] == [
        (test, 5)
    ]
    await editor.until("the link back", lambda: shown(editor, test)[0].related_information)

    actions = await editor.actions(calc, 0, diagnostics=[suspected])
    assert [a["title"] for a in actions] == ["Fix failing test with OCI"]
    await editor.command(actions[0]["command"]["command"], **actions[0]["command"]["arguments"][0])
    await editor.until("the edit", lambda: editor.text(calc) == FIXED)
    editor.save(calc)
    await editor.until("nothing to show", lambda: not shown(editor, calc) and not shown(editor, test))


async def test_diagnostics_follow_their_lines_and_go_with_them(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings)
    test = editor.open(project / "test_calc.py")
    editor.save(test)
    await editor.until("it", lambda: shown(editor, test))
    text = editor.text(test)
    editor.type(test, "# one\n# two\n" + text)
    await editor.until("it to follow", lambda: [d.range.start.line for d in shown(editor, test)] == [7])
    assert editor.diagnostic_versions[test] == 2
    editor.type(test, "# one\n# two\n" + text.replace("== 5", "== 6"))
    await editor.until("it to go", lambda: not shown(editor, test))
    editor.type(test, text)
    await editor.until(
        "it to be there again", lambda: [d.range.start.line for d in shown(editor, test)] == [5]
    )


async def test_positions_are_counted_as_the_client_counts(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    (project / "test_calc.py").write_text(TEST_CALC.replace("add(2, 3) == 5", "'😀' and add(2, 3) == 5"))
    await editor.start(project, settings=settings)
    test = editor.open(project / "test_calc.py")
    editor.save(test)
    await editor.until("it", lambda: shown(editor, test))
    line = editor.text(test).splitlines()[5]
    assert shown(editor, test)[0].range.end.character == len(line.encode("utf-16-le")) // 2


async def test_syntax_errors_are_shown_where_they_are(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings)
    calc = editor.open(project / "calc.py", CALC + "\ndef broken(:\n    pass\n")
    editor.save(calc)
    await editor.until("it", lambda: shown(editor, calc))
    (error,) = shown(editor, calc)
    assert error.range.start.line == 7
    assert error.code == "collection"
    assert "SyntaxError" in error.message
    editor.type(calc, FIXED)
    editor.save(calc)
    await editor.until("it to go", lambda: not shown(editor, calc))


async def test_a_later_save_takes_the_place_of_a_run(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    slow = TEST_CALC + "\n\ndef test_slow():\n    import time\n    time.sleep(60)\n"
    (project / "test_calc.py").write_text(slow)
    await editor.start(project, settings={**settings, "testTimeout": 100, "runTimeout": 200})
    calc, test = editor.open(project / "calc.py"), editor.open(project / "test_calc.py")
    editor.save(calc)
    assert editor._server is not None
    server = psutil.Process(editor._server.pid)
    await editor.until("the tests' processes", lambda: server.children(recursive=True))
    editor.type(test, TEST_CALC)
    editor.save(test)
    await editor.until("it", lambda: shown(editor, test))
    assert len(shown(editor, test)) == 1


@pytest.mark.parametrize("way", ["setting", "trust"])
async def test_nothing_runs_where_the_user_does_not_want_it(
    editor: Editor, project: Path, settings: dict[str, Any], way: str
) -> None:
    off = {"onSave": "off"} if way == "setting" else {}
    await editor.start(project, settings={**settings, **off}, options={"trusted": way != "trust"})
    calc = editor.open(project / "calc.py")
    editor.save(calc)
    assert editor._server is not None
    server = psutil.Process(editor._server.pid)
    await asyncio.sleep(2)
    assert not server.children(recursive=True)
    assert not editor.diagnostics


async def test_why_tests_cannot_be_run_is_said_once(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings={**settings, "interpreter": "nowhere/python"})
    calc = editor.open(project / "calc.py")
    for _ in range(2):
        editor.save(calc)
        await editor.until("a message", lambda: editor.said("The tests were not run"))
        await asyncio.sleep(1)
    assert sum("were not run" in message.message for message in editor.messages) == 1


async def test_only_folders_that_were_opened_are_run(
    editor: Editor, project: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "test_loose.py").write_text("def test_loose():\n    assert 0\n")
    await editor.start(project, settings=settings)
    editor.save(editor.open(loose / "test_loose.py"))
    await asyncio.sleep(2)
    assert not editor.diagnostics


async def test_switching_it_off_takes_back_what_is_shown(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings)
    test = editor.open(project / "test_calc.py")
    editor.save(test)
    await editor.until("it", lambda: shown(editor, test))
    off = {"oci": {**settings, "onSave": "off"}}
    editor.workspace_did_change_configuration(types.DidChangeConfigurationParams(off))
    await editor.until("it to go", lambda: not shown(editor, test))


@pytest.mark.parametrize("farewell", ["shutdown", "gone"])
async def test_the_end_leaves_no_process(
    project: Path, settings: dict[str, Any], endpoint: Endpoint, farewell: str
) -> None:
    (project / "calc.py").write_text(CALC.replace("return a - b", "while True: pass"))
    editor = Editor()
    await editor.start(project, settings={**settings, "testTimeout": 100})
    calc = editor.open(project / "calc.py")
    editor.save(calc)
    assert editor._server is not None
    server = psutil.Process(editor._server.pid)
    await editor.until("the tests' processes", lambda: server.children(recursive=True))
    family = [server, *server.children(recursive=True)]
    if farewell == "shutdown":
        await editor.shutdown_session()
    else:
        assert editor._server.stdin is not None
        editor._server.stdin.close()
    await editor.until("no process", lambda: not any(_alive(process) for process in family))
    await editor.stop()


async def test_a_repair_made_ahead_is_there_at_once(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    await editor.start(project, settings={**settings, "onSave": "refine"})
    calc = editor.open(project / "calc.py")
    editor.save(calc)
    await editor.until("a repair", lambda: any("is ready" in m.message for m in editor.log_messages))
    assert not editor.edits
    assert not editor.messages
    assert not editor.progress_reports
    asked = len(endpoint.asked)
    await editor.command("oci.fix", uri=calc)
    await editor.until("the edit", lambda: editor.text(calc) == FIXED)
    assert len(endpoint.asked) == asked
    assert "OCI verified" in str(editor.edits)


@pytest.mark.parametrize("way", ["typed", "elsewhere", "instruction", "data"])
async def test_a_repair_made_ahead_is_not_used_for_another_text(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint, way: str
) -> None:
    await editor.start(project, settings={**settings, "onSave": "refine"})
    calc = editor.open(project / "calc.py")
    if way == "data":
        (project / "data").write_text("1")
        reading = TEST_CALC + "\n\ndef test_data():\n    assert open('data').read() == '1'\n"
        (project / "test_calc.py").write_text(reading)
    editor.save(calc)
    await editor.until("a repair", lambda: any("is ready" in m.message for m in editor.log_messages))
    asked = len(endpoint.asked)
    if way == "data":
        (project / "data").write_text("2")
    if way == "typed":
        editor.type(calc, "# new\n" + CALC)
    elif way == "elsewhere":
        (project / "more.py").write_text("")
    extra = {"instruction": "please"} if way == "instruction" else {}
    await editor.command("oci.fix", uri=calc, **extra)
    await editor.until("the model", lambda: len(endpoint.asked) > asked)


@pytest.mark.parametrize("way", ["edit", "request"])
async def test_work_ahead_ends_when_the_user_does_something(
    editor: Editor, project: Path, settings: dict[str, Any], endpoint: Endpoint, way: str
) -> None:
    endpoint.pause = 0.5
    endpoint.replies = [" ".join(["word"] * 200)]
    await editor.start(project, settings={**settings, "onSave": "refine"})
    calc = editor.open(project / "calc.py")
    editor.save(calc)
    await editor.until("the model", endpoint.streaming.is_set)
    if way == "edit":
        editor.type(calc, "# new\n" + CALC)
    else:
        await editor.command("oci.fix", uri=calc)
    await editor.until("it to be left alone", endpoint.broken_off.is_set)
    await editor.command("oci.cancel")


async def lenses(editor: Editor, uri: str) -> list[tuple[int, str, dict[str, Any]]]:
    params = types.CodeLensParams(types.TextDocumentIdentifier(uri))
    found = await editor.text_document_code_lens_async(params) or []
    return [
        (lens.range.start.line, lens.command.title, plain(lens.command.arguments)[0])
        for lens in found
        if lens.command
    ]


async def test_lenses_tell_what_is_known_and_run_and_repair(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    (project / "stub.py").write_text("def later():\n    ...\n")
    await editor.start(project, settings=settings)
    calc, test = editor.open(project / "calc.py"), editor.open(project / "test_calc.py")
    stub = editor.open(project / "stub.py")
    assert [(line, title) for line, title, _ in await lenses(editor, test)] == [
        (4, "Run test"),
        (8, "Run test"),
    ]
    assert [(line, title) for line, title, _ in await lenses(editor, stub)] == [(0, "Generate with OCI")]
    assert await lenses(editor, calc) == []

    run = (await lenses(editor, test))[0][2]
    await editor.command("oci.runTests", **run)
    await editor.until("it", lambda: shown(editor, test))
    found = await lenses(editor, test)
    assert [line for line, _, _ in found] == [4, 4, 8]
    assert found[0][1].startswith("Run test (failed, ")
    assert found[1][1] == "Fix failing test with OCI"
    assert found[2][1] == "Run test", "only the one was run"

    await editor.command("oci.runTests", uri=test)
    over_add: dict[str, dict[str, Any]] = {}
    async with asyncio.timeout(WAIT_SECONDS):
        while set(over_add) != {"1 test, 1 failing", "Fix with OCI"}:
            over_add = {title: argument for line, title, argument in await lenses(editor, calc) if line == 0}
            await asyncio.sleep(0.1)
    await editor.command("oci.fix", **over_add["Fix with OCI"])
    await editor.until("the edit", lambda: editor.text(calc) == FIXED)
    editor.save(calc)
    await editor.until("nothing to show", lambda: not shown(editor, test))
    assert (await lenses(editor, test))[0][1].startswith("Run test (passed, ")


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
