"""A model's folder is replaced while its engine runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_server.engine import supervise
from lsp_server.models import catalog, store
from tests.protocol.editor import Editor
from tests.protocol.model import local_model


@pytest.fixture
def home_with_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose model's folder is its own; the files in it are shared."""
    local_model()
    form = store.find(catalog.DEFAULT)
    assert form is not None
    home = Path(os.path.realpath(form.path)).parents[2] / f"test-home-{os.getpid()}"  # links work there
    shutil.copytree(form.path, home / "models" / catalog.DEFAULT / form.path.name, copy_function=os.link)
    monkeypatch.setenv(store.HOME_VARIABLE, str(home))
    yield home
    supervise.stop(catalog.DEFAULT)
    shutil.rmtree(home)


async def test_the_next_request_gets_the_new_model(
    editor: Editor, project: Path, settings: dict[str, Any], home_with_model: Path
) -> None:
    await editor.start(project, settings={**settings, "endpoint": "", "model": catalog.DEFAULT})
    calc = editor.open(project / "calc.py")
    token = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.until("the edit", lambda: editor.ended(token))
    before = supervise.status(catalog.DEFAULT).pid
    assert before is not None
    form = store.find(catalog.DEFAULT)
    assert form is not None
    aside = form.path.with_name("aside")
    shutil.copytree(form.path, aside, copy_function=os.link)
    shutil.rmtree(form.path)
    aside.rename(form.path)
    await editor.until("the old one's end", lambda: supervise.status(catalog.DEFAULT).pid is None)
    editor.type(calc, (project / "calc.py").read_text())
    token = (await editor.command("oci.fix", uri=calc))["token"]
    await editor.until("the second edit", lambda: editor.ended(token))
    assert supervise.status(catalog.DEFAULT).pid not in (None, before)
