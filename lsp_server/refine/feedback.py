"""What the model is told about a run, in the form that OpenCodeInterpreter was trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from runner.report import CollectionError, Failure, Outcome, Report, TestResult

BUDGET = 500
"""Characters of an execution result, as in Code-Feedback."""

HEAD = "Execution result: \n"
"""Code-Feedback's execution turns are user messages that start exactly so."""


Form = Literal["values", "official", "ipython"]


@dataclass(frozen=True)
class Wording:
    """How a failure is put to the model; other words than these are for evaluations that compare them."""

    form: Form = "values"
    """`values`: of an assertion its values, of an exception its traceback as IPython has it; `official`: of a comparison
    input, expected and actual output, in the words of OpenCodeInterpreter's own evaluation; `ipython`: of an assertion,
    too, the traceback."""
    show_tests: bool = True
    """Whether the failing tests' source is shown."""
    reason: bool = False
    """Whether a model whose reply has failed is asked to say what is wrong before it writes code again."""


WORDING = Wording()


def execution_result(
    report: Report, wanted: Iterable[str], wording: Wording = WORDING, budget: int = BUDGET
) -> str:
    """Return what the tests said, the first wanted failure in detail.

    Args:
        report: of the run.
        wanted: ids of the tests that should pass; those that fail are told first, in the order of the run.
        wording: the form of a failure.
        budget: characters at most; longer text keeps its first and last two fifths, as in Code-Feedback.
    """
    if report.collection_errors:
        return cut(_collection_error(report.collection_errors[0]), budget)
    wanted = set(wanted)
    failing = [r for r in report.results.values() if r.id in report.failed]
    failing.sort(key=lambda r: (r.id not in wanted, r.outcome is Outcome.NOT_RUN))
    if not failing:
        return cut(report.stop_detail or report.output_tail or "All tests passed.", budget)
    count = f"\n({len(failing)} of {len(report.results)} tests fail)"
    return cut(_failure(failing[0], wording.form), budget - len(count)) + count


def cut(text: str, budget: int) -> str:
    """Return text with its middle left out where it is longer than a budget in characters."""
    if len(text) <= budget:
        return text
    keep = (budget - 5) // 2
    return f"{text[:keep]}\n...\n{text[-keep:]}"


def _failure(result: TestResult, form: Form) -> str:
    failure = result.failure
    if result.outcome is Outcome.TIMEOUT:
        where = f"\n{_frames(failure)}" if failure and failure.frames else ""
        return f"Execution timed out.\n{result.id}{where}"
    if failure is None:
        return f"{result.id}: {result.outcome.value}"
    assertion = [line[1:].strip() for line in failure.detail.splitlines() if line.startswith("E ")]
    text = "\n".join(assertion) or failure.message
    inner = failure.frames[-1] if failure.frames else None
    compares = text.startswith(("AssertionError", "assert "))
    if compares and form == "official" and (told := _comparison(text)):
        return told
    if inner is None or (compares and form != "ipython"):
        return f"{result.id}\n{text}"
    # An exception: IPython's form, as the training data has it.
    name = "AssertionError" if compares else text.partition(":")[0]
    return f"{'-' * 75}\n{name:<42}Traceback (most recent call last)\n{_frames(failure)}\n{text}\n{result.id}"


def _comparison(text: str) -> str:
    """Return what pytest says of `assert function(input) == expected` in the official words; empty if it is no such."""
    compared = re.search(
        r"^(?:AssertionError: )?assert (?P<actual>.+) == (?P<expected>.+)$", text, re.MULTILINE
    )
    called = re.search(r"^\+\s+where (?P<value>.+) = \w[\w.]*\((?P<input>.*)\)$", text, re.MULTILINE)
    if compared is None or called is None or called["value"] != compared["actual"]:
        return ""
    return (
        f"The results aren't as expected.\nInput: [{called['input']}]\nExpected Output: {compared['expected']}\n"
        f"Actual Output: {compared['actual']}"
    )


def _collection_error(error: CollectionError) -> str:
    frames = f"{_frames(error.failure)}\n" if error.failure.frames else ""
    return f"{error.path} cannot be imported:\n{frames}{error.failure.message}"


def _frames(failure: Failure | None) -> str:
    frames = failure.frames[-3:] if failure else ()
    return "\n".join(f"File {f.path}:{f.line}, in {f.function}\n---> {f.line} {f.source}" for f in frames)
