"""The command line as a user runs it: a process, its output, its exit status; replies are scripted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.protocol.endpoint import Endpoint, fenced

SOURCE = "def add(a, b):\n    return a - b\n"
RIGHT = "def add(a, b):\n    return a + b\n"
TESTS = "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "calc.py").write_text(SOURCE)
    (tmp_path / "test_calc.py").write_text(TESTS)
    return tmp_path


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    served = Endpoint(fenced(RIGHT))
    yield served
    served.close()


def command(folder: Path, *arguments: str, endpoint: Endpoint | None = None) -> list[str]:
    """Return the command line; those that work on code get the endpoint, one reply a round, and this interpreter."""
    where = ["--endpoint", endpoint.url, "--candidates", "1"] if endpoint else []
    where += ["--interpreter", sys.executable] if endpoint else []
    return [sys.executable, "-m", "lsp_server.cli", *arguments, *where]


def run(folder: Path, *arguments: str, endpoint: Endpoint | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *arguments, endpoint=endpoint),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_fix_prints_the_diff_and_the_receipt_and_writes_nothing(project: Path, endpoint: Endpoint) -> None:
    done = run(project, "fix", "calc.py", endpoint=endpoint)
    assert done.returncode == 0, done.stderr
    assert "-    return a - b\n+    return a + b\n" in done.stdout
    assert "1 failing test now passes" in done.stdout
    assert "isolation  bubblewrap" in done.stdout
    assert (project / "calc.py").read_text() == SOURCE


def test_apply_writes_the_verified_file_with_its_mode(project: Path, endpoint: Endpoint) -> None:
    (project / "calc.py").chmod(0o755)
    assert run(project, "fix", "test_calc.py::test_add", "--apply", endpoint=endpoint).returncode == 0
    assert (project / "calc.py").read_text() == RIGHT
    assert (project / "calc.py").stat().st_mode & 0o777 == 0o755
    assert sorted(p.name for p in project.iterdir()) == ["calc.py", "test_calc.py"]


def test_json_is_one_object_with_every_round(project: Path, endpoint: Endpoint) -> None:
    endpoint.replies = ["no code", fenced(RIGHT)]
    done = run(project, "fix", "calc.py", "--json", endpoint=endpoint)
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert answer["verified"]
    assert [r["verdict"]["kind"] for r in answer["rounds"]] == ["rejected", "verified"]
    assert answer["rounds"][0]["reply"].strip() == "no code"
    assert answer["rounds"][1]["report"]["tests"] == {
        "test_calc.py::test_add": {"outcome": "passed", "seconds": pytest.approx(0, abs=5)}
    }
    assert answer["receipt"]["before"] == {"passed": 0, "total": 1}
    assert answer["diff"].startswith("--- a/calc.py\n+++ b/calc.py\n")


def test_not_verified_is_status_1_and_is_not_applied(project: Path, endpoint: Endpoint) -> None:
    endpoint.replies = [fenced("def add(a, b):\n    return 0\n")]
    done = run(project, "fix", "calc.py", "--rounds", "1", "--apply", endpoint=endpoint)
    assert done.returncode == 1
    assert "only what is verified is written" in done.stderr
    assert (project / "calc.py").read_text() == SOURCE


def test_generate_at_a_stub(project: Path, endpoint: Endpoint) -> None:
    (project / "calc.py").write_text("def add(a, b):\n    ...\n")
    done = run(project, "generate", "calc.py", "--at", "2", "--apply", endpoint=endpoint)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "calc.py").read_text() == RIGHT


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fix", "nowhere.py"], "There is no file nowhere.py"),
        (["fix", "calc.py::test_add"], "is not a test file"),
        (["fix", "calc.py", "--rounds", "0"], "oci.rounds is 0"),
        (["fix", "calc.py", "--model", "gpt-9", "--endpoint", ""], "gpt-9"),
        (
            ["fix", "calc.py", "--endpoint", "http://127.0.0.1:9/v1", "--interpreter", sys.executable],
            "127.0.0.1:9",
        ),
        (["fix", "calc.py", "--interpreter", "nowhere/python"], "nowhere/python"),
        (["generate", "calc.py", "--at", "1"], "nothing to write"),
        (["model", "pull", "gpt-9"], "gpt-9"),
    ],
)
def test_what_cannot_be_run_is_status_2_with_the_reason(
    project: Path, arguments: list[str], said: str
) -> None:
    done = run(project, *arguments)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_is_json_too(project: Path) -> None:
    answer = json.loads(run(project, "fix", "nowhere.py", "--json").stdout)
    assert answer["verified"] is False
    assert "nowhere.py" in answer["error"]


def test_a_source_in_src_is_found_from_the_project_s_folder(tmp_path: Path, endpoint: Endpoint) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "calc.py").write_text(SOURCE)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_calc.py").write_text("import sys\nsys.path.insert(0, 'src')\n" + TESTS)
    done = run(tmp_path, "fix", "src/calc.py", endpoint=endpoint)
    assert done.returncode == 0, done.stdout + done.stderr


def test_control_c_stops_everything(project: Path, endpoint: Endpoint) -> None:
    endpoint.pause = 0.5
    endpoint.replies = ["word " * 500]
    process = subprocess.Popen(
        command(project, "fix", "calc.py", endpoint=endpoint),
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert endpoint.streaming.wait(60)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "stopped" in errors
    assert endpoint.broken_off.wait(30), "the endpoint must see the client leave"
    assert (project / "calc.py").read_text() == SOURCE


def test_the_model_list_has_the_family_and_the_default(tmp_path: Path) -> None:
    listed = run(tmp_path, "model", "list").stdout
    assert sum(line.strip().startswith("oci-") for line in listed.splitlines()) == 11
    assert "qwen2.5-coder-1.5b-instruct (default)" in listed


def test_doctor_names_the_command_that_mends(tmp_path: Path) -> None:
    environment = {**os.environ, "OCI_COMPANION_HOME": str(tmp_path)}
    done = subprocess.run(
        command(tmp_path, "doctor"),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "oci-companion model pull qwen2.5-coder-1.5b-instruct" in done.stdout
