"""EvalPlus at work on one problem: its expected outputs, its sanitizer, its evaluator; and the official check.

What is asked lies in `request.json` in the working folder, the problems in `problems.jsonl` beside it; what comes of it
is written to standard output, a JSON object a line.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import json
import multiprocessing
import os
import pickle
import sys
import tempfile
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

REQUEST, PROBLEMS = "request.json", "problems.jsonl"
_truths: dict[str, Any] = {}
"""Expected outputs, by problem."""
_OVERRIDES = ("HUMANEVAL_OVERRIDE_PATH", "MBPP_OVERRIDE_PATH")


def main() -> None:
    """Do what is asked, and end without waiting for threads that EvalPlus leaves behind."""
    try:
        _main()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _main() -> None:
    multiprocessing.set_start_method("fork")
    say = _speaker()
    request = json.loads(Path(REQUEST).read_text(encoding="utf-8"))
    for name in _OVERRIDES:
        os.environ[name] = str(Path(PROBLEMS).resolve())
    # EvalPlus imports it for another benchmark's data, which would bring a hundred packages along.
    datasets: Any = types.ModuleType("datasets")
    datasets.load_dataset = None
    sys.modules["datasets"] = datasets
    with contextlib.redirect_stdout(io.StringIO()):
        if request["do"] == "truth":
            _truth(request, say)
        else:
            _score(request, say)


def _speaker() -> Callable[[dict[str, Any]], None]:
    """Keep standard output for what is reported: solutions write to nowhere."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.register_at_fork(after_in_child=lambda: os.dup2(nowhere, out.fileno()))

    def say(row: dict[str, Any]) -> None:
        out.write(json.dumps(row) + "\n")
        out.flush()

    return say


def _problems(dataset: str) -> dict[str, Any]:
    from evalplus.data import (  # type: ignore[import-not-found,unused-ignore]
        get_human_eval_plus,
        get_mbpp_plus,
    )

    found: dict[str, Any] = get_human_eval_plus() if dataset == "humaneval" else get_mbpp_plus()
    return found


def _truth(request: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    """Have EvalPlus compute what each canonical solution returns, and keep it as it keeps it, problem by problem."""
    from evalplus import evaluate  # type: ignore[import-not-found,unused-ignore]

    lines = Path(PROBLEMS).read_bytes().splitlines(keepends=True)
    for line, (name, problem) in zip(lines, _problems(request["dataset"]).items(), strict=True):
        digest = hashlib.md5(line).hexdigest()
        with tempfile.TemporaryDirectory(dir=request["folder"]) as folder:
            evaluate.CACHE_DIR = folder
            not_none = evaluate.MBPP_OUTPUT_NOT_NONE_TASKS if request["dataset"] == "mbpp" else []
            evaluate.get_groundtruth({name: problem}, digest, not_none)
            kept = f"{digest}.pkl"
            Path(folder, kept).replace(Path(request["folder"], kept))
        say({"truth": name})


def _score(request: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    from evalplus import evaluate
    from evalplus.sanitize import sanitize  # type: ignore[import-not-found,unused-ignore]

    dataset = request["dataset"]
    ((name, problem),) = _problems(dataset).items()
    solution = sanitize(request["reply"].strip(), problem["entry_point"]).strip()
    say({"solution": solution})
    digest = hashlib.md5(Path(PROBLEMS).read_bytes()).hexdigest()
    with Path(request["folder"], f"{digest}.pkl").open("rb") as file:
        _truths.update(pickle.load(file))
    # Some are gigabytes, which collections of garbage in the processes forked from this one would copy.
    gc.freeze()
    if request["check"]:
        say({"check": _check(request, problem, solution, _truths[name])})
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder, "samples.jsonl")
        samples.write_text(json.dumps({"task_id": name, "solution": solution}) + "\n", encoding="utf-8")
        evaluate.get_groundtruth = lambda *arguments: dict.fromkeys(_truths)
        _check_correctness.theirs = evaluate.check_correctness
        evaluate.check_correctness = _check_correctness
        evaluate.tqdm = lambda each, **options: each
        evaluate.evaluate(
            dataset,
            str(samples),
            parallel=1,
            min_time_limit=request["min_seconds"],
            gt_time_limit_factor=request["factor"],
        )
        results = json.loads(Path(folder, "samples_eval_results.json").read_text(encoding="utf-8"))
        (result,) = results["eval"][name]
        say({"base": result["base_status"], "plus": result["plus_status"]})


class _CheckCorrectness:
    """EvalPlus' function of that name, given the expected outputs by its process's memory instead of a pipe."""

    theirs: Callable[..., Any]

    def __call__(
        self, dataset: str, number: int, problem: dict[str, Any], solution: str, truth: None, *options: Any
    ) -> Any:
        return self.theirs(dataset, number, problem, solution, _truths[problem["task_id"]], *options)

    def __reduce__(self) -> str:
        return "_check_correctness"  # the forked process has it


_check_correctness = _CheckCorrectness()


def _check(
    request: dict[str, Any], problem: dict[str, Any], solution: str, truth: dict[str, Any]
) -> dict[str, Any]:
    """Check a solution on the base inputs, or on these and the further ones, and join what is said of both.

    The way of joining is the official script's (gen_plus_solution_multiround.py).
    """
    from .official_check import UNEXPECTED, check

    def run(kind: str) -> Any:
        return check(
            request["dataset"],
            solution,
            problem["entry_point"],
            problem[f"{kind}_input"],
            truth[kind],
            [max(request["min_seconds"], request["factor"] * each) for each in truth[f"{kind}_time"]],
            problem["atol"],
        )

    base = run("base")
    if request["check"] == "base":
        return {"passed": base.passed, "feedback": base.feedback}
    plus = run("plus")
    feedback = base.feedback
    if base.passed:
        feedback = plus.feedback
    elif UNEXPECTED in feedback and not plus.passed:
        feedback += "\n" + plus.feedback
    return {"passed": base.passed and plus.passed, "feedback": feedback}
