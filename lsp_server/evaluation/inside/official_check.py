"""What OpenCodeInterpreter's own evaluation says of a solution to the model that wrote it.

The behaviour is that of `unsafe_execute` and `untrusted_check` in evaluation/evaluate/utils.py of
github.com/OpenCodeInterpreter/OpenCodeInterpreter@9674d8a, what its shortcomings do to the texts included.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from evalplus.eval._special_oracle import (  # type: ignore[import-not-found,unused-ignore]
    MBPP_OUTPUT_NOT_NONE_TASKS,
    _poly,
)
from evalplus.eval.utils import (  # type: ignore[import-not-found,unused-ignore]
    TimeoutException,
    create_tempdir,
    reliability_guard,
    swallow_io,
    time_limit,
)

FEEDBACK = 500
"""Bytes and characters that the official evaluation has room for."""
TASK_SECONDS = 60.0
"""All inputs of a task together have no more, as in EvalPlus' evaluator; the official check waits longer for a
solution that swallows its time limit, and says the same of it."""
UNEXPECTED = "The results aren't as expected."
TIMED_OUT = "Execution timed out."
_PASSED, _FAILED = b"+", b"-"


@dataclass(frozen=True)
class Checked:
    """What the check says of one set of inputs."""

    passed: bool
    feedback: str
    """Empty if the process had to be ended."""


def check(
    dataset: str,
    solution: str,
    entry_point: str,
    inputs: Sequence[Any],
    expected: Sequence[Any],
    seconds: Sequence[float],
    tolerance: float,
) -> Checked:
    """Run a solution on inputs up to the first that fails, in a process of its own.

    Args:
        dataset: `humaneval` or `mbpp`, which have oracles of their own for some functions.
        solution: a module's text.
        entry_point: the function.
        inputs: its arguments, call by call.
        expected: what the canonical solution returns for each.
        seconds: time limit of each.
        tolerance: absolute, of floats; 0: 1e-6 if floats are expected.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(
        target=_run, args=(sender, dataset, solution, entry_point, inputs, expected, seconds, tolerance)
    )
    process.start()
    sender.close()
    said = b""
    # The pipe also ends when the process does, by itself and without a word.
    with contextlib.suppress(EOFError, OSError):
        if receiver.poll(min(TASK_SECONDS, sum(seconds)) + 2):
            said = receiver.recv_bytes()
    for end in (process.terminate, process.kill):
        process.join(0.1)
        if process.is_alive():
            end()
    passed, text = said[:1] == _PASSED, said[1:]
    feedback = text.split(b"\0")[0].decode("utf-8", "replace").strip()
    if entry_point not in solution:
        feedback = missing(entry_point)
    return Checked(passed, feedback)


def missing(entry_point: str) -> str:
    """Return what is said of a solution that has no such function."""
    return f"Please rename your function to {entry_point} as there is no function named {entry_point}."


def _run(
    sender: Connection,
    dataset: str,
    solution: str,
    entry_point: str,
    inputs: Sequence[Any],
    expected: Sequence[Any],
    seconds: Sequence[float],
    tolerance: float,
) -> None:
    with create_tempdir():
        # What leaving the folder takes, and the guard takes away.
        import os
        import shutil

        kept = shutil.rmtree, os.rmdir, os.chdir
        reliability_guard(maximum_memory_bytes=None)
        try:
            with swallow_io():
                names: dict[str, Any] = {}
                exec(solution, names)
                if entry_point not in names:
                    raise _NoFunction
                call = names[entry_point]
                for each, value, limit in zip(inputs, expected, seconds, strict=True):
                    tolerance = _try(dataset, entry_point, call, each, value, limit, tolerance)
            passed, feedback = True, ""
        except BaseException as error:
            passed, feedback = False, _feedback(error, entry_point)
        # The official room is 500 bytes: a text of more bytes than characters may overflow it, and one of half
        # characters has none; of both nothing is said.
        data = b"" if any("\ud800" <= each <= "\udfff" for each in feedback) else feedback.encode("utf-8")
        sender.send_bytes((_PASSED if passed else _FAILED) + (data if len(data) <= FEEDBACK else b""))
        shutil.rmtree, os.rmdir, os.chdir = kept


class _NoFunction(BaseException):
    """The solution has no function of the wanted name."""


class _NoRoot(BaseException):
    """What `find_zero` returned cannot be judged by the official oracle, with the official words for it."""


def _try(
    dataset: str,
    entry_point: str,
    call: Callable[..., Any],
    arguments: Any,
    value: Any,
    limit: float,
    tolerance: float,
) -> float:
    """Call the function once, and return the tolerance from here on.

    Raises:
        AssertionError: the result is another.
    """
    with time_limit(limit):
        result = call(*arguments)
    equal = _equal(dataset, entry_point, result, value)
    if dataset == "humaneval" and entry_point == "find_zero" and not _is_root(result, arguments, tolerance):
        raise _wrong(arguments, value, result)
    if tolerance == 0 and _is_floats(value):
        tolerance = 1e-6
    if not equal and tolerance != 0:
        try:
            np.testing.assert_allclose(result, value, atol=tolerance)
        except BaseException:
            raise _wrong(arguments, value, result) from None
    elif not equal:
        raise _wrong(arguments, value, result)
    return tolerance


def _wrong(arguments: Any, value: Any, result: Any) -> AssertionError:
    """What is said of a wrong result; of arguments, as the function has left them."""
    sys.set_int_max_str_digits(0)  # the official evaluation's Python had no limit
    return AssertionError(
        f"{UNEXPECTED}\nInput: {arguments}\nExpected Output: {value}\nActual Output: {result}"
    )


def _equal(dataset: str, entry_point: str, result: Any, value: Any) -> Any:
    equal = result == value
    if dataset == "mbpp":
        if entry_point == "are_equivalent":
            return True
        if entry_point == "sum_div":
            return equal or result == 0
        if entry_point in MBPP_OUTPUT_NOT_NONE_TASKS:
            return equal if isinstance(result, bool) else value == (result is not None)
    return equal


def _is_root(result: Any, arguments: Any, tolerance: float) -> bool:
    """Whether the official oracle takes a root: it unpacks the result, a number, in place of the coefficients.

    Raises:
        _NoRoot: which it therefore can hardly ever do.
    """
    try:
        coefficients = (*result,)
    except TypeError:
        raise _NoRoot("TypeError: Invalid output type, output must be an iterable.") from None
    try:
        return bool(_poly(*coefficients, arguments) <= tolerance)
    except Exception as error:
        raise _NoRoot("".join(traceback.format_exception_only(error)).strip()) from None


def _is_floats(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(each, float) for each in value)
    if isinstance(value, np.ndarray):
        return value.dtype in (np.float64, np.float32)
    return isinstance(value, float)


def _feedback(error: BaseException, entry_point: str) -> str:
    if isinstance(error, TimeoutException):
        return TIMED_OUT
    if isinstance(error, _NoFunction):
        return missing(entry_point)
    if isinstance(error, AssertionError | _NoRoot):
        return str(error)[:FEEDBACK]
    told = traceback.format_exc()
    match = re.search(r'File "<string>".*', told, re.DOTALL)
    return (match.group() if match else told)[:FEEDBACK]
