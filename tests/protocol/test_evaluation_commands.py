"""`oci-companion eval` as a user runs it, on repair tasks and histories; replies are scripted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.protocol.endpoint import Endpoint, fenced
from tests.unit.test_evaluation_repair import CALC, RIGHT, ROW, TEST, WRONG


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    served = Endpoint(fenced(RIGHT))
    yield served
    served.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {
            "id": name,
            "files": {"calc.py": CALC, "test_calc.py": TEST},
            "tests": ["test_calc.py"],
            "target": "calc.py",
        }
        for name in ("first", "second")
    ]
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(*arguments: str | Path, endpoint: Endpoint | None = None) -> list[str]:
    where = (
        [
            "--endpoint",
            endpoint.url,
            "--candidates",
            "1",
            "--model",
            "scripted",
            "--interpreter",
            sys.executable,
        ]
        if endpoint
        else []
    )
    return [sys.executable, "-m", "lsp_server.cli", "eval", *map(str, arguments), *where]


def run(
    *arguments: str | Path, endpoint: Endpoint | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, endpoint=endpoint), capture_output=True, text=True, check=False, cwd=cwd
    )


def test_two_runs_compared_and_reported(tmp_path: Path, data: Path, endpoint: Endpoint) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    done = run("repair", "--data", data, "--output", good, endpoint=endpoint)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 (100%" in done.stdout and "wrong but claimed  0" in done.stdout
    manifest = json.loads((good / "run.json").read_text())
    assert manifest["loop"] == {"rounds": 3, "candidates": 1, "seed": 0}
    endpoint.replies = [fenced(WRONG)]
    assert run("repair", "--data", data, "--output", bad, "--rounds", "1", endpoint=endpoint).returncode == 0

    compared = json.loads(run("compare", bad, good, "--json").stdout)
    assert json.dumps(compared).count("first") and "loop.rounds" in json.dumps(compared)
    shown = run("compare", bad, good)
    assert shown.returncode == 0 and "McNemar" in shown.stdout, shown.stdout + shown.stderr
    page = tmp_path / "report.html"
    assert run("report", good, bad, "--output", page).returncode == 0
    assert "<svg" in page.read_text() and "second" in page.read_text()


def test_a_stopped_run_goes_on(tmp_path: Path, data: Path, endpoint: Endpoint) -> None:
    out = tmp_path / "out"
    endpoint.replies = [fenced(RIGHT), fenced(RIGHT) + "and " * 500]
    process = subprocess.Popen(
        command("repair", "--data", data, "--output", out, endpoint=endpoint),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "first" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 2 and "goes on" in error
    endpoint.replies = [fenced(RIGHT)]
    done = run("repair", "--data", data, "--output", out, endpoint=endpoint)
    assert done.returncode == 0 and "2 of 2" in done.stdout
    assert not any(line.startswith("first ") for line in done.stdout.splitlines())
    other = run("repair", "--data", data, "--output", out, "--seed", "2", endpoint=endpoint)
    assert other.returncode == 2 and "another run, which differs in loop" in other.stderr


def test_what_cannot_be_run_is_told(tmp_path: Path, data: Path, endpoint: Endpoint) -> None:
    nothing = run("compare", tmp_path / "a", tmp_path / "b", "--json")
    assert nothing.returncode == 2 and "holds no evaluation" in nothing.stderr
    assert list(json.loads(nothing.stdout)) == ["error"]
    missing = run("repair", "--data", tmp_path / "none.jsonl", endpoint=endpoint)
    assert (
        missing.returncode == 2 and "cannot be read" in missing.stderr and "Traceback" not in missing.stderr
    )
    none = run("mine", tmp_path, endpoint=endpoint)
    assert none.returncode == 2 and "git" in none.stderr and "Traceback" not in none.stderr


def test_mine(tmp_path: Path, endpoint: Endpoint) -> None:
    project = tmp_path / "project"
    project.mkdir()

    def commit(message: str, **files: str) -> None:
        for name, text in files.items():
            (project / f"{name}.py").write_text(text)
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        for words in (["add", "-A"], [*who, "commit", "-q", "-m", message]):
            subprocess.run(["git", *words], cwd=project, check=True)

    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    commit(
        "Begin",
        calc=CALC,
        test_calc="from calc import add\n\n\ndef test_zero():\n    assert add(1, 0) == 1\n",
    )
    commit("Adding adds", calc=RIGHT, test_calc=TEST)
    before = sorted(path.name for path in project.iterdir())
    done = run("mine", "--output", tmp_path / "out", endpoint=endpoint, cwd=project)
    assert done.returncode == 0, done.stderr
    assert "Adding adds" in done.stdout and "1 of 1" in done.stdout
    assert sorted(path.name for path in project.iterdir()) == before
    assert (project / "calc.py").read_text() == RIGHT
    tasks = tmp_path / "mined.jsonl"
    arguments = ("tasks", "history", project, "--to", tasks, "--interpreter", sys.executable)
    assert run(*arguments).stdout.startswith("1 tasks"), "the same, kept for later"
    assert run("repair", "--data", tasks, "--output", tmp_path / "again", endpoint=endpoint).returncode == 0


def test_humanevalfix(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    done = run("tasks", "humanevalfix", tmp_path / "rows.jsonl", "--to", tmp_path / "tasks.jsonl")
    assert done.returncode == 0 and done.stdout.startswith("1 tasks"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["repair", "--jobs", "0"], "from 1 on"),
        (["repair", "--seed", "-1"], "from 0 on"),
        (["repair", "--only", "third"], "has 'third' in its id"),
    ],
)
def test_options_that_cannot_be_are_told(
    data: Path, endpoint: Endpoint, arguments: list[str], why: str
) -> None:
    done = run(*arguments, "--data", data, endpoint=endpoint)
    assert done.returncode == 2 and why in done.stderr and "Traceback" not in done.stderr


def test_a_subject_may_hold_what_looks_like_markup(tmp_path: Path, endpoint: Endpoint) -> None:
    project = tmp_path / "project"
    project.mkdir()
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    for code, message in ((CALC, "Begin"), (RIGHT, "Fix [/api] and [bold]")):
        (project / "calc.py").write_text(code)
        (project / "test_calc.py").write_text(TEST + f"\n\n# {message}\n")
        for words in (["add", "-A"], [*who, "commit", "-q", "-m", message]):
            subprocess.run(["git", *words], cwd=project, check=True)
    done = run("mine", project, "--output", tmp_path / "out", endpoint=endpoint)
    assert done.returncode == 0 and "Fix [/api] and [bold]" in done.stdout, done.stderr
