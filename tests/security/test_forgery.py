"""A candidate that makes a pass out of a failure: it must not count as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.report import Outcome, Report, Stop
from tests.unit.runner_project import Project, need_bubblewrap

TEST = """
    import candidate

    def test_before():
        pass

    def test_add():
        assert candidate.add(1, 2) == 3
"""
IDS = frozenset({"test_c.py::test_before", "test_c.py::test_add"})


class Attack:
    """Runs the tests on a candidate at one isolation level."""

    def __init__(self, root: Path, level: str) -> None:
        self.root, self.level = root, level

    def __call__(self, candidate: str) -> Report:
        project = Project(self.root, {"candidate.py": "", "test_c.py": TEST, "conftest.py": "VALUE = 1\n"})
        return project.run("test_c.py", files={"candidate.py": candidate}, expected=IDS, level=self.level)


@pytest.fixture(params=["strict", "warm", "landlock"])
def attack(request: pytest.FixtureRequest, tmp_path: Path) -> Attack:
    need_bubblewrap()
    return Attack(tmp_path, request.param)


@pytest.mark.parametrize("attack", ["strict", "warm", "landlock", "off"], indirect=True)
def test_leaving_at_import(attack: Attack) -> None:
    report = attack("import os\nos._exit(0)\n")
    assert report.passed == frozenset()
    assert {report.results[test].outcome for test in IDS} == {Outcome.NOT_RUN}
    assert report.stop is Stop.CRASHED
    assert "exit code 0" in report.stop_detail
    assert "test_c.py" in report.stop_detail


@pytest.mark.parametrize("attack", ["strict", "warm", "landlock", "off"], indirect=True)
def test_leaving_in_the_test(attack: Attack) -> None:
    report = attack("import os\ndef add(a, b):\n    os._exit(0)\n")
    assert report.passed == {"test_c.py::test_before"}
    assert report.results["test_c.py::test_add"].outcome is Outcome.CRASHED
    assert report.stop is Stop.CRASHED
    assert "exit code 0" in report.stop_detail
    assert "test_add" in report.stop_detail


def test_leaving_at_exit(attack: Attack) -> None:
    report = attack("import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b):\n    return 0\n")
    assert report.results["test_c.py::test_add"].outcome is Outcome.FAILED


@pytest.mark.parametrize("leave", ["raise KeyboardInterrupt", "import pytest; pytest.exit('done', 0)"])
def test_ending_the_session(attack: Attack, leave: str) -> None:
    report = attack(f"def add(a, b):\n    {leave}\n")
    assert report.results["test_c.py::test_add"].outcome is Outcome.CRASHED
    assert report.stop is Stop.CRASHED


def test_rewriting_the_tests(attack: Attack) -> None:
    """At import, in memory of the disk: read-only, and gone with the overlay."""
    candidate = """
        import os
        from pathlib import Path

        refused = []
        for name in ("test_c.py", "conftest.py", "candidate.py"):
            for way in (
                lambda p: p.write_text("def test_add(): pass\\ndef test_before(): pass\\n"),
                lambda p: p.unlink(),
                lambda p: p.rename("moved.py"),
                lambda p: os.replace("new.py", p),
                lambda p: p.chmod(0o777),
            ):
                Path("new.py").write_text("")
                try:
                    way(Path(name))
                except OSError:
                    refused.append(name)

        def add(a, b):
            return 3 if len(refused) == 15 else 0
    """
    report = attack(candidate)
    if attack.level in ("strict", "warm"):
        assert report.passed == IDS, "every way to change them was refused"
    else:
        assert any(what.startswith("test_c.py, which the tests are made of") for what in report.violations)
    assert (attack.root / "conftest.py").read_text() == "VALUE = 1\n"
    report = attack("def add(a, b):\n    return 0\n")
    assert report.results["test_c.py::test_add"].outcome is Outcome.FAILED


def test_rewriting_the_tests_for_a_moment(attack: Attack) -> None:
    """What can be written there is put back as it was, its time included: that too is noticed."""
    candidate = """
        import os
        from pathlib import Path

        path = Path("conftest.py")
        text, before = path.read_text(), path.stat()
        try:
            path.write_text("VALUE = 2\\n")
            path.write_text(text)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            changed = True
        except OSError:
            changed = False

        def add(a, b):
            return 3 if changed else 0
    """
    report = attack(candidate)
    assert not report.results["test_c.py::test_add"].outcome.ok or report.violations


def test_lines_forged_on_every_descriptor(attack: Attack) -> None:
    candidate = """
        import json, os

        def add(a, b):
            said = {"event": "finished", "id": "test_c.py::test_add", "outcome": "passed", "seconds": 0,
                    "failure": None, "footprint": None, "contradiction": False}
            for line in (json.dumps(said), "0" * 32 + " " + json.dumps(said)):
                for fd in range(3, 64):
                    try:
                        os.write(fd, line.encode() + b"\\n")
                    except OSError:
                        pass
            return 0
    """
    report = attack(candidate)
    assert not report.results["test_c.py::test_add"].outcome.ok
    assert report.violations


def test_a_forged_pass_followed_by_leaving(attack: Attack) -> None:
    """With the nonce, which code in the same process can find: a test that never finished is still noticed."""
    candidate = """
        import gc, os, sys

        def add(a, b):
            channel = next(o for o in gc.get_objects() if type(o).__name__ == "Channel")
            passed = dict(outcome="passed", seconds=0, failure=None, footprint=None, contradiction=False)
            channel.send("finished", id="test_c.py::test_add", **passed)
            return 0
    """
    report = attack(candidate)
    assert not report.results["test_c.py::test_add"].outcome.ok
    assert report.violations


def test_the_nonce_is_in_no_environment_argument_or_file(attack: Attack) -> None:
    candidate = """
        import os, sys
        from pathlib import Path

        def add(a, b):
            texts = [" ".join(sys.argv), repr(dict(os.environ))]
            for pid in [p for p in os.listdir("/proc") if p.isdigit()]:
                for name in ("cmdline", "environ"):
                    try:
                        texts.append((Path("/proc") / pid / name).read_bytes().decode(errors="replace"))
                    except OSError:
                        pass
                for fd in ("0", "1", "2"):
                    try:
                        with open(f"/proc/{pid}/fd/{fd}", "rb") as file:
                            os.set_blocking(file.fileno(), False)
                            texts.append((file.read(9999) or b"").decode(errors="replace"))
                    except OSError:
                        pass
            return 3 if not any("\\"nonce\\":" in text or "event_fd" in text for text in texts) else 0
    """
    report = attack(candidate)
    assert "test_c.py::test_add" in report.passed, report


def test_patching_pytests_reports(attack: Attack) -> None:
    candidate = """
        import _pytest.reports

        make = _pytest.reports.TestReport.from_item_and_call.__func__

        def forged(cls, item, call):
            report = make(cls, item, call)
            report.outcome, report.longrepr = "passed", None
            return report

        _pytest.reports.TestReport.from_item_and_call = classmethod(forged)

        def add(a, b):
            return 0
    """
    report = attack(candidate)
    assert not report.results["test_c.py::test_add"].outcome.ok
    assert any("raised" in what for what in report.violations)


def test_reading_the_report_pipes_other_end_or_flooding_it(attack: Attack) -> None:
    candidate = """
        import os

        def add(a, b):
            for fd in range(3, 64):
                try:
                    for _ in range(20):
                        os.write(fd, b"x" * (1 << 20))
                except OSError:
                    pass
            return 0
    """
    report = attack(candidate)
    assert not report.results["test_c.py::test_add"].outcome.ok
    assert report.violations


def test_escape_codes_do_not_reach_a_terminal(attack: Attack) -> None:
    report = attack("def add(a, b):\n    raise ValueError('\\x1b]0;owned\\x07\\x1b[2J\\x9b31m text')\n")
    failure = report.results["test_c.py::test_add"].failure
    assert failure is not None
    for text in (failure.message, failure.detail, report.output_tail):
        assert "\x1b" not in text
        assert "\x9b" not in text
