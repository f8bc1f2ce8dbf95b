"""All at once: a hundred saves, branches switched, the engine killed, the folder deleted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
from lsprotocol import types

from lsp_server.engine import supervise
from tests.protocol.conftest import CALC
from tests.protocol.editor import Editor
from tests.protocol.model import local_model
from tests.protocol.test_on_save import _alive, lenses, shown
from tests.protocol.test_outside import git, watching

FILES = 100


async def test_a_storm_leaves_nothing_behind(
    editor: Editor, project: Path, settings: dict[str, Any], own_home: Path
) -> None:
    for number in range(FILES):
        (project / f"part{number}.py").write_text(f"def value():\n    return {number}\n")
        (project / f"test_part{number}.py").write_text(
            f"from part{number} import value\n\n\ndef test():\n    assert value() == {number}\n"
        )
    git(project, "init")
    git(project, "add", ".")
    git(project, "commit", "-m", "broken")
    git(project, "checkout", "-b", "right")
    for path in project.glob("part*.py"):
        path.write_text(path.read_text().replace("return", "return 0 +"))
    (project / "calc.py").write_text(CALC.replace("a - b", "a + b"))
    git(project, "commit", "-am", "right")
    git(project, "checkout", "main")

    # With repairs made ahead, so that there is an engine to kill.
    model = {"endpoint": "", "model": local_model(), "onSave": "refine"}
    await watching(editor, project, {**settings, **model})
    assert editor._server is not None
    server = psutil.Process(editor._server.pid)
    calc, test = editor.open(project / "calc.py"), editor.open(project / "test_calc.py")
    for number in range(FILES):
        editor.save(editor.open(project / f"part{number}.py"))
        if number == FILES // 2:
            editor.save(test)
    await editor.until("it", lambda: shown(editor, test) and shown(editor, calc))
    await editor.until("the engine", lambda: supervise.status(local_model()).pid)
    engine = supervise.status(local_model()).pid
    assert engine is not None
    os.kill(engine, signal.SIGKILL)

    for uri in [*editor.buffers]:
        editor.close_buffer(uri)
    git(project, "checkout", "right")
    await editor.until("no diagnostics", lambda: not any(editor.diagnostics.values()))
    git(project, "checkout", "main")
    await editor.until("it again", lambda: shown(editor, test))
    status = ["git", "status", "--porcelain", "--ignored"]
    left = subprocess.run(status, cwd=project, check=True, capture_output=True, text=True)
    assert left.stdout == "", "something was written into the workspace"

    family = server.children(recursive=True)
    shutil.rmtree(project)
    await editor.until("no diagnostics", lambda: not any(editor.diagnostics.values()))
    assert await lenses(editor, test) == []
    assert editor._server.returncode is None
    assert not [m for m in editor.messages if m.type is types.MessageType.Error]
    assert not project.exists()
    await editor.shutdown_session()
    family = [each for each in family if "engine.serve" not in " ".join(_command(each))]
    await editor.until("no process", lambda: not any(_alive(each) for each in [server, *family]))
    await editor.stop()


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
