"""`oci-companion eval humaneval …` as a user runs it; the model and the author of feedback are scripted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_server.evaluation import scoring
from lsp_server.models import export_env, store
from tests import tiny_benchmark as tiny
from tests.protocol.endpoint import Endpoint, fenced

WRONG, RIGHT = fenced(tiny.attempt(tiny.ADD, "    return a - b")), fenced(tiny.solved(tiny.ADD))
FEEDBACK = "The results aren't as expected.\nInput: [2, 3]\nExpected Output: 5\nActual Output: -1"


@pytest.fixture(scope="module", autouse=True)
def environment() -> None:
    """EvalPlus' environment, made by the companion's own code if it is not there."""
    export_env.ensure(scoring.ENVIRONMENT, print, threading.Event())


@pytest.fixture
def model() -> Iterator[Endpoint]:
    served = Endpoint(WRONG, RIGHT)
    yield served
    served.close()


@pytest.fixture
def author() -> Iterator[Endpoint]:
    served = Endpoint("Mind the sign.")
    yield served
    served.close()


def command(folder: Path, *arguments: str, model: Endpoint | None = None) -> list[str]:
    where = ["--endpoint", model.url, "--model", "scripted"] if model else []
    output = ["--output", str(folder / "run")]
    return [sys.executable, "-m", "lsp_server.cli", "eval", *arguments, *where, *output]


def run(folder: Path, *arguments: str, model: Endpoint | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *arguments, model=model), capture_output=True, text=True, check=False
    )


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / name).read_text().splitlines()]


def asked(endpoint: Endpoint) -> list[list[dict[str, str]]]:
    return [each["messages"] for each in endpoint.asked]


def first_prompt() -> str:
    return (
        "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable "
        "responses to user instructions.\n\n@@ Instruction\nHere is the given code to do completion:\n```python\n"
        f"{tiny.ADD['prompt'].strip()}\n```\nPlease continue to complete the function with python programming "
        "language. You are not allowed to modify the given code and do the completion only. \n\nPlease return all "
        "completed codes in one code block. \nThis code block should be in the following format:\n```python\n"
        "# Your codes here\n```\n\n@@ Response"
    )


def test_two_rounds_with_execution_feedback(tmp_path: Path, model: Endpoint) -> None:
    data = tiny.write(tmp_path / "data.jsonl.gz", tiny.ADD)
    done = run(tmp_path, "humaneval", "--feedback", "execution", "--data", str(data), model=model)
    assert done.returncode == 0, done.stderr
    reply = WRONG + " "  # the endpoint ends every word with a blank
    second = first_prompt() + f"\n{reply}\n\n@@ Instruction\nExecution result: \n{FEEDBACK}\n"
    assert asked(model) == [
        [{"role": "user", "content": first_prompt()}],
        [{"role": "user", "content": second}],
    ]
    assert [(each["temperature"], each["max_tokens"]) for each in model.asked] == [(0.0, 1024)] * 2
    (outcome,) = rows(tmp_path, "outcomes.jsonl")
    assert [attempt["passed"] for attempt in outcome["attempts"]] == [False, True]
    assert outcome["passed"]
    assert outcome["passed_plus"]
    assert rows(tmp_path, "conversations.jsonl") == [
        {
            "id": "Tiny/1",
            "messages": [
                {"role": "user", "content": first_prompt()},
                {"role": "assistant", "content": reply},
                {"role": "user", "content": f"Execution result: \n{FEEDBACK}"},
                {"role": "assistant", "content": RIGHT + " "},
            ],
        }
    ]
    table = (tmp_path / "run" / "table.md").read_text()
    assert "| scripted | 0.0 (0.0) |" in table
    assert "| + Execution Feedback | 100.0 (100.0) |" in table
    assert "+ Execution Feedback" in done.stdout
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["versions"]["evalplus"] == "0.3.1"
    assert manifest["model"] == {"id": "scripted", "endpoint": model.url}
    assert (manifest["prompts"], manifest["feedback"], manifest["rounds"]) == ("official", "execution", 2)


@pytest.mark.parametrize("kind", ["human", "oracle"])
def test_feedback_by_an_author(tmp_path: Path, model: Endpoint, author: Endpoint, kind: str) -> None:
    data = tiny.write(tmp_path / "data.jsonl", tiny.ADD)
    by = ["--author-endpoint", author.url, "--author-model", "scripted"]
    done = run(tmp_path, "humaneval+", "--feedback", kind, *by, "--data", str(data), model=model)
    assert done.returncode == 0, done.stderr
    ((system, question),) = asked(author)
    assert system == {"role": "system", "content": "You are a helpful assistant."}
    further = "The results aren't as expected.\nInput: [-1, 1]\nExpected Output: 0\nActual Output: -2"
    solution = tiny.attempt(tiny.ADD, "    return a - b").strip()
    told = f"@@Existing Code\n{solution}\n\n@@Execution Result\n{FEEDBACK}\n{further}\n\n"
    assert told in question["content"]
    assert ("@@Canonical Solution\n    return a + b\n" in question["content"]) == (kind == "oracle")
    second = first_prompt() + f"\n{WRONG} \n\n@@ Instruction\nMind the sign. \n"
    assert asked(model)[1] == [{"role": "user", "content": second}]
    label = {"human": "+ Synth. Human Feedback", "oracle": "+ Synth. Human Feedback (Oracle)"}[kind]
    assert f"| {label} | 100.0 (100.0) |" in (tmp_path / "run" / "table.md").read_text()


def test_mbpp_in_one_round(tmp_path: Path, model: Endpoint) -> None:
    model.replies = [fenced("def square(n):\n    return n * abs(n)\n")]
    done = run(
        tmp_path, "mbpp+", "--data", str(tiny.write(tmp_path / "data.jsonl", tiny.SQUARE)), model=model
    )
    assert done.returncode == 0, done.stderr
    assert len(model.asked) == 1
    assert "| scripted | 100.0 (0.0) |" in (tmp_path / "run" / "table.md").read_text()


def test_the_companions_form(tmp_path: Path, model: Endpoint) -> None:
    data = tiny.write(tmp_path / "data.jsonl", tiny.ADD)
    options = ["--feedback", "execution", "--prompts", "companion", "--data", str(data)]
    done = run(tmp_path, "humaneval", *options, model=model)
    assert done.returncode == 0, done.stderr
    _, second = asked(model)
    assert [each["role"] for each in second] == ["user", "assistant", "user"]
    assert second[2]["content"] == f"Execution result: \n{FEEDBACK}"


def test_a_run_that_was_killed_goes_on(tmp_path: Path, model: Endpoint) -> None:
    rest = [{**tiny.ADD, "task_id": f"Tiny/{number}"} for number in range(2, 5)]
    data = tiny.write(tmp_path / "data.jsonl", tiny.ADD, *rest)
    model.replies, model.pause = [RIGHT], 0.02
    arguments = command(tmp_path, "humaneval", "--data", str(data), model=model)
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, start_new_session=True) as killed:
        outcomes = tmp_path / "run" / "outcomes.jsonl"
        until(lambda: outcomes.is_file() and len(model.asked) > 1)
        os.killpg(killed.pid, signal.SIGKILL)
    before = len(rows(tmp_path, "outcomes.jsonl"))
    assert 0 < before < 4
    with outcomes.open("a") as file:
        file.write('{"id": "Tiny/')  # half a line, as a kill leaves it
    asked_before = len(model.asked)
    done = run(tmp_path, "humaneval", "--data", str(data), model=model)
    assert done.returncode == 0, done.stderr
    assert [each["id"] for each in rows(tmp_path, "outcomes.jsonl")] == [f"Tiny/{n}" for n in range(1, 5)]
    assert len(model.asked) == asked_before + 4 - before


def test_ctrl_c_stops_cleanly(tmp_path: Path, model: Endpoint) -> None:
    second = {**tiny.ADD, "task_id": "Tiny/2"}
    data = tiny.write(tmp_path / "data.jsonl", tiny.ADD, second)
    model.replies = [RIGHT, "x " * 10000]
    model.pause = 0.01
    arguments = command(tmp_path, "humaneval", "--data", str(data), model=model)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as stopped:
        until(lambda: len(model.asked) > 1)
        stopped.send_signal(signal.SIGINT)
        output, errors = stopped.communicate(timeout=30)
    assert stopped.returncode == 2
    assert errors == ""
    assert "Stopped: the same command goes on from here." in output
    assert [each["id"] for each in rows(tmp_path, "outcomes.jsonl")] == ["Tiny/1"]


def test_only_some_tasks(tmp_path: Path, model: Endpoint) -> None:
    data = tiny.write(tmp_path / "data.jsonl", tiny.HALVE, tiny.ADD)
    model.replies = [RIGHT]
    assert run(tmp_path, "humaneval", "--data", str(data), "--only", "add", model=model).returncode == 0
    assert [each["id"] for each in rows(tmp_path, "outcomes.jsonl")] == ["Tiny/1"]


def test_another_run_does_not_go_on_in_a_folder(tmp_path: Path, model: Endpoint) -> None:
    data = tiny.write(tmp_path / "data.jsonl", tiny.ADD)
    model.replies = [RIGHT]
    assert run(tmp_path, "humaneval", "--data", str(data), model=model).returncode == 0
    tiny.write(data, tiny.HALVE)
    done = run(tmp_path, "humaneval", "--data", str(data), model=model)
    assert done.returncode == 2
    assert "holds another run, which differs in data: choose another folder" in done.stderr


def test_a_dry_run_asks_nobody(tmp_path: Path, model: Endpoint) -> None:
    data = tiny.write(tmp_path / "data.jsonl", tiny.ADD)
    done = run(tmp_path, "humaneval+", "--dry-run", "--data", str(data), model=model)
    assert done.returncode == 0, done.stderr
    assert "humaneval+: 1 problems, official prompts, feedback: none, 1 rounds at most" in done.stdout
    assert model.asked == []
    assert not (tmp_path / "run").exists()


def test_a_dry_run_downloads_nothing(
    tmp_path: Path, model: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCI_COMPANION_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HUMANEVAL_OVERRIDE_PATH", raising=False)
    done = run(tmp_path, "humaneval+", "--dry-run", model=model)
    assert done.returncode == 0, done.stderr
    assert "Would download https://" in done.stdout and "--data" in done.stdout
    assert not list(tmp_path.rglob("*.gz"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--feedback", "oracle"], "--feedback oracle needs its author: --author-endpoint URL"),
        (["--rounds", "3"], "Further rounds need something to go by"),
        (["--limit", "-1"], "take numbers above 0"),
        (["--data", "nowhere.jsonl"], "There is no file nowhere.jsonl, which --data names"),
        (["--model", "nothing"], "nothing"),
        (["--model", "oci-ds-33b"], "oci-companion model pull oci-ds-33b"),
        (["--endpoint", "http://127.0.0.1:9"], "--model ID"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.setenv("HUMANEVAL_OVERRIDE_PATH", str(tiny.write(tmp_path / "data.jsonl", tiny.ADD)))
    done = run(tmp_path, "humaneval", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_offline_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Endpoint) -> None:
    monkeypatch.delenv("MBPP_OVERRIDE_PATH", raising=False)
    monkeypatch.setenv(store.HOME_VARIABLE, str(tmp_path / "home"))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    done = run(tmp_path, "mbpp", model=model)
    assert done.returncode == 2
    assert "--data FILE or MBPP_OVERRIDE_PATH" in done.stderr
    assert "Traceback" not in done.stderr


def until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
