"""Other tools' complaints as something to fix: real ruff and mypy, asked again in the sandbox."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from lsp_server.refine.loop import NothingToFix, Options, refine
from lsp_server.refine.proposal import Proposal, VerdictKind
from lsp_server.refine.task import Complaint, ComplaintRequest, Snapshot, TaskError
from runner.request import Limits, Sandboxing
from tests.unit.scripted import ScriptedEngine, fenced

OFF = tuple(a for p in ("hypothesispytest", "asyncio", "pytest-lsp", "anyio") for a in ("-p", f"no:{p}"))
CODE = """\
import os
import json


def net(price: float, rate: float | None) -> float:
    if rate == None:
        return "free"
    return price * rate


def gross(price: float) -> float:
    return price * 1.2
"""
TEST = """\
from prices import gross, net


def test_net():
    assert net(10, 0.5) == 5


def test_gross():
    assert gross(10) == 12
"""
NONE = Complaint("Ruff", "E711", "Comparison to `None` should be `cond is None`", 6)
TYPE = Complaint("mypy", "return-value", 'Incompatible return value type (got "str", expected "float")', 7)
RIGHT = """\
def net(price: float, rate: float | None) -> float:
    if rate is None:
        return 0.0
    return price * rate"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "prices.py").write_text(CODE)
    (tmp_path / "test_prices.py").write_text(TEST)
    (tmp_path / "ruff.toml").write_text('[lint]\nselect = ["E", "F"]\n')
    return tmp_path


def fix(
    folder: Path, complaint: Complaint, *replies: str, path: str = "prices.py", **options: Any
) -> tuple[Proposal, ScriptedEngine]:
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    engine = ScriptedEngine(*replies)
    request = ComplaintRequest(Snapshot(folder), PurePosixPath(path), complaint)
    how = Options(Path(sys.executable), test_args=OFF, **options)
    proposal = refine(request, engine, how, threading.Event(), lambda event: None)
    after = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert after == before, "neither tests nor tools leave anything"
    return proposal, engine


@pytest.mark.parametrize("complaint", [NONE, TYPE])
def test_verified_by_the_tests_and_by_the_tool(project: Path, complaint: Complaint) -> None:
    proposal, engine = fix(project, complaint, fenced(RIGHT))
    assert proposal.verified, proposal.receipt.verdict
    assert proposal.receipt.verdict.reason == (
        f"{complaint.tool} no longer reports {complaint.text}. 2 tests that passed before still pass."
    )
    assert proposal.task.region.name == "net"
    asked = engine.asked[0][0][0].content
    assert f"{complaint.tool} reports an error in the function `net` of `prices.py`" in asked
    assert f"Execution result: \nprices.py:{complaint.line}: {complaint.text}" in asked


@pytest.mark.parametrize(
    ("level", "kind"), [("landlock", VerdictKind.VERIFIED), ("off", VerdictKind.UNSANDBOXED)]
)
def test_at_other_levels(project: Path, level: str, kind: VerdictKind) -> None:
    proposal, _ = fix(project, NONE, fenced(RIGHT), sandbox=Sandboxing(level=level))
    assert proposal.receipt.verdict.kind is kind, proposal.receipt.verdict


def test_what_the_tool_still_says_is_fed_back(project: Path) -> None:
    wrong = RIGHT.replace("0.0", '"nothing"')
    proposal, engine = fix(project, TYPE, fenced(wrong), fenced(RIGHT))
    assert proposal.verified
    assert [done.verdict.kind for done in proposal.rounds] == [VerdictKind.REJECTED, VerdictKind.VERIFIED]
    assert engine.asked[1][0][-1].content.startswith("Execution result: \nmypy still reports: return-value")


def test_a_new_complaint_is_none_the_better(project: Path) -> None:
    worse = RIGHT.replace("return 0.0", "return nothing")
    proposal, _ = fix(project, NONE, fenced(worse), rounds=1)
    assert proposal.receipt.verdict.kind is VerdictKind.REJECTED
    assert "Ruff now reports: F821" in proposal.receipt.verdict.reason


@pytest.mark.parametrize("silenced", ["if rate == None:  # noqa: E711", "if rate == None:  # noqa"])
def test_silencing_the_tool_is_no_repair(project: Path, silenced: str) -> None:
    quiet = RIGHT.replace("if rate is None:", silenced)
    proposal, _ = fix(project, NONE, fenced(quiet), rounds=1)
    assert proposal.receipt.verdict.kind is VerdictKind.REJECTED
    assert "silences Ruff" in proposal.receipt.verdict.reason


def test_tests_that_break_outweigh_the_tool(project: Path) -> None:
    broken = RIGHT.replace("price * rate", "price + rate")
    proposal, engine = fix(project, NONE, fenced(broken), fenced(RIGHT))
    assert "breaks 1 test" in proposal.rounds[0].verdict.reason
    assert "assert 10.5 == 5" in engine.asked[1][0][-1].content
    assert proposal.verified


def test_an_unused_import_is_a_statement_of_its_own(project: Path) -> None:
    unused = Complaint("ruff", "F401", "`json` imported but unused", 2)
    proposal, _ = fix(project, unused, fenced("# none is needed"))
    assert proposal.verified, proposal.receipt.verdict
    assert proposal.new_text == CODE.replace("import json\n", "# none is needed\n")


def test_a_tool_that_is_not_known_proves_nothing(project: Path) -> None:
    unknown = Complaint("SomeLinter", "X1", "bad", 6)
    proposal, _ = fix(project, unknown, fenced(RIGHT))
    verdict = proposal.receipt.verdict
    assert verdict.kind is VerdictKind.UNTESTED and not proposal.verified
    assert "2 tests that passed before still pass. How to run SomeLinter again is not known" in verdict.reason


def test_the_user_s_own_command(project: Path) -> None:
    linter = project / "lint.py"
    linter.write_text(
        "import sys\n"
        "for number, line in enumerate(open(sys.argv[1]), 1):\n"
        "    if '== None' in line:\n"
        "        print(f'{sys.argv[1]}:{number}:1: X001 bad comparison')\n"
    )
    own = {"somelinter": f"{sys.executable} lint.py {{file}}"}
    complaint = Complaint("SomeLinter", "X001", "bad comparison", 6)
    proposal, _ = fix(project, complaint, fenced(RIGHT), tools=own)
    assert proposal.verified, proposal.receipt.verdict


def test_a_tool_that_cannot_be_run_says_why(project: Path) -> None:
    own = {"Ruff": "no-such-program {file}"}
    proposal, _ = fix(project, NONE, fenced(RIGHT), tools=own)
    assert not proposal.verified
    assert "no-such-program is installed neither beside" in proposal.receipt.verdict.reason


def test_a_tool_that_breaks_down_is_not_taken_for_content(project: Path) -> None:
    (project / "mypy.ini").write_text("[mypy]\nplugins = nowhere.to_be_found\n")
    proposal, _ = fix(project, TYPE, fenced(RIGHT))
    verdict = proposal.receipt.verdict
    assert verdict.kind is VerdictKind.UNTESTED
    assert "mypy could not be run again" in verdict.reason


def test_the_tool_runs_in_the_sandbox(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("home") / "secret"
    secret.write_text("prices.py:6:1: X001 bad")
    (project / "lint.py").write_text(f"print(open({str(secret)!r}).read())\n")
    own = {"somelinter": f"{sys.executable} lint.py"}
    proposal, _ = fix(project, Complaint("SomeLinter", "X001", "bad", 6), fenced(RIGHT), tools=own)
    assert "FileNotFoundError" in proposal.receipt.verdict.reason


def test_what_is_no_longer_reported(project: Path) -> None:
    with pytest.raises(NothingToFix, match="does not report F999"):
        fix(project, Complaint("ruff", "F999", "nothing", 6))


def test_tests_are_never_changed(project: Path) -> None:
    with pytest.raises(TaskError, match="belongs to the tests"):
        fix(project, NONE, path="test_prices.py")


def test_without_tests_nothing_is_verified(project: Path) -> None:
    (project / "test_prices.py").unlink()
    proposal, _ = fix(project, NONE, fenced(RIGHT))
    verdict = proposal.receipt.verdict
    assert verdict.kind is VerdictKind.UNTESTED
    assert verdict.reason.endswith("No test ran.")


def test_a_linter_that_crashes_on_the_candidate_proves_nothing(project: Path) -> None:
    (project / "lint.py").write_text(
        "import sys\n"
        "text = open(sys.argv[1]).read()\n"
        "assert 'is None' not in text\n"
        "print(f'{sys.argv[1]}:6:1: X001 bad comparison')\n"
    )
    own = {"SomeLinter": f"{sys.executable} lint.py {{file}}"}
    proposal, _ = fix(project, Complaint("SomeLinter", "X001", "bad comparison", 6), fenced(RIGHT), tools=own)
    verdict = proposal.receipt.verdict
    assert verdict.kind is VerdictKind.UNTESTED, verdict
    assert "could not be run again: AssertionError" in verdict.reason


def test_a_linter_that_does_not_start_is_not_content(project: Path) -> None:
    own = {"SomeLinter": f"{sys.executable} -m no_such_linter {{file}}"}
    proposal, _ = fix(project, Complaint("SomeLinter", "X001", "bad", 6), fenced(RIGHT), tools=own)
    assert "No module named no_such_linter" in proposal.receipt.verdict.reason
    assert not proposal.verified


def test_a_comment_that_silences_more_than_before_is_no_repair(project: Path) -> None:
    narrow = CODE.replace("if rate == None:", "if rate == None:  # noqa: E501")
    (project / "prices.py").write_text(narrow)
    wide = RIGHT.replace("if rate is None:", "if rate == None:  # noqa")
    proposal, _ = fix(project, NONE, fenced(wide), rounds=1)
    assert "silences Ruff" in proposal.receipt.verdict.reason


def test_the_same_complaint_at_another_line_is_not_the_one(project: Path) -> None:
    twice = CODE.replace(
        "    return price * rate\n", "    if price == None:\n        return 0\n    return price * rate\n"
    )
    (project / "prices.py").write_text(twice)
    other = RIGHT.replace("rate is None", "rate == None").replace(
        "    return price * rate", "    if price is None:\n        return 0\n    return price * rate"
    )
    proposal, _ = fix(project, NONE, fenced(other), rounds=1)
    assert "Ruff still reports: E711" in proposal.receipt.verdict.reason


def test_code_that_no_test_runs_is_not_verified(project: Path) -> None:
    (project / "test_prices.py").write_text(
        TEST.replace("gross(10) == 12", "True").replace("net(10, 0.5) == 5", "net")
    )
    proposal, _ = fix(project, NONE, fenced(RIGHT))
    verdict = proposal.receipt.verdict
    assert verdict.kind is VerdictKind.UNTESTED
    assert verdict.reason.endswith("No test runs what was changed.")


def test_a_tool_is_held_to_the_limits_of_tests(project: Path) -> None:
    (project / "lint.py").write_text("x = bytearray(3 << 30)\nprint('prices.py:6:1: X001 bad')\n")
    own = {"SomeLinter": f"{sys.executable} lint.py"}
    limits = Limits(memory_bytes=1 << 30)
    proposal, _ = fix(
        project, Complaint("SomeLinter", "X001", "bad", 6), fenced(RIGHT), tools=own, limits=limits
    )
    assert "MemoryError" in proposal.receipt.verdict.reason


def test_a_tool_in_an_environment_of_its_own_is_found_by_its_link(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("pipx")
    (home / "venv" / "bin").mkdir(parents=True)
    (home / "venv" / "pyvenv.cfg").touch()
    tool = home / "venv" / "bin" / "somelinter"
    tool.write_text(f"#!{sys.executable}\nprint('prices.py:6:1: X001 bad')\n")
    tool.chmod(0o755)
    (home / "bin").mkdir()
    (home / "bin" / "somelinter").symlink_to(tool)
    monkeypatch.setenv("PATH", str(home / "bin"), prepend=os.pathsep)
    own = {"SomeLinter": "somelinter"}
    proposal, _ = fix(project, Complaint("SomeLinter", "X001", "bad", 6), fenced(RIGHT), tools=own, rounds=1)
    assert proposal.receipt.verdict.reason == "SomeLinter still reports: X001 bad."
