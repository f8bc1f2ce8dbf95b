"""A real server process on standard input and output, a project, and a scripted endpoint in place of the model."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from lsp_server.models import store
from lsp_server.refine.sessions import Sessions
from tests.protocol.editor import Editor
from tests.protocol.endpoint import Endpoint, fenced
from tests.protocol.reviewer import Reviewer

CALC = """\
def add(a, b):
    return a - b


def double(a):
    return 2 * a
"""
TEST_CALC = """\
from calc import add, double


class TestCalc:
    def test_add(self):
        assert add(2, 3) == 5


def test_double():
    assert double(4) == 8
"""
RIGHT = fenced("def add(a, b):\n    return a + b")
WRONG = fenced("def add(a, b):\n    return a * b")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a bug that a test shows."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "calc.py").write_text(CALC)
    (folder / "test_calc.py").write_text(TEST_CALC)
    return folder


@pytest.fixture
def own_home(
    request: pytest.FixtureRequest,
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """A companion home of the test's own; with the real model it is the user's, where nothing of the test stays."""
    if hasattr(request.module, "local_model"):
        yield store.home()
        Sessions(project).purge()
        return
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv(store.HOME_VARIABLE, str(home))
    yield home


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A model that repairs the project at its first try."""
    scripted = Endpoint(RIGHT)
    yield scripted
    scripted.close()


@pytest.fixture
def settings(endpoint: Endpoint, own_home: Path) -> dict[str, Any]:
    """The user's settings: the scripted endpoint, one reply a round as it has them, and tests that start fast."""
    off = [a for p in ("hypothesispytest", "asyncio", "pytest-lsp", "anyio") for a in ("-p", f"no:{p}")]
    given = {"endpoint": endpoint.url, "candidates": 1, "interpreter": sys.executable}
    return {**given, "testArgs": off, "testTimeout": 2}


@pytest_asyncio.fixture
async def editor(own_home: Path) -> AsyncIterator[Editor]:
    """An editor whose server ends with the test."""
    opened = Editor()
    yield opened
    if not opened.stopped:
        await opened.shutdown_session()
        await opened.stop()


@pytest_asyncio.fixture
async def reviewer(own_home: Path) -> AsyncIterator[Reviewer]:
    """An editor that shows proposals itself, whose server ends with the test."""
    opened = Reviewer()
    yield opened
    if not opened.stopped:
        await opened.shutdown_session()
        await opened.stop()
