"""The text that runs is the request's, and it is never written to the workspace."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.report import Outcome
from tests.unit.runner_project import Project, need_bubblewrap, only

LEVELS = ["auto", "off"]
BROKEN = "def add(a, b):\n    return a - b\n"
MENDED = "def add(a, b):\n    return a + b\n"
TEST = "from calc import add\n\ndef test_add():\n    assert add(1, 2) == 3\n"


@pytest.fixture(autouse=True)
def bubblewrap() -> None:
    need_bubblewrap()


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["plain", "with space", "naïve 🐍 [x]'\"$"])
def test_the_candidate_runs_at_its_path_and_the_disk_keeps_the_old_text(
    tmp_path: Path, name: str, level: str
) -> None:
    project = Project(tmp_path / name, {"calc.py": BROKEN, "test_calc.py": TEST})
    before = snapshot(project.root)
    assert only(project.run("test_calc.py", level=level)).outcome is Outcome.FAILED
    report = project.run("test_calc.py", files={"calc.py": MENDED}, level=level)
    assert only(report).outcome is Outcome.PASSED, report.output_tail
    assert snapshot(project.root) == before


def test_what_a_run_writes_into_the_workspace_is_gone(tmp_path: Path) -> None:
    writes = """
        from pathlib import Path

        def test_writes():
            Path("calc.py").write_text("changed")
            Path("new.txt").write_text("new")
            Path("folder").mkdir()
            assert Path("calc.py").read_text() == "changed"
    """
    project = Project(tmp_path, {"calc.py": MENDED, "test_w.py": writes})
    before = snapshot(project.root)
    assert only(project.run("test_w.py")).outcome is Outcome.PASSED
    assert snapshot(project.root) == before


@pytest.mark.parametrize("level", LEVELS)
def test_a_new_file_in_a_new_folder_and_the_buffers_bytes_as_they_are(tmp_path: Path, level: str) -> None:
    content = "VALUE = '🐍 naïve'\r\nOTHER = 1".encode()
    test = """
        from pathlib import Path
        from package.fresh import VALUE

        def test_bytes():
            raw = Path("package/fresh.py").read_bytes()
            assert raw == "VALUE = '🐍 naïve'\\r\\nOTHER = 1".encode()
            assert VALUE == "🐍 naïve"
    """
    project = Project(tmp_path)
    report = project.run("test_b.py", files={"package/fresh.py": content, "test_b.py": test}, level=level)
    assert only(report).outcome is Outcome.PASSED, report.output_tail
    assert list(project.root.iterdir()) == []


def test_bytecode_of_the_saved_text_is_not_taken_for_the_candidates(tmp_path: Path) -> None:
    """Same size, and the same second: Python itself cannot tell them apart."""
    import os
    import py_compile
    import time

    project = Project(tmp_path, {"calc.py": BROKEN, "test_calc.py": TEST})
    soon = int(time.time())
    for second in range(soon, soon + 3):  # the candidate's file is made in one of these
        os.utime(project.root / "calc.py", (second, second))
        py_compile.compile(str(project.root / "calc.py"))
        report = project.run("test_calc.py", files={"calc.py": MENDED})
        assert only(report).outcome is Outcome.PASSED


def test_an_editable_install_and_a_src_layout_lead_to_the_candidate_at_every_level(tmp_path: Path) -> None:
    import subprocess
    import sys

    project = Project(tmp_path / "project", {"src/calc.py": BROKEN, "tests/test_calc.py": TEST})
    environment = project.root / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "editable.pth").write_text(f"{project.root / 'src'}\n")
    own = Path(pytest.__file__).parent.parent
    (packages / "pytest.pth").write_text(f"{own}\n")
    for level in LEVELS:
        report = project.run(
            "tests", files={"src/calc.py": MENDED}, level=level, interpreter=environment / "bin" / "python"
        )
        assert only(report).outcome is Outcome.PASSED, report.output_tail
