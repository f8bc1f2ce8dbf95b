"""EvalPlus in an environment and a sandbox of its own: sanitizer, evaluator and the official check of solutions."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from lsp_server.evaluation.problems import Dataset, Problem
from lsp_server.evaluation.run_folder import EvaluationError
from lsp_server.models import export_env
from lsp_server.models.export_env import Environment, Step
from runner.request import Limits, Sandboxing, TestRequest
from runner.tool import ToolRun, run_tool

VERSION = "0.3.1"
"""Its evaluator passes no solution of HumanEval/32, `find_zero`, whose results it compares and does not count: 163 of
164 is the most that there is."""
ENVIRONMENT = Environment(
    "EvalPlus' environment",
    "evalplus-env",
    1 << 30,
    (
        "appdirs==1.4.4",
        "numpy==2.4.6",
        "psutil==7.2.2",
        "rich==15.0.0",
        "tempdir==0.7.1",
        "termcolor==3.3.0",
        "tqdm==4.70.1",
        "tree-sitter==0.26.1",
        "tree-sitter-python==0.25.0",
        "wget==3.2",
    ),
    alone=(f"evalplus=={VERSION}",),
)
"""What its evaluator and sanitizer import: without the models' clients, transformers and datasets that it asks for."""
MIN_SECONDS, FACTOR = 1.0, 4.0
"""Time limit of a call: so many times what the canonical solution takes, and not less than so long; EvalPlus' own."""
AT_ONCE = 20
"""Problems whose expected outputs are computed in one run."""
_LIMITS = Limits(wall_seconds=300.0, cpu_seconds=300, memory_bytes=4 << 30, file_bytes=4 << 30)
"""Of a run: base and further inputs, by the check and by the evaluator, at a minute each. EvalPlus sets itself a limit
of 4 GiB, which must not be above ours. Some expected outputs of MBPP+ take hundreds of megabytes."""
_HERE = Path(__file__).parent
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from inside.scorer import main; main()"

Version = Literal["base", "plus"]


@dataclass(frozen=True)
class Score:
    """What EvalPlus makes of a reply."""

    solution: str
    """The sanitized code."""
    base: str
    """`pass`, `fail` or `timeout`."""
    plus: str
    """On the further inputs alone."""
    checked: bool | None = None
    """By the official check; None if it was not asked for."""
    feedback: str = ""
    """What that says to the model."""

    @property
    def passed(self) -> bool:
        """On the base inputs."""
        return self.base == "pass"

    @property
    def passed_plus(self) -> bool:
        """On all inputs."""
        return self.passed and self.plus == "pass"


class Scorer:
    """Scores solutions, each in a sandbox of its own: a hostile one has none but itself to harm.

    Args:
        python: of EvalPlus' environment, as `prepare` returns it.
        dataset: whose problems are scored.
        sandbox: isolation level, as in `Sandboxing`; Landlock has no locks of multiprocessing, which EvalPlus needs.
    """

    def __init__(self, python: Path, dataset: Dataset, sandbox: str = "strict") -> None:
        self._python = python
        self._dataset: Dataset = dataset
        self._sandbox = sandbox
        self._truth = python.parent.parent / "truth"

    @classmethod
    def prepare(
        cls, dataset: Dataset, step: Step, cancel: threading.Event, sandbox: str = "strict"
    ) -> Scorer:
        """Return a scorer, making EvalPlus' environment if need be.

        Raises:
            ModelError: it cannot be installed, or `cancel` was set (`Cancelled`).
        """
        return cls(export_env.ensure(ENVIRONMENT, step, cancel), dataset, sandbox)

    def know(
        self, problems: Sequence[Problem], cancel: threading.Event, told: Callable[[int], None] | None = None
    ) -> None:
        """Have EvalPlus compute, once, what the canonical solutions of problems return.

        Args:
            problems: those that will be scored.
            cancel: ends it; what is done so far stays.
            told: called with how many are still to do.

        Raises:
            EvaluationError: a canonical solution does not run.
            RunnerError: no sandbox works here.
        """
        self._truth.mkdir(exist_ok=True)
        wanted = [each for each in problems if not self._truth_file(each).is_file()]
        while wanted and not cancel.is_set():
            if told:
                told(len(wanted))
            chunk, wanted = wanted[:AT_ONCE], wanted[AT_ONCE:]
            run = self._run({"do": "truth"}, chunk, cancel, writable=True)
            bad = next((each for each in chunk if not self._truth_file(each).is_file()), None)
            if bad and not cancel.is_set():
                raise EvaluationError(
                    f"EvalPlus could not run the canonical solution of {bad.id}: {_reason(run)}"
                )

    def score(self, problem: Problem, reply: str, check: Version | None, cancel: threading.Event) -> Score:
        """Score a reply of a model.

        Args:
            problem: whose expected outputs are known.
            reply: the whole of it, code and prose.
            check: inputs of the official check that makes feedback; None: no feedback is wanted.
            cancel: ends it, with a score that means nothing.

        Raises:
            EvaluationError: EvalPlus does not get as far as the solution.
            RunnerError: no sandbox works here.
        """
        asked = {
            "do": "score",
            "reply": reply,
            "check": check,
            "min_seconds": MIN_SECONDS,
            "factor": FACTOR,
        }
        run = self._run(asked, [problem], cancel, writable=False)
        said: dict[str, Any] = {}
        for line in run.output.splitlines():
            with contextlib.suppress(ValueError, TypeError):  # a hostile solution may write there, too
                # What is said first counts: the solution did not run yet when its own text was reported.
                said = {**json.loads(line), **said}
        if "solution" not in said:
            if cancel.is_set():
                return Score("", "fail", "fail")
            raise EvaluationError(f"EvalPlus does not run here: {_reason(run)}")
        checked = said.get("check") or {"passed": False, "feedback": ""}
        return Score(
            said["solution"],
            # It says nothing when the solution ends it, or takes all of its time.
            said.get("base", "fail"),
            said.get("plus", "fail"),
            checked["passed"] if check else None,
            checked["feedback"] if check else "",
        )

    def _truth_file(self, problem: Problem) -> Path:
        # EvalPlus' own name for the outputs of a data file.
        return self._truth / f"{hashlib.md5(problem.line).hexdigest()}.pkl"

    def _run(
        self, asked: dict[str, Any], problems: Sequence[Problem], cancel: threading.Event, *, writable: bool
    ) -> ToolRun:
        request = {**asked, "dataset": self._dataset, "folder": str(self._truth.resolve())}
        with tempfile.TemporaryDirectory() as workspace:
            return run_tool(
                TestRequest(
                    Path(workspace),
                    (),
                    self._python,
                    files={
                        PurePosixPath("request.json"): json.dumps(request).encode(),
                        PurePosixPath("problems.jsonl"): b"".join(each.line for each in problems),
                    },
                    limits=_LIMITS,
                    sandbox=Sandboxing(
                        level=self._sandbox,
                        readable=[_HERE / "inside"],
                        writable=[self._truth] if writable else (),
                    ),
                ),
                [str(self._python), "-I", "-c", _BOOT, str(_HERE)],
                cancel,
            )


def _reason(run: ToolRun) -> str:
    return run.error.strip().rpartition("\n")[2] or "it was ended, for it took too long or too much memory"
