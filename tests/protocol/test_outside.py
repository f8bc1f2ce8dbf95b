"""Changes that the editor does not make: files written, branches switched, environments made, folders deleted."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from lsprotocol import types

from tests.protocol.conftest import CALC, TEST_CALC
from tests.protocol.editor import WAIT_SECONDS, Editor
from tests.protocol.test_on_save import shown

FIXED = CALC.replace("a - b", "a + b")
QUIET = 3.0
"""Seconds after which what was not noticed will not be."""


def logged(editor: Editor, part: str) -> int:
    return sum(part in message.message for message in editor.log_messages)


def runs(editor: Editor) -> int:
    return logged(editor, "Ran ")


async def watching(editor: Editor, project: Path, settings: dict[str, Any]) -> None:
    await editor.start(project, settings=settings)
    await editor.until("watches", lambda: logged(editor, "Watching "))


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


async def test_a_file_that_is_written_elsewhere_is_tested(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    (project / "calc.py").write_text(FIXED)
    await watching(editor, project, settings)
    test = (project / "test_calc.py").as_uri()
    (project / "calc.py").write_text(CALC)
    await editor.until("it", lambda: shown(editor, test))
    assert "assert -1 == 5" in shown(editor, test)[0].message
    (project / "new.py").write_text(FIXED)
    (project / "new.py").replace(project / "calc.py")  # as formatters do, and git
    await editor.until("it to go", lambda: not shown(editor, test))


async def test_a_deleted_test_takes_its_diagnostics_along(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await watching(editor, project, settings)
    test = (project / "test_calc.py").as_uri()
    (project / "test_calc.py").write_text(TEST_CALC + "\n")
    await editor.until("it", lambda: shown(editor, test))
    (project / "test_calc.py").unlink()
    await editor.until("it to go", lambda: not shown(editor, test))


async def test_data_that_a_test_has_read_counts(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    (project / "data").write_text("1")
    (project / "other").write_text("1")
    reading = TEST_CALC + "\n\ndef test_data():\n    assert open('data').read() == '1'\n"
    (project / "test_calc.py").write_text(reading)
    await watching(editor, project, settings)
    test = editor.open(project / "test_calc.py")
    editor.save(test)
    # What tests read is told by runs that look for a fault, and from Python 3.12 on by all.
    await editor.until("the suspect", lambda: shown(editor, (project / "calc.py").as_uri()))
    (project / "other").write_text("2")
    await asyncio.sleep(QUIET)
    assert not logged(editor, "Changed outside")
    (project / "data").write_text("2")
    await editor.until("it", lambda: any("test_data" in each.message for each in shown(editor, test)))


async def test_a_save_of_the_editor_is_run_once(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await watching(editor, project, settings)
    calc = editor.open(project / "calc.py")
    editor.save(calc)
    await editor.until("a run", lambda: shown(editor, calc))
    editor.type(calc, FIXED)
    editor.save(calc)
    await editor.until("another", lambda: not shown(editor, calc))
    await asyncio.sleep(QUIET)
    assert not logged(editor, "Changed outside")
    assert runs(editor) == 2


async def test_unsaved_text_is_the_editor_s_and_a_buffer_that_is_read_again_is_not(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await watching(editor, project, settings)
    calc, test = editor.open(project / "calc.py"), editor.open(project / "test_calc.py")
    editor.save(calc)
    await editor.until("it", lambda: shown(editor, test))
    editor.type(calc, "# being written\n" + CALC)
    (project / "calc.py").write_text(FIXED)
    await asyncio.sleep(QUIET)
    assert not logged(editor, "Changed outside")
    assert shown(editor, test)
    editor.type(calc, FIXED)  # the user takes the file as it is on disk
    await editor.until("it to go", lambda: not shown(editor, test))
    assert logged(editor, "Changed outside") == 1


async def test_a_branch_with_a_thousand_changed_files_is_one_run(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    for number in range(1000):
        (project / f"part{number // 100}").mkdir(exist_ok=True)
        (project / f"part{number // 100}" / f"module{number}.py").write_text(f"VALUE = {number}\n")
    git(project, "init")
    git(project, "add", ".")
    git(project, "commit", "-m", "broken")
    git(project, "checkout", "-b", "other")
    for path in project.glob("part*/module*.py"):
        path.write_text(path.read_text() + "# changed\n")
    (project / "calc.py").write_text(FIXED)
    git(project, "commit", "-am", "right")
    await watching(editor, project, settings)
    test = editor.open(project / "test_calc.py")
    editor.save(test)
    await editor.until("a run", lambda: runs(editor) == 1)
    assert not shown(editor, test)
    git(project, "checkout", "main")
    await editor.until("it", lambda: shown(editor, test))
    await asyncio.sleep(QUIET)
    assert logged(editor, "Changed outside") == 1
    assert runs(editor) == 2
    assert not editor.messages


async def test_git_is_waited_for(editor: Editor, project: Path, settings: dict[str, Any]) -> None:
    git(project, "init")
    await watching(editor, project, settings)
    lock = project / ".git" / "index.lock"
    lock.write_text("")
    (project / "calc.py").write_text("def add(:\n")
    await asyncio.sleep(QUIET)
    assert not logged(editor, "Changed outside")
    (project / "calc.py").write_text(CALC + "\n")
    lock.unlink()
    test = (project / "test_calc.py").as_uri()
    await editor.until("the file's own failure", lambda: shown(editor, test))
    assert [each.code for each in shown(editor, test)] == ["test"]
    assert logged(editor, "Changed outside") == 1


async def test_ignored_folders_have_no_watches_and_cause_no_run(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    (project / "calc.py").write_text(FIXED)
    (project / ".gitignore").write_text("generated/\n/only_here/\n!kept/\n")
    ignored = [
        "node_modules/a/b",
        "generated/a",
        "deep/generated",
        "only_here",
        "build/lib",
        ".hidden",
        "env3",
    ]
    for folder in [*ignored, "deep/only_here", "kept"]:
        (project / folder).mkdir(parents=True)
    (project / "env3" / "pyvenv.cfg").write_text("")
    await watching(editor, project, settings)
    # The project, `deep`, `deep/only_here` and `kept`.
    assert logged(editor, "Watching 4 folders")
    for folder in [*ignored, "late/node_modules"]:
        (project / folder).mkdir(parents=True, exist_ok=True)
        (project / folder / "test_more.py").write_text("def test():\n    assert False\n")
    await asyncio.sleep(QUIET)
    assert not runs(editor)
    assert not editor.diagnostics
    (project / "late" / "deeper").mkdir()
    late = project / "late" / "deeper" / "test_more.py"
    late.write_text("def test():\n    assert False\n")
    await editor.until("what is not ignored", lambda: shown(editor, late.as_uri()))


async def test_an_environment_that_appears_is_taken(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    (project / "calc.py").write_text(FIXED)
    where = "\n\ndef test_where():\n    import sys\n    assert '.venv' not in sys.prefix\n"
    (project / "test_calc.py").write_text(TEST_CALC + where)
    await watching(editor, project, {**settings, "interpreter": "", "testArgs": []})
    test = editor.open(project / "test_calc.py")
    editor.save(test)
    await editor.until("a run", lambda: runs(editor))
    assert not shown(editor, test)
    linked = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(project / ".venv")]
    subprocess.run(linked, check=True)
    (packages,) = (project / ".venv").glob("lib/python3*/site-packages")
    (packages / "pytest.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")))
    await editor.until("the environment's run", lambda: shown(editor, test))
    assert "test_where" in shown(editor, test)[0].message
    shutil.rmtree(project / ".venv")
    await editor.until("the other's", lambda: not shown(editor, test))


@pytest.mark.parametrize("how", ["deleted", "closed"])
async def test_a_folder_that_goes_takes_its_diagnostics_along(
    editor: Editor, project: Path, settings: dict[str, Any], how: str
) -> None:
    await watching(editor, project, settings)
    calc = (project / "calc.py").as_uri()
    (project / "calc.py").write_text(CALC + "\n")
    await editor.until("it", lambda: shown(editor, calc))
    if how == "deleted":
        shutil.rmtree(project)
    else:
        event = types.WorkspaceFoldersChangeEvent([], [types.WorkspaceFolder(project.as_uri(), project.name)])
        editor.workspace_did_change_workspace_folders(types.DidChangeWorkspaceFoldersParams(event))
    await editor.until("it to go", lambda: not any(editor.diagnostics.values()))
    if how == "closed":
        ran = runs(editor)
        (project / "calc.py").write_text(CALC + "\n\n")
        await asyncio.sleep(QUIET)
        assert runs(editor) == ran
    else:
        project.mkdir()
        (project / "calc.py").write_text(CALC)
        (project / "test_calc.py").write_text(TEST_CALC)
        editor.save(editor.open(project / "test_calc.py"))
        await editor.until("it again", lambda: shown(editor, calc))
        (project / "calc.py").write_text(FIXED)
        await editor.until("it to be mended", lambda: not shown(editor, calc))
    assert not editor.messages


@pytest.mark.parametrize("way", ["setting", "trust"])
async def test_nothing_is_watched_where_nothing_runs_unasked(
    editor: Editor, project: Path, settings: dict[str, Any], way: str
) -> None:
    off = {"onSave": "off"} if way == "setting" else {}
    await editor.start(project, settings={**settings, **off}, options={"trusted": way != "trust"})
    (project / "calc.py").write_text(CALC + "\n")
    await asyncio.sleep(QUIET)
    assert not logged(editor, "Watching ")
    assert not inotify_watches(editor)
    assert not editor.diagnostics


async def test_idle_watching_costs_no_processor_time_and_the_end_leaves_no_thread(
    editor: Editor, project: Path, settings: dict[str, Any]
) -> None:
    await watching(editor, project, settings)
    assert editor._server is not None
    server = psutil.Process(editor._server.pid)
    assert inotify_watches(editor) == 1
    spent = (1, 1.0)
    async with asyncio.timeout(WAIT_SECONDS):  # until what it did at its start is done
        while spent != (0, 0.0):
            before = server.num_ctx_switches().voluntary, sum(server.cpu_times()[:2])
            await asyncio.sleep(3)
            after = server.num_ctx_switches().voluntary, sum(server.cpu_times()[:2])
            spent = (after[0] - before[0], after[1] - before[1])
    off = {"oci": {**settings, "onSave": "off"}}
    before_it = {thread.id for thread in server.threads()}
    editor.workspace_did_change_configuration(types.DidChangeConfigurationParams(off))
    # Not how many there are: the change itself may have a worker started.
    await editor.until("its thread to end", lambda: before_it - {thread.id for thread in server.threads()})
    assert not inotify_watches(editor)


async def test_a_limit_of_the_kernel_s_is_told_once_with_the_remedy(
    editor: Editor, project: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        (project / f"folder{number}").mkdir()
    (project / "limit").write_text('echo 3 > /proc/sys/user/max_inotify_watches\nexec "$@"\n')
    limited = ["unshare", "-U", "-r", "sh", str(project / "limit"), sys.executable, "-m", "lsp_server.server"]
    monkeypatch.setattr("tests.protocol.editor.SERVER", limited)
    await editor.start(project, settings=settings)
    await editor.until("the message", lambda: editor.said("sudo sysctl fs.inotify.max_user_watches="))
    await asyncio.sleep(QUIET)
    assert len(editor.messages) == 1
    assert not inotify_watches(editor)


def inotify_watches(editor: Editor) -> int:
    """How many folders the server's process has watched by the kernel."""
    assert editor._server is not None
    return sum(
        line.startswith("inotify")
        for file in Path(f"/proc/{editor._server.pid}/fdinfo").iterdir()
        for line in file.read_text().splitlines()
    )
