"""A workspace's tests as it changes: what is run, and what is said at which place. The runner is the real one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from textwrap import dedent

import pytest

from lsp_server.refine.continuous import ContinuousTests, Finding, Update
from lsp_server.refine.task import Document, Snapshot
from runner.request import Limits, TestRequest
from runner.warm import WarmProcesses
from tests.unit.runner_project import WITHOUT_PLUGINS

FILES = {
    "calc.py": """
        def add(a, b):
            return a - b


        def double(a):
            return 2 * a
    """,
    "test_calc.py": """
        from calc import add, double


        def test_add():
            expected = 5
            assert add(2, 3) == expected


        def test_zero():
            assert add(0, 0) == 0


        def test_double():
            assert double(4) == 8
    """,
    "test_other.py": "def test_other():\n    pass\n",
}


class Edited:
    """A workspace being edited."""

    def __init__(self, folder: Path, warm: WarmProcesses) -> None:
        self.folder = folder
        self.tests = ContinuousTests(warm)
        self.updates: list[Update] = []
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(dedent(text).lstrip("\n"))

    def save(
        self, *changed: str, buffers: dict[str, str] | None = None, seconds: float = 30
    ) -> list[Finding]:
        """Return what is known after a save; `ran` of the first update says how many tests were run."""
        held = {PurePosixPath(p): Document(PurePosixPath(p), t, 1) for p, t in (buffers or {}).items()}
        limits = Limits(test_seconds=2, wall_seconds=seconds)
        request = TestRequest(self.folder, (), Path(sys.executable), test_args=WITHOUT_PLUGINS, limits=limits)
        self.updates = []
        self.tests.after_edit(
            [PurePosixPath(path) for path in changed],
            Snapshot(self.folder, held),
            request,
            threading.Event(),
            self.updates.append,
        )
        return list(self.updates[-1].findings)

    @property
    def ran(self) -> int:
        return self.updates[0].ran


@pytest.fixture(scope="module")
def warm() -> Callable[[], WarmProcesses]:
    made = WarmProcesses()
    yield made  # type: ignore[misc]
    made.close()


@pytest.fixture
def edited(tmp_path: Path, warm: WarmProcesses) -> Edited:
    return Edited(tmp_path, warm)


def test_a_failure_is_still_known_in_the_text_that_it_was_seen_in(edited: Edited) -> None:
    """An edit that concerns no test moves it: whoever shows it has to know from where."""
    edited.save("calc.py")
    edited.write("test_calc.py", "# one\n# two\n" + dedent(FILES["test_calc.py"]).lstrip("\n"))
    test = next(finding for finding in edited.save("test_calc.py") if not finding.suspected)
    assert test.place.tested.splitlines()[test.place.line - 1].strip() == "assert add(2, 3) == expected"


def test_a_test_that_ends_the_process_leaves_the_others_their_say(edited: Edited) -> None:
    edited.write(
        "test_calc.py", "import os\n" + dedent(FILES["test_calc.py"]).replace("expected = 5", "os._exit(1)")
    )
    findings = edited.save("calc.py")
    assert any("ended the test process" in finding.place.text for finding in findings)
    results = edited.tests.history.of_file(PurePosixPath("test_calc.py"))
    assert results["test_calc.py::test_double"].outcome.ok
    edited.write("test_calc.py", dedent(FILES["test_calc.py"]).replace("== expected", "!= expected"))
    assert edited.save("test_calc.py") == []


def test_a_collection_error_goes_when_the_mend_comes_from_elsewhere(edited: Edited) -> None:
    edited.write("calc.py", "import nowhere_to_be_found\n")
    assert edited.save("calc.py")
    edited.write("calc.py", FILES["calc.py"].replace("a - b", "a + b"))
    assert edited.save("test_other.py") == []


def test_a_module_that_was_missing_concerns_who_wanted_it(edited: Edited) -> None:
    edited.write("test_calc.py", "def test_it():\n    import helper\n\n\ndef test_more():\n    pass\n")
    assert edited.save("test_calc.py")
    edited.write("helper.py", "")
    assert edited.save("helper.py") == []


def test_a_failing_test_is_run_again_whatever_was_the_matter(edited: Edited, tmp_path: Path) -> None:
    edited.write("test_calc.py", "import os\n\ndef test_it():\n    assert os.path.exists('marker')\n")
    assert edited.save("test_calc.py")
    edited.write("marker", "")
    assert edited.save("test_calc.py") == []


def test_a_text_that_python_cannot_take_in_does_no_harm(edited: Edited) -> None:
    edited.write("calc.py", dedent(FILES["calc.py"]) + "\n\nX = " + "+".join(["1"] * 1100) + "\n")
    assert len(edited.save("calc.py")) == 2
    assert len(edited.save("calc.py")) == 2


def shown(findings: list[Finding]) -> set[tuple[str, int]]:
    return {(str(finding.place.path), finding.place.line) for finding in findings}


def test_a_failure_is_shown_where_it_was_seen_and_where_the_fault_may_be(edited: Edited) -> None:
    test, suspect = edited.save("calc.py")
    assert edited.ran == 3, "test_other.py has nothing to do with it"
    assert (str(test.place.path), test.place.line) == ("test_calc.py", 6)
    assert test.place.text == "test_add fails: AssertionError: assert -1 == 5\nwhere -1 = add(2, 3)"
    assert test.tests == ("test_calc.py::test_add",)
    assert [(str(p.path), p.line) for p in test.related] == [("calc.py", 1)]
    assert suspect.suspected
    assert (str(suspect.place.path), suspect.place.line) == ("calc.py", 1)
    assert suspect.place.text == "`add` may be why test_add fails"
    assert [(str(p.path), p.line) for p in suspect.related] == [("test_calc.py", 6)]


def test_what_is_mended_is_no_longer_shown_and_only_what_it_concerns_is_run(edited: Edited) -> None:
    assert edited.save("calc.py")
    edited.write("calc.py", FILES["calc.py"].replace("a - b", "a + b"))
    assert edited.save("calc.py") == []
    edited.write("calc.py", FILES["calc.py"].replace("a - b", "a + b  # mended"))
    assert edited.save("calc.py") == []
    assert edited.ran == 0


def test_the_unsaved_text_of_other_buffers_is_tested(edited: Edited) -> None:
    text = dedent(FILES["calc.py"]).lstrip("\n").replace("a - b", "a + b")
    assert edited.save("test_calc.py", buffers={"calc.py": text}) == []
    assert len(edited.save("test_calc.py")) == 2


def test_an_exception_is_suspected_where_it_was_raised(edited: Edited) -> None:
    edited.write(
        "calc.py",
        "def add(a, b):\n    total = a + b\n    raise ValueError(total)\n\n\ndef double(a):\n    return 2 * a\n",
    )
    findings = edited.save("calc.py")
    assert ("calc.py", 3) in shown(findings)
    (suspect,) = (finding for finding in findings if finding.suspected)
    assert suspect.place.text == "`add` may be why test_add, test_zero fail"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("def add(a, b):\n    return (\n", ("calc.py", 2)),
        ("def add(a, b):\n    return a + b\n", ("test_calc.py", 1)),
        ("import nowhere_to_be_found\n", ("calc.py", 1)),
    ],
    ids=["syntax", "name", "import"],
)
def test_what_cannot_be_collected_is_shown_until_it_can(
    edited: Edited, text: str, place: tuple[str, int]
) -> None:
    edited.write("calc.py", text)
    findings = edited.save("calc.py")
    assert shown(findings) == {place}
    assert findings[0].tests == ()
    edited.write("calc.py", FILES["calc.py"].replace("a - b", "a + b"))
    assert edited.save("calc.py") == []


def test_a_conftest_that_cannot_be_imported_is_shown_until_it_can(edited: Edited) -> None:
    edited.write("conftest.py", "import nowhere_to_be_found\n")
    assert shown(edited.save("calc.py")) == {("conftest.py", 1)}
    edited.write("conftest.py", "")
    assert {name for name, _ in shown(edited.save("conftest.py"))} == {"test_calc.py", "calc.py"}


def test_a_test_that_does_not_end_is_shown_where_it_was(edited: Edited) -> None:
    edited.write("calc.py", FILES["calc.py"].replace("return a - b", "while True: pass"))
    findings = edited.save("calc.py")
    told = next(finding for finding in findings if finding.tests == ("test_calc.py::test_add",))
    assert told.place.text.startswith("test_add does not end: still running after 2 s")
    assert any(finding.suspected and finding.place.path == PurePosixPath("calc.py") for finding in findings)


def test_files_that_are_gone_are_forgotten(edited: Edited) -> None:
    assert edited.save("calc.py")
    (edited.folder / "test_calc.py").unlink()
    assert edited.save("calc.py") == []


def test_what_does_not_fit_the_budget_is_named(edited: Edited) -> None:
    slow = "import time\n\ndef test_slow():\n    time.sleep(1.2)\n"
    for n in range(3):
        edited.write(f"test_slow{n}.py", slow.replace("import time", "import time, calc"))
    edited.save("calc.py")
    edited.write("calc.py", "X = 1\n" + dedent(FILES["calc.py"]))
    edited.save("calc.py", seconds=1)
    assert edited.updates[-1].left_out
    edited.save("calc.py")
    assert not edited.updates[-1].left_out
