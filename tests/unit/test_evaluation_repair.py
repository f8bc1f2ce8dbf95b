"""Repair tasks with the real loop and runner, driven through their cases by scripted replies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_server.engine.client import Cost
from lsp_server.engine.protocol import EngineError, Message, Sampling
from lsp_server.evaluation.history import repairs, task_of
from lsp_server.evaluation.humaneval import failures, fixes
from lsp_server.evaluation.meter import SEEDS, MeteredEngine
from lsp_server.evaluation.outcome import TaskOutcome
from lsp_server.evaluation.repair import proven, run_tasks
from lsp_server.evaluation.run_folder import EvaluationError, RunFolder
from lsp_server.evaluation.tasks import NoTask, RepairTask, lay_out, read_tasks, write_tasks
from lsp_server.refine.loop import Cancelled
from lsp_server.settings import Settings, parse
from tests.unit.scripted import ScriptedEngine, fenced

CALC = "def add(a, b):\n    return a - b\n"
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a * b + 1\n"
TEST = "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
TASK = RepairTask(
    "add", {"calc.py": CALC, "test_calc.py": TEST}, ("test_calc.py",), "calc.py", {"calc.py": RIGHT}
)


class Costing(ScriptedEngine):
    """Scripted replies that tell what they cost, unless they are cut."""

    last_cost: Cost | None = None

    def stream(self, messages: list[Message], sampling: Sampling, cancel: threading.Event) -> Iterator[str]:
        yield from super().stream(messages, sampling, cancel)
        self.last_cost = Cost(prompt_tokens=100, completion_tokens=7)


def settings(**changes: Any) -> Settings:
    plain = ["-p", "no:hypothesispytest", "-p", "no:asyncio", "-p", "no:pytest-lsp", "-p", "no:anyio"]
    given = {"interpreter": sys.executable, "testArgs": plain, "testTimeout": 3, "candidates": 1}
    made, problems = parse({**given, **changes})
    assert not problems
    return made


def run(
    tasks: list[RepairTask], folder: RunFolder, *replies: str, **changes: Any
) -> tuple[list[TaskOutcome], Costing]:
    engine, shown = Costing(*replies), []
    run_tasks(tasks, settings(**changes), lambda: engine, folder, threading.Event(), shown.append)
    return shown, engine


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.begin(tmp_path / "run", {"kind": "repair"})


def test_a_repair_in_the_second_round(folder: RunFolder) -> None:
    [outcome], _ = run([TASK], folder, fenced(WRONG), fenced(RIGHT))
    assert outcome.passed and outcome.outside is True and outcome.round == 2
    assert [(a.round, a.passed) for a in outcome.attempts] == [(1, False), (2, True)]
    assert "test_add" in outcome.attempts[0].reason or "still fail" in outcome.attempts[0].reason
    assert outcome.detail["found"] is True
    assert "+    return a + b" in outcome.detail["diff"]
    assert folder.outcomes()["add"].attempts == outcome.attempts
    [row] = map(json.loads, (folder.path / "conversations.jsonl").read_text().splitlines())
    assert [message["role"] for message in row["messages"]] == ["user", "assistant", "user", "assistant"]
    assert row["messages"][2]["content"].startswith("Execution result: \n")


def test_what_is_not_repaired_is_told_with_its_reason(folder: RunFolder) -> None:
    [outcome], _ = run([TASK], folder, fenced(WRONG), rounds=1)
    assert not outcome.passed and outcome.outside is None and outcome.round is None
    assert outcome.detail["verdict"] in ("rejected", "partial") and outcome.detail["reason"]


def test_a_wrong_claim_is_seen(folder: RunFolder) -> None:
    """A second file of tests, that the loop does not know of, fails with what the first one verifies."""
    hidden = "from calc import add\n\n\ndef test_hidden():\n    assert add(1, 1) == 2\n"
    files = {**TASK.files, "hidden/check_more.py": hidden}
    task = RepairTask("add", files, ("test_calc.py", "hidden/check_more.py"), "calc.py")
    special = "def add(a, b):\n    return 5\n"
    [outcome], _ = run([task], folder, fenced(special))
    assert outcome.passed and outcome.outside is False


def test_a_task_whose_tests_pass_is_not_tried(folder: RunFolder) -> None:
    task = RepairTask("fine", {"calc.py": RIGHT, "test_calc.py": TEST}, ("test_calc.py",), "calc.py")
    [outcome], engine = run([task], folder)
    assert "none fails" in outcome.error and not outcome.passed and not engine.asked


def test_a_run_goes_on_where_it_was_stopped(folder: RunFolder) -> None:
    other = RepairTask("other", TASK.files, TASK.tests, TASK.target)

    class Down(Costing):
        def stream(self, *arguments: Any) -> Iterator[str]:
            raise EngineError("the endpoint is down")

    engines = iter([Costing(fenced(RIGHT)), Down()])
    with pytest.raises(EngineError, match="down"):
        run_tasks([TASK, other], settings(), lambda: next(engines), folder, threading.Event(), lambda o: None)
    shown, _ = run([TASK, other], folder, fenced(RIGHT))
    assert [outcome.id for outcome in shown] == ["other"]
    assert set(folder.outcomes()) == {"add", "other"}


def test_cancelling_keeps_what_was_done(folder: RunFolder) -> None:
    cancel = threading.Event()
    tasks = [TASK, RepairTask("other", TASK.files, TASK.tests, TASK.target)]
    with pytest.raises(Cancelled):
        run_tasks(tasks, settings(), lambda: Costing(fenced(RIGHT)), folder, cancel, lambda o: cancel.set())
    assert list(folder.outcomes()) == ["add"]


def test_several_tasks_at_once(folder: RunFolder) -> None:
    """Both replies are waited for together: neither comes before both were asked for."""
    both = threading.Barrier(2, timeout=60)

    class Waiting(Costing):
        def stream(self, *arguments: Any) -> Iterator[str]:
            both.wait()
            yield from super().stream(*arguments)

    tasks = [TASK, RepairTask("other", TASK.files, TASK.tests, TASK.target)]
    run_tasks(
        tasks, settings(), lambda: Waiting(fenced(RIGHT)), folder, threading.Event(), lambda o: None, jobs=2
    )
    assert all(outcome.passed for outcome in folder.outcomes().values())


def test_replies_are_counted_also_if_they_were_cut() -> None:
    class Counting(Costing):
        def count(self, messages: list[Message], cancel: threading.Event) -> int:
            return sum(len(message.content) for message in messages)

    metered = MeteredEngine(Counting("four", "cut off"), seed=10)
    asked = [Message("user", "why?")]
    assert "".join(metered.stream(asked, Sampling(seed=1), threading.Event())) == "four "
    pieces = metered.stream(asked, Sampling(), threading.Event())
    first = next(pieces)
    pieces.close()
    whole, cut = metered.replies
    assert (whole.prompt_tokens, whole.reply_tokens, whole.sampling.seed) == (100, 7, 1 + 10 * SEEDS)
    assert (cut.text, cut.prompt_tokens, cut.reply_tokens) == (first, 4, len(first))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"id": "a", "tests": ["t.py"], "target": "a.py"}, "files"),
        ({"id": "a", "files": {"../x.py": ""}, "tests": ["t.py"], "target": "a.py"}, "outside"),
        ({"id": "a", "files": {"/x.py": ""}, "tests": ["t.py"], "target": "a.py"}, "outside"),
        ({"id": "a", "files": {}, "tests": [], "target": "a.py"}, "no tests"),
    ],
)
def test_a_line_that_is_no_task_is_told(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    (tmp_path / "tasks.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(EvaluationError, match=why):
        read_tasks(tmp_path / "tasks.jsonl")


def test_tasks_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert write_tasks(tmp_path / "tasks.jsonl", [TASK]) == 1
    assert read_tasks(tmp_path / "tasks.jsonl") == [TASK]
    odd = RepairTask("odd", {"a.py": "x = '\u2028\x85'\n"}, ("t.py",), "a.py")
    write_tasks(tmp_path / "odd.jsonl", [odd])
    assert read_tasks(tmp_path / "odd.jsonl") == [odd]
    (tmp_path / "tasks.jsonl").write_text((tmp_path / "tasks.jsonl").read_text() * 2)
    with pytest.raises(EvaluationError, match="two tasks of one id"):
        read_tasks(tmp_path / "tasks.jsonl")


def test_what_is_seen_to_be_no_task() -> None:
    assert proven(TASK, settings(), threading.Event()).tests == ("test_calc.py",)
    for files, solution, why in [
        ({"calc.py": RIGHT, "test_calc.py": TEST}, {"calc.py": RIGHT}, "pass without"),
        (TASK.files, {"calc.py": WRONG}, "fails with the repair"),
        ({**TASK.files, "test_calc.py": "import missing_module"}, {"calc.py": RIGHT}, "cannot be run"),
    ]:
        with pytest.raises(NoTask, match=why):
            proven(
                RepairTask("no", files, ("test_calc.py",), "calc.py", solution), settings(), threading.Event()
            )


ROW = {
    "task_id": "Python/0",
    "declaration": "def helper(x):\n    return x\n\n\ndef double(x):\n",
    "buggy_solution": "    return helper(x) * 3\n",
    "canonical_solution": "    return helper(x) * 2\n",
    "import": "",
    "test_setup": "",
    "test": "def check(double):\n    assert helper(1) == 1\n    assert double(2) == 4\n\ncheck(double)",
    "entry_point": "double",
}


def test_humanevalfix(tmp_path: Path, folder: RunFolder) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    [task] = fixes(tmp_path / "rows.jsonl")
    assert not task.files["test_solution.py"].rstrip().endswith("\ncheck(double)\n")
    task = proven(task, settings(), threading.Event())
    [outcome], engine = run([task], folder, fenced("def double(x):\n    return helper(x) * 2\n"))
    assert outcome.passed and outcome.outside is True and outcome.detail["region"] == "double"
    assert "* 2" not in engine.asked[0][0][-1].content, "the solution must not be shown"
    (tmp_path / "rows.jsonl").write_text('{"task_id": "x"}\n')
    with pytest.raises(EvaluationError, match="lacks declaration"):
        fixes(tmp_path / "rows.jsonl")


def test_what_a_model_got_wrong(tmp_path: Path, folder: RunFolder) -> None:
    """The second problem was solved, the third has no code, the fourth brings a function that the reply leaves out."""
    prompt = 'def double(x):\n    """Twice x."""\n'
    test = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 6\n"
    row = {
        "prompt": prompt,
        "canonical_solution": "    return 2 * x\n",
        "test": test,
        "entry_point": "double",
    }
    helper = f"def helper(x):\n    return x + x\n\n\n{prompt}"
    checked = test.replace("4", "helper(2)")
    rows = [{**row, "task_id": f"P/{n}"} for n in range(3)]
    rows.append({**row, "task_id": "P/3", "prompt": helper, "test": checked})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    wrong = prompt + "    return x * x\n"

    def outcome(number: int, solution: str, base: str) -> TaskOutcome:
        rounds = [{"solution": solution, "base": base}, {"solution": "", "base": "fail"}]
        return TaskOutcome(f"P/{number}", (), passed=False, detail={"rounds": rounds})

    given = (
        outcome(0, wrong, "fail"),
        outcome(1, prompt, "pass"),
        outcome(2, "", "fail"),
        outcome(3, wrong, "fail"),
    )
    tasks = failures(tmp_path / "rows.jsonl", {each.id: each for each in given})
    assert [task.id for task in tasks] == ["P/0", "P/3"]
    tasks = [proven(task, settings(), threading.Event()) for task in tasks]
    right = fenced(prompt + "    return x + x\n")
    done, engine = run(tasks, folder, right, right)
    assert all(each.passed and each.outside for each in done)
    assert "return x * x" in engine.asked[0][0][-1].content


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Return a function that commits files and returns the commit's id."""
    root = tmp_path / "repository"
    root.mkdir()

    def git(*arguments: str) -> str:
        named = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *named, *arguments], cwd=root, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main")

    def commit(message: str, files: dict[str, str]) -> str:
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git("add", "-A")
        git("commit", "-q", "-m", message)
        return git("rev-parse", "HEAD")

    yield commit


def test_a_history(tmp_path: Path, repository: Callable[..., str], folder: RunFolder) -> None:
    code, tests = "src/shop/calc.py", "tests/test_calc.py"
    first = "from shop.calc import add\n\n\ndef test_zero():\n    assert add(2, 0) == 2\n"
    both = first + "\n\ndef test_add():\n    assert add(2, 3) == 5\n"
    repository("begin", {"src/shop/__init__.py": "", code: CALC, tests: first})
    repository("a test alone", {"tests/test_other.py": "def test_other():\n    pass\n"})
    repository("two files", {code: CALC + "\n", "src/shop/more.py": "x = 1\n", tests: first + "\n"})
    fixed = repository("add adds", {code: RIGHT, tests: both})
    repository("layout", {code: RIGHT + "\n", tests: both + "\n"})
    more = "from shop.calc import sub\n\n\ndef test_sub():\n    assert sub(2, 3) == -1\n"
    repository("sub", {code: RIGHT + "\n\ndef sub(a, b):\n    return a - b\n", "tests/test_sub.py": more})
    root = tmp_path / "repository"
    found = list(repairs(root))
    assert [each.subject for each in found] == ["sub", "layout", "add adds"]
    with pytest.raises(NoTask, match="it adds `sub`"):
        task_of(root, found[0])
    with pytest.raises(NoTask, match="pass without"):
        proven(task_of(root, found[1]), settings(), threading.Event())
    task = proven(task_of(root, found[2]), settings(), threading.Event())
    assert task.base is not None and task.base.commit == fixed
    assert task.target == "src/shop/calc.py" and task.tests == ("tests/test_calc.py",)
    [outcome], engine = run([task], folder, fenced(RIGHT))
    assert outcome.passed and outcome.outside is True and outcome.detail["found"] is True
    assert "return a + b" not in engine.asked[0][0][-1].content, "the solution must not be shown"


def test_nothing_of_a_repository_runs_outside_the_sandbox(
    tmp_path: Path, repository: Callable[..., str], folder: RunFolder
) -> None:
    """Neither a module that every Python loads, nor an interpreter that lies in the project, nor a filter of git's."""
    ran = tmp_path / "ran"
    tell = f"#!/bin/sh\necho outside >> {ran}\ncat\n"
    files = {
        "calc.py": CALC,
        "sitecustomize.py": f"open({str(ran)!r}, 'a').write('outside')\n",
        ".venv/bin/python": tell,
        ".gitattributes": "*.py filter=x\nnot_tests.py export-ignore\ntest_calc.py export-ignore\n",
    }
    repository("begin", files)
    root = tmp_path / "repository"
    (root / ".venv/bin/python").chmod(0o755)
    (tmp_path / "filter").write_text(tell)
    (tmp_path / "filter").chmod(0o755)
    subprocess.run(["git", "config", "filter.x.smudge", str(tmp_path / "filter")], cwd=root, check=True)
    repository("add adds", {"calc.py": RIGHT, "test_calc.py": TEST})
    task = proven(task_of(root, next(repairs(root))), settings(), threading.Event())
    [outcome], _ = run([task], folder, fenced(RIGHT))
    assert outcome.passed and outcome.outside is True, (
        "and the tests are there, whatever is left out of archives"
    )
    assert not ran.exists(), ran.read_text()
    with pytest.raises(EvaluationError, match="--interpreter"):
        proven(task, settings(interpreter=""), threading.Event())


def test_modules_beside_a_target_do_not_take_the_standard_librarys_place(
    tmp_path: Path, repository: Callable[..., str]
) -> None:
    test = "from ns.types import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
    repository("begin", {"ns/types.py": CALC})
    repository("add adds", {"ns/types.py": RIGHT, "tests/test_types.py": test})
    root = tmp_path / "repository"
    assert proven(task_of(root, next(repairs(root))), settings(), threading.Event())


def test_odd_histories(tmp_path: Path, repository: Callable[..., str]) -> None:
    root = tmp_path / "repository"
    repository("Fix f in [/api] \x1b[31m", {"calc.py": CALC, "text.py": "x = 1\n"})
    (root / os.fsdecode(b"caf\xe9.py")).write_text("")
    (root / "out.py").symlink_to("/etc/passwd")
    (root / "in.py").symlink_to("calc.py")
    (root / "latin.py").write_bytes(b"x = '\xe9'\n")
    repository("names and links", {})
    (root / "latin.py").write_bytes(b"x = '\xe8'\n")
    repository("not UTF-8", {"test_latin.py": ""})
    fixed = repository("add adds", {"calc.py": RIGHT, "test_calc.py": TEST})
    found = list(repairs(root))
    assert [each.subject for each in found] == ["add adds", "not UTF-8"]
    with pytest.raises(NoTask, match="UTF-8"):
        task_of(root, found[1])
    out = tmp_path / "out"
    out.mkdir()
    lay_out(task_of(root, found[0]), out)
    assert found[0].id == fixed
    assert (out / "calc.py").read_text() == CALC and (out / "in.py").read_text() == CALC
    assert not os.path.lexists(out / "out.py") and not (out / ".git").exists()
    assert (out / os.fsdecode(b"caf\xe9.py")).exists()
    assert list(repairs(root)) == found and next(repairs(root)) == found[0], (
        "and it may be left in the middle"
    )


@pytest.mark.parametrize("files", [{"a": "", "a/b.py": ""}, {".": ""}, {"a.py": "\ud800"}])
def test_files_that_cannot_be_written_are_told(tmp_path: Path, files: dict[str, str]) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(EvaluationError, match="cannot be written"):
        lay_out(RepairTask("odd", files, ("t.py",), "a.py"), tmp_path / "out")


def test_a_task_that_could_not_be_tried_is_tried_again(folder: RunFolder) -> None:
    fine = RepairTask("add", {"calc.py": RIGHT, "test_calc.py": TEST}, ("test_calc.py",), "calc.py")
    [outcome], _ = run([fine], folder)
    assert outcome.error
    [outcome], _ = run([TASK], folder, fenced(RIGHT))
    assert outcome.passed and folder.outcomes()["add"].passed


def test_no_history_and_no_commit_are_told(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="git"):
        list(repairs(tmp_path))
    task = RepairTask("x", {}, ("t.py",), "a.py", {}, None)
    (tmp_path / "out").mkdir()
    lay_out(task, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
