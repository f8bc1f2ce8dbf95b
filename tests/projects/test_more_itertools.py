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
