"""Which interpreter is found, and which sandbox, and what is said where there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.interpreter import describe, find_interpreter
from runner.run import InterpreterError, SandboxUnavailable
from runner.sandbox import landlock, probe
from tests.unit.runner_project import Project


@pytest.fixture(autouse=True)
def empty_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.setenv("PATH", "")


def environment(folder: Path, with_pytest: bool) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    if with_pytest:
        (packages,) = folder.glob("lib/python3*/site-packages")
        (packages / "pytest.py").write_text("")
    return folder / "bin" / "python"


def test_the_workspaces_environment_then_the_active_one_then_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InterpreterError, match=r"python3 -m venv"):
        find_interpreter(tmp_path)
    on_path = environment(tmp_path / "on-path", with_pytest=False)
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find_interpreter(tmp_path) == on_path.with_name("python3")
    own = environment(tmp_path / ".venv", with_pytest=False)
    assert find_interpreter(tmp_path) == own, "none has pytest: the first that exists"
    active = environment(tmp_path / "active", with_pytest=True)
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "active"))
    assert find_interpreter(tmp_path) == active, "the first that has pytest"


def test_the_setting_wins_as_a_file_a_folder_or_relative_to_the_workspace(tmp_path: Path) -> None:
    named = environment(tmp_path / "my env", with_pytest=False)
    environment(tmp_path / ".venv", with_pytest=True)
    for setting in (str(named), str(tmp_path / "my env"), "my env", "${workspaceFolder}/my env/bin/python"):
        assert find_interpreter(tmp_path, setting) == named
    with pytest.raises(InterpreterError, match=r"oci\.interpreter"):
        find_interpreter(tmp_path, "no/such/python")


def test_a_setting_that_starts_where_the_command_is_given_is_found_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = environment(tmp_path / "here" / ".venv", with_pytest=False)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert find_interpreter(elsewhere, ".venv/bin/python") == named
    with pytest.raises(InterpreterError, match=r"oci\.interpreter"):
        find_interpreter(elsewhere, "no/such/python")


def test_an_interpreter_that_does_not_start_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho cannot load >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(InterpreterError, match="does not start: cannot load"):
        describe(broken)


@pytest.fixture
def broken_bwrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose bubblewrap may not make namespaces."""
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(probe, "_candidates", lambda: iter([broken]))
    probe._probe.cache_clear()
    yield
    probe._probe.cache_clear()


def test_without_a_sandbox_nothing_runs_and_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_bwrap: None
) -> None:
    ran = tmp_path / "ran"
    project = Project(tmp_path / "project", {"test_a.py": f"open({str(ran)!r}, 'w')\n"})
    monkeypatch.setattr(landlock, "abi", lambda: 1)
    with pytest.raises(SandboxUnavailable) as caught:
        project.run("test_a.py")
    said = str(caught.value)
    for part in (
        "setting up uid map: Permission denied",
        "version 1",
        "apt install bubblewrap",
        "AppArmor",
        'level to "off"',
    ):
        assert part in said
    assert not ran.exists()


@pytest.mark.parametrize("level", ["auto", "off"])
def test_on_another_system_nothing_runs_and_the_way_to_linux_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    ran = tmp_path / "ran"
    project = Project(tmp_path / "project", {"test_a.py": f"open({str(ran)!r}, 'w')\n"})
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SandboxUnavailable, match=r"on Linux only.*WSL.*dev container"):
        project.run("test_a.py", level=level)
    assert not ran.exists()


def test_where_bubblewrap_does_not_work_landlock_does_unless_strictness_is_asked_for(
    tmp_path: Path, broken_bwrap: None
) -> None:
    project = Project(tmp_path / "project", {"test_a.py": "def test_a(): open('written', 'w')\n"})
    report = project.run("test_a.py")
    assert (report.isolation, report.passed) == ("landlock", {"test_a.py::test_a"})
    assert not (project.root / "written").exists()
    reason = probe.probe().reason
    assert "setting up uid map: Permission denied" in reason
    assert all(limit in reason for limit in landlock.LIMITS)
    with pytest.raises(SandboxUnavailable, match="bubblewrap does not work"):
        project.run("test_a.py", level="strict")
