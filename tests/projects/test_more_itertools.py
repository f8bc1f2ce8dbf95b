"""A real project with a real suite: what the runner says is what plain pytest says, id by id."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from lsp_server.models import store
from lsp_server.models.pip import run_pip
from lsp_server.refine import discover
from lsp_server.refine.task import Snapshot
from runner.history import History, reader
from runner.index import Index
from runner.report import Outcome
from runner.warm import WarmProcesses
from tests.unit.runner_project import WITHOUT_PLUGINS, Limits, Project, need_bubblewrap

NAME = "more_itertools-11.2.1"
FAILING = "def first_true(iterable, default=None, pred=None):\n    return default\n"
LONG = Limits(wall_seconds=600, test_seconds=120, cpu_seconds=600)
QUICK = (*WITHOUT_PLUGINS, "-k", "not test_primes and not Concurrent and not concurrent and not roundtrip")
"""Leaves out five tests that take as long as the other 760."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project's source distribution, unpacked; downloaded once and kept beside the models."""
    need_bubblewrap()
    kept = store.home() / "test-envs" / "sources"
    archive = kept / f"{NAME}.tar.gz"
    if not archive.is_file():
        pinned = NAME.replace("_", "-").replace("-11", "==11")
        options = ["--no-deps", "--no-binary", ":all:", "--dest", str(kept)]
        run_pip(Path(sys.executable), ["download", *options, pinned], threading.Event())
    folder = tmp_path_factory.mktemp("real")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return Project(folder / NAME)


@pytest.fixture(scope="module")
def warm() -> Iterator[WarmProcesses]:
    made = WarmProcesses()
    yield made
    made.close()


def plain(project: Project, *tests: str) -> dict[str, str]:
    """Outcomes by id, as pytest itself prints them."""
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *QUICK, *tests], cwd=project.root, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout[-2000:]
    found = re.findall(
        r"^(?:SUB)?(PASSED|FAILED|ERROR)(?:[(\[].*[)\]])? (\S+::\S+)", done.stdout, re.MULTILINE
    )
    # A test with a failed subtest has a line for each.
    return {test: outcome for outcome, test in sorted(found, reverse=True)}


SAID = {Outcome.PASSED: "PASSED", Outcome.FAILED: "FAILED", Outcome.ERROR: "ERROR"}


def test_all_of_it_agrees_with_plain_pytest(project: Project, warm: WarmProcesses) -> None:
    expected = plain(project, "tests")
    assert len(expected) > 600
    cold = project.run("tests", warm=warm, limits=LONG, test_args=QUICK)
    warm.settle()
    forked = project.run("tests", warm=warm, limits=LONG, test_args=QUICK)
    assert (cold.warm, forked.warm) == (False, True)
    for report in (cold, forked):
        ran = {
            test: SAID[r.outcome] for test, r in report.results.items() if r.outcome is not Outcome.SKIPPED
        }
        assert ran == expected
        assert not report.collection_errors
        assert not report.violations


def test_a_broken_function_fails_the_same_tests(project: Project, warm: WarmProcesses) -> None:
    module = project.root / "more_itertools" / "recipes.py"
    text = module.read_text()
    broken = text + "\n\n" + FAILING
    project.run("tests/test_recipes.py", warm=warm, limits=LONG, test_args=QUICK)
    warm.settle()
    report = project.run(
        "tests/test_recipes.py",
        files={"more_itertools/recipes.py": broken},
        warm=warm,
        limits=LONG,
        test_args=QUICK,
    )
    assert report.warm
    module.write_text(broken)
    try:
        expected = plain(project, "tests/test_recipes.py")
    finally:
        module.write_text(text)
    assert report.failed == {test for test, outcome in expected.items() if outcome == "FAILED"} != set()
    assert report.passed == {test for test, outcome in expected.items() if outcome == "PASSED"}


def test_its_tests_are_found_for_its_modules(project: Project) -> None:
    snapshot = Snapshot(project.root, {})
    for module, test in (("recipes", "test_recipes"), ("more", "test_more")):
        found = discover.tests_for(snapshot, PurePosixPath(f"more_itertools/{module}.py"))
        assert f"tests/{test}.py" in found, found


EDITS = [
    ("list(islice(iterable, n))", "list(islice(iterable, n + 1))"),
    ("next(islice(iterable, n, None), default)", "next(islice(iterable, n + 1, None), default)"),
    ("sum(map(pred, iterable))", "sum(map(pred, iterable)) + 1"),
]


LIGHT = (
    *WITHOUT_PLUGINS,
    "-k",
    "Take or Nth or Quantify or Tail or Consume or Flatten or Pairwise or AllEqual or PadNone or Dotproduct or Unique",
)
"""Leaves out those that compute for long: before Python 3.12 a traced one takes seven times as long."""


def test_the_tests_that_an_edit_breaks_are_selected_for_it(project: Project, warm: WarmProcesses) -> None:
    """By what each executed in an earlier run, against those whose outcome changes when all are run."""
    tests, module = "tests/test_recipes.py", PurePosixPath("more_itertools/recipes.py")
    index, history, read = Index(project.root), History(), reader(project.root)
    state = index.state()
    before = project.run(tests, trace="functions", warm=warm, limits=LONG, test_args=LIGHT)
    history.note(before, [tests], state, read)
    assert not history.stale(index.state(), read)
    warm.settle()
    text = (project.root / module).read_text()
    sizes = []
    for old, new in EDITS:
        assert old in text
        edited = {module: text.replace(old, new).encode()}
        selected = history.select([module], index.state(edited), reader(project.root, edited)).tests
        after = project.run(
            tests, files={str(module): edited[module]}, warm=warm, limits=LONG, test_args=LIGHT
        )
        broken = {test for test in after.failed if before.results[test].outcome.ok}
        assert broken
        assert broken <= set(selected) or tests in selected
        sizes.append(len(selected))
    assert min(sizes) < len(before.results) / 5
