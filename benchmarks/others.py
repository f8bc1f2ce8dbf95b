"""Does the companion repair more than others with the same model, and in less time? aider, and one plain question.

Each takes its turn on each task before the next task begins, with the companion's own engine behind all of them:

- the companion finds the file from the failing tests, and gets its default rounds and replies;
- aider (`--auto-test`, whole files) is told which file to change, shown its tests and what pytest says, and lets its
  reflections go on as far as they do by default (three);
- one question shows the whole file, its tests and what pytest says, and the reply's last code block becomes the file.

Whether a task is repaired is plain pytest's word each time, sandboxed, on a copy of the project with the tests as they
were. aider itself runs the model's code unprotected: run this where that does no harm.

    python benchmarks/others.py --data quixbugs.jsonl --aider-python VENV/bin/python --results FILE.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx

from lsp_server.disk import fix_request, write
from lsp_server.evaluation.meter import MeteredEngine
from lsp_server.evaluation.statistics import Pairs, mcnemar
from lsp_server.evaluation.tasks import RepairTask, lay_out, read_tasks
from lsp_server.features.work import choose_engine, loop_options
from lsp_server.models import catalog
from lsp_server.refine.loop import refine
from lsp_server.refine.task import TaskError
from lsp_server.settings import Settings
from runner.request import TestRequest
from runner.tool import run_tool

CLI = (sys.executable, "-m", "lsp_server.cli")
AIDER_OPTIONS = (
    "--no-check-update --analytics-disable --no-show-model-warnings --no-show-release-notes --no-pretty --no-stream "
    "--yes-always --no-git --no-gitignore --no-suggest-shell-commands --map-tokens 0 --edit-format whole "
    "--auto-test"
)
TESTS_SECONDS = 20
"""For aider's runs of the tests, which it would wait for without end; our runner has a limit of 10 for each test."""
SAID = 1500
"""Characters of pytest's output that the plain question shows."""


@dataclass(frozen=True)
class Result:
    """What one of them did with one task."""

    task: str
    who: str
    repaired: bool
    seconds: float
    tokens: int
    """Written by the model."""
    damaged: tuple[str, ...] = ()
    """Files that were changed besides the one with the bug, and that one if it no longer parses."""


@dataclass(frozen=True)
class Setting:
    """Where all of them work."""

    interpreter: str
    """A Python with pytest."""
    aider: str
    """A Python with aider."""
    endpoint: dict[str, str]
    """Variables that name our engine."""
    seconds: float
    """For one task."""


def main() -> int:
    """Run what has not been run, with a line for each, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="repair tasks, one JSON object a line")
    parser.add_argument("--aider-python", type=Path, required=True, help="a Python with aider-chat")
    parser.add_argument("--interpreter", type=Path, default=Path(sys.executable), help="a Python with pytest")
    parser.add_argument("--results", type=Path, required=True, help="a file; what is in it is not run again")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="only the first N tasks")
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds for one task")
    options = parser.parse_args()
    # Absolute, and not resolved: an environment's python is a link that knows where it lies.
    python, aider_python = (str(path.absolute()) for path in (options.interpreter, options.aider_python))
    setting = Setting(python, aider_python, _endpoint(), options.time_limit)
    results = _done(options.results)
    tasks = read_tasks(options.data)[: options.first or None]
    if any(task.base for task in tasks):
        parser.error("only tasks with all of their files, please: the plain question shows them")
    for task in tasks:
        for who, attempt in WHO.items():
            if (task.id, who) not in results:
                result = results[task.id, who] = attempt(task, setting)
                with options.results.open("a") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
            _tell(results[task.id, who])
    _table({who: [results[task.id, who] for task in tasks] for who in WHO})
    return 0


def companion(task: RepairTask, setting: Setting) -> Result:
    """The loop on the failing tests, as `oci-companion fix --apply` has it, and what it verified written."""
    settings = replace(Settings(), interpreter=setting.interpreter, timeLimit=setting.seconds)
    engine = MeteredEngine(choose_engine(settings, print))
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder).resolve()
        lay_out(task, project)
        began = time.monotonic()
        try:
            request = fix_request(str(project / task.tests[0]), project)
            options = loop_options(project, settings)
            write(refine(request, engine, options, threading.Event(), lambda event: None))
        except TaskError as error:
            print(f"{task.id}: {error}")
        seconds = time.monotonic() - began
        written = sum(reply.reply_tokens for reply in engine.replies)
        return _judged(task, project, "companion", seconds, written, setting)


def aider(task: RepairTask, setting: Setting) -> Result:
    """aider, which edits the project and runs its tests."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as home:
        project = Path(folder)
        lay_out(task, project)
        pytest = [setting.interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", *task.tests]
        tests = shlex.join(["timeout", "--kill-after=1", str(TESTS_SECONDS), *pytest])
        command = [setting.aider, "-m", "aider", *AIDER_OPTIONS.split(), "--test-cmd", tests]
        command += [
            "--model",
            f"openai/{catalog.DEFAULT}",
            *(f"--read={test}" for test in task.tests),
            task.target,
        ]
        asked = f"The tests fail. pytest says:\n{_pytest(project, task, setting)[1][-SAID:]}\nCorrect {task.target}."
        command += ["--message", asked]
        closed = {"HTTPS_PROXY": "http://127.0.0.1:9", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        began = time.monotonic()
        said = ""
        try:
            run = subprocess.run(
                command,
                cwd=project,
                env={**os.environ, **setting.endpoint, **closed, "HOME": home},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=setting.seconds,
            )
            said = run.stdout
        except subprocess.TimeoutExpired as stopped:
            said = (stopped.stdout or b"").decode("utf-8", "replace")
        seconds = time.monotonic() - began
        written = sum(map(_number, re.findall(r"([\d.,]+k?) received", said)))
        return _judged(task, project, "aider", seconds, written, setting)


def question(task: RepairTask, setting: Setting) -> Result:
    """One question with all that there is to know, and the whole file as the answer."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        lay_out(task, project)
        began = time.monotonic()
        said = _pytest(project, task, setting)[1][-SAID:]
        shown = "\n\n".join(
            f"`{path}`:\n```python\n{task.files[path][:4000]}\n```" for path in (task.target, *task.tests)
        )
        asked = f"The tests of this project fail.\n\n{shown}\n\npytest says:\n```\n{said}\n```\n\n"
        asked += f"Give the corrected `{task.target}`, the whole file, in one ```python code block."
        body = {
            "model": catalog.DEFAULT,
            "messages": [{"role": "user", "content": asked}],
            "temperature": 0,
            "max_tokens": 1024,
        }
        answer = httpx.post(
            f"{setting.endpoint['OPENAI_BASE_URL']}/chat/completions",
            headers={"Authorization": f"Bearer {setting.endpoint['OPENAI_API_KEY']}"},
            json=body,
            timeout=setting.seconds,
            trust_env=False,
        ).json()
        blocks = re.findall(
            r"```(?:python)?\n(.*?)```", answer["choices"][0]["message"]["content"], re.DOTALL
        )
        if blocks:
            (project / task.target).write_text(blocks[-1], encoding="utf-8")
        seconds = time.monotonic() - began
        return _judged(task, project, "one question", seconds, answer["usage"]["completion_tokens"], setting)


WHO: dict[str, Callable[[RepairTask, Setting], Result]] = {
    "companion": companion,
    "aider": aider,
    "one question": question,
}


def _judged(
    task: RepairTask, project: Path, who: str, seconds: float, tokens: int, setting: Setting
) -> Result:
    """Run plain pytest on what became of the file, with all else as it was, and look for what else was changed."""
    made = _read(project / task.target)
    damaged = [
        path for path, text in task.files.items() if path != task.target and _read(project / path) != text
    ]
    try:
        compile(made, task.target, "exec")
    except (SyntaxError, ValueError):
        damaged.append(task.target)
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder)
        lay_out(task, clean)
        (clean / task.target).write_text(made, encoding="utf-8")
        return Result(task.id, who, _pytest(clean, task, setting)[0], seconds, tokens, tuple(damaged))


def _read(path: Path) -> str:
    """Return a file's text, or what is left of it; nothing if it is gone."""
    return path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""


def _pytest(project: Path, task: RepairTask, setting: Setting) -> tuple[bool, str]:
    request = TestRequest(project.resolve(), (), Path(setting.interpreter))
    command = [setting.interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", *task.tests]
    run = run_tool(request, command, threading.Event())
    return run.status == 0, run.output or "The tests did not end in time."


def _endpoint() -> dict[str, str]:
    """Start our engine, and return the variables that other programs find it by."""
    said = subprocess.run([*CLI, "serve", "--print-endpoint"], stdout=subprocess.PIPE, text=True, check=True)
    words = (line.removeprefix("export ").partition("=") for line in said.stdout.splitlines())
    return {name: shlex.split(value)[0] for name, _, value in words}


def _number(text: str) -> int:
    """Read a count as aider writes it: `831`, `1.2k`."""
    return int(float(text.rstrip("k").replace(",", "")) * (1000 if text.endswith("k") else 1))


def _done(results: Path) -> dict[tuple[str, str], Result]:
    if not results.is_file():
        return {}
    rows = map(json.loads, results.read_text().splitlines())
    return {(row["task"], row["who"]): Result(**{**row, "damaged": tuple(row["damaged"])}) for row in rows}


def _tell(result: Result) -> None:
    word = "repaired" if result.repaired else "-"
    damaged = f"  damaged: {', '.join(result.damaged)}" if result.damaged else ""
    print(
        f"{result.task:40} {result.who:13} {word:9} {result.seconds:6.1f} s {result.tokens:6} tokens{damaged}",
        flush=True,
    )


def _table(results: dict[str, list[Result]]) -> None:
    ours = results["companion"]
    print(f"\n{'':13} {'repaired':>9} {'all, s':>8} {'median, s':>10} {'tokens':>8} {'damaged':>8}")
    for who, theirs in results.items():
        seconds = [each.seconds for each in theirs]
        pairs = Pairs.counted((a.repaired, b.repaired) for a, b in zip(ours, theirs, strict=True))
        against = (
            ""
            if theirs is ours
            else f"  time x {sum(seconds) / sum(each.seconds for each in ours):.2f}, p = {mcnemar(pairs):.3f}"
        )
        print(
            f"{who:13} {sum(each.repaired for each in theirs):4} of {len(theirs):2} {sum(seconds):8.0f} "
            f"{statistics.median(seconds):10.1f} {sum(each.tokens for each in theirs):8} "
            f"{sum(bool(each.damaged) for each in theirs):8}{against}"
        )


if __name__ == "__main__":
    sys.exit(main())
