"""Runs unittest's and nose's kinds of tests with the standard library alone, where there is no pytest.

Ids are those that pytest gives the same tests. Functions that need a fixture of pytest's are errors that say so.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import linecache
import os
import sys
import time
import traceback
import unittest
from typing import Any, Callable, Iterator
from unittest.util import strclass

from .clock import SharedTimeLimit
from .driving import Driving
from .failure import Workspace, cut, message

_LOCALS, _LOCAL_CHARS = 8, 120
_HARNESS = (os.path.dirname(unittest.__file__), os.path.dirname(__file__), "<frozen importlib")
_SETUPS = (("setup_method", "setUp", "setup"), ("teardown_method", "tearDown", "teardown"))
"""A class's methods before and after each of its tests, as pytest, unittest and nose call them."""


class Suites(Driving):
    """Collects the tests of some files, and runs them, telling of each as it ends."""

    def run(self, files: list[str]) -> int:
        """Run the tests of these files and folders; return the status that pytest would end with."""
        self.start_tracing()
        suites = [self._collect(path) for path in _test_files(files or ["."])]
        self.share(self.stop_tracing())
        # Taken now: a suite forgets its tests as it runs them.
        pairs = [(suite, list(_tests(suite))) for suite in suites]
        ids = [test.oci_id for _, tests in pairs for test in tests]
        self.channel.send("collected", ids=ids)
        failed = False
        for suite, tests in pairs:
            result = _Result(self)
            result.begin_between()
            suite.run(result)
            result.end_between(tests[0].oci_id if tests else "")
            result.tell_last()
            result.report_those_never_run(tests)
            failed |= result.failed
            if result.shouldStop:
                break
        self.tell_shared()
        return 1 if failed else 0 if ids else 5

    def _collect(self, path: str) -> unittest.TestSuite:
        self.begin_collecting(path)
        suite = unittest.TestSuite()
        try:
            module = _import(os.path.join(self.root, path))
            tests = list(_found(module, path))
            if path in self.doctests:
                tests += _doctests(module, path)
            suite.addTests(test for test in tests if self.wanted(test.oci_id))
        except BaseException as error:  # a SystemExit or a TimeLimit of an import is its failure, too
            failure = describe(error, self.workspace, "")
            self.channel.send("collection_error", path=path, failure=failure, hang=self.hang is not None)
        finally:
            self.clock.stop()
        return suite


class _Result(unittest.TestResult):
    """Reports each test when it has stopped."""

    def __init__(self, suites: Suites) -> None:
        super().__init__()
        self.buffer = True
        self.failed = False
        self._suites = suites
        self._done: set[str] = set()
        self._broken: dict[str, tuple[str, dict[str, Any]]] = {}
        """By the class or module that could not be set up, the outcome of its tests, and why."""
        self._outcome: tuple[str, dict[str, Any] | None] = ("not run", None)
        self._last: dict[str, Any] | None = None
        """The latest test's result, which is not told before it is known whether it was the last of a class or module,
        and whether what that does at its end fails."""
        self._began = 0.0

    def begin_between(self) -> None:
        """Watch what classes and modules do before their first test and after their last one."""
        self._suites.hang = None
        self._suites.start_tracing()
        self._suites.clock.begin(SharedTimeLimit)
        self._suites.clock.start()

    def end_between(self, test: str) -> None:
        """Stop watching, and take in what was seen for the tests of this one's file."""
        self._suites.clock.stop()
        self._suites.share(self._suites.stop_tracing(), test.partition("::")[0])

    def startTest(self, test: Any) -> None:
        self.end_between(test.oci_id)
        self.tell_last()
        super().startTest(test)
        self._outcome, self._suites.hang, self._began = ("not run", None), None, time.monotonic()
        self._suites.channel.send("started", id=test.oci_id)
        self._suites.start_tracing()
        self._suites.clock.begin()
        self._suites.clock.start()

    def stopTest(self, test: Any) -> None:
        self._suites.clock.stop()
        footprint = None
        if self._suites.tracer is not None:
            footprint = self._suites.stop_tracing().told(self._suites.hang is not None)
        outcome, failure = self._outcome
        if self._suites.hang is not None:
            outcome = "timeout"
            failure = failure or describe(None, self._suites.workspace, "")
            self._suites.note_hang(failure)
        super().stopTest(test)
        if outcome == "not run":
            return  # the session ends here (KeyboardInterrupt); the parent sees that the test did not
        self._send(test, outcome, time.monotonic() - self._began, failure, footprint)
        if self._suites.hung_too_often():
            self.stop()
        self.begin_between()

    def addSuccess(self, test: Any) -> None:
        if self._outcome[0] == "not run":
            self._outcome = ("passed", None)

    def addFailure(self, test: Any, err: Any) -> None:
        self._note("failed", err[1])

    def addError(self, test: Any, err: Any) -> None:
        if hasattr(test, "oci_id"):
            self._note("failed", err[1])
        else:  # what is shared by a class or a module could not be set up, or not be cleaned up
            failure = describe(err[1], self._suites.workspace, self._output())
            outcome = "error"
            if self._suites.hang is not None:
                self._suites.note_hang(failure)
                outcome = "timeout"
            self.failed = True
            if test.id().startswith("tearDown") and self._last is not None:
                if self._last["outcome"] in ("passed", "xfailed", "skipped"):
                    self._last.update(outcome=outcome, failure=failure)
                self.begin_between()
                return
            # Its id is "setUpClass (package.module.Class)".
            self._broken[test.id().partition("(")[2].rstrip(")")] = (outcome, failure)
            if self._suites.hang is not None:
                if self._suites.hung_too_often():
                    self.stop()
                self.begin_between()  # of the class that comes next

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._note("failed", err[1])

    def addSkip(self, test: Any, reason: str) -> None:
        if hasattr(test, "oci_id") and self._outcome[0] == "not run":
            self._outcome = ("skipped", None)

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self._outcome = ("xfailed", None)

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._note("failed", AssertionError("it was expected to fail, and passed"))

    def report_those_never_run(self, tests: list[Any]) -> None:
        """Report as errors those for which something shared could not be set up, and as skipped what it skipped."""
        for test in tests:
            if test.oci_id not in self._done and not self.shouldStop:
                self._suites.channel.send("started", id=test.oci_id)
                owner = strclass(type(test))
                broken = self._broken.get(owner) or self._broken.get(type(test).__module__)
                outcome, failure = broken or ("skipped", None)
                self._send(test, outcome, 0.0, failure, None)
                self.tell_last()

    def _note(self, outcome: str, error: BaseException) -> None:
        if self._outcome[0] in ("not run", "passed"):  # the first one tells most
            self._outcome = (outcome, describe(error, self._suites.workspace, self._output()))

    def _output(self) -> str:
        return "".join(
            stream.getvalue() for stream in (sys.stdout, sys.stderr) if hasattr(stream, "getvalue")
        )

    def _send(
        self, test: Any, outcome: str, seconds: float, failure: Any, footprint: dict[str, Any] | None
    ) -> None:
        self._done.add(test.oci_id)
        self.failed |= outcome in ("failed", "error", "timeout", "not run")
        self._last = {
            "id": test.oci_id,
            "outcome": outcome,
            "seconds": seconds,
            "failure": failure,
            "footprint": footprint,
            "contradiction": False,
        }

    def tell_last(self) -> None:
        """Report the latest test's result."""
        if self._last is not None:
            self._suites.channel.send("finished", **self._last)
            self._last = None


def describe(error: BaseException | None, workspace: Workspace, output: str) -> dict[str, Any]:
    """Return what the parent is told of an error, with the values at hand where the workspace raised it."""
    if error is None:
        return {"message": "", "detail": "", "frames": [], "output": ""}
    own = None
    at = error.__traceback__
    while at is not None:
        if workspace.relative(at.tb_frame.f_code.co_filename) is not None:
            own = at
        at = at.tb_next
    told = traceback.TracebackException(type(error), error, error.__traceback__)
    told.stack[:] = [frame for frame in told.stack if not frame.filename.startswith(_HARNESS)]
    text = "".join(told.format())
    if own is not None:
        text += _values(own)
    return {
        "message": message(error),
        "detail": cut(text),
        "frames": workspace.frames(error.__traceback__) + workspace.syntax_frame(error),
        "output": cut(output),
    }


def _values(at: Any) -> str:
    """The variables of a frame that its line names."""
    line = linecache.getline(at.tb_frame.f_code.co_filename, at.tb_lineno)
    found = []
    for name, value in list(at.tb_frame.f_locals.items()):
        if name in line and not inspect.ismodule(value) and not callable(value):
            try:
                text = repr(value)
            except Exception as broken:
                text = "<cannot be shown: %s>" % type(broken).__name__
            found.append("    %s = %s\n" % (name, cut(text, _LOCAL_CHARS)))
    return "where\n" + "".join(found[:_LOCALS]) if found else ""


def _test_files(paths: list[str]) -> Iterator[str]:
    """Files, and those in folders whose names pytest would collect."""
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
            for name in sorted(names):
                if name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py")):
                    yield os.path.normpath(os.path.join(folder, name)).replace(os.sep, "/")


def _import(path: str) -> Any:
    """Import a file under the name that its packages give it; their parent comes first on the import path."""
    folder, name = os.path.split(os.path.splitext(path)[0])
    parts = [name]
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, part = os.path.split(folder)
        parts.insert(0, part)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.import_module(".".join(parts))
    found = getattr(module, "__file__", None) or ""
    if os.path.realpath(found) != os.path.realpath(path):
        raise ImportError(
            "%s is taken by %s: give the file another name, or its folder an __init__.py"
            % (module.__name__, found or "a module of Python's own")
        )
    return module


def _found(module: Any, path: str) -> Iterator[Any]:
    """The module's tests, each with its id."""
    loader = unittest.TestLoader()
    for name, value in list(vars(module).items()):
        if inspect.isclass(value) and issubclass(value, unittest.TestCase):
            for method in loader.getTestCaseNames(value):
                yield _named(value(method), "%s::%s::%s" % (path, name, method))
        elif inspect.isclass(value) and name.startswith("Test") and "__init__" not in vars(value):
            for method in [each for each in dir(value) if each.startswith("test")]:
                if callable(getattr(value, method)):
                    yield _named(_Method(value, method), "%s::%s::%s" % (path, name, method))
        elif inspect.isfunction(value) and name.startswith("test"):
            yield _named(_Function(value), "%s::%s" % (path, name))


def _doctests(module: Any, path: str) -> list[Any]:
    try:
        suite = doctest.DocTestSuite(module)
    except ValueError:
        return []  # as Python 3.8 says that there are none
    return [_named(test, "%s::%s" % (path, test.id().replace("doctest ", ""))) for test in _tests(suite)]


def _named(test: Any, name: str) -> Any:
    test.oci_id = name
    return test


def _tests(suite: unittest.TestSuite) -> Iterator[Any]:
    """All tests of a suite, whose own iteration gives suites as well."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _tests(test)
        else:
            yield test


class _Function(unittest.TestCase):
    """A plain function as a test."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__("_call")
        self._function = function

    def _call(self) -> None:
        _need_no_fixtures(self._function)
        self._function()


class _Method(unittest.TestCase):
    """A method of a plain class as a test, with an instance of its own."""

    def __init__(self, owner: type, method: str) -> None:
        super().__init__("_call")
        self._owner, self._method = owner, method

    def _call(self) -> None:
        instance = self._owner()
        before, after = (next((n for n in names if hasattr(instance, n)), "") for names in _SETUPS)
        test = getattr(instance, self._method)
        _need_no_fixtures(test)
        if before:
            getattr(instance, before)()
        try:
            test()
        finally:
            if after:
                getattr(instance, after)()


def _need_no_fixtures(function: Callable[..., Any]) -> None:
    needed = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if needed:
        raise TypeError("it needs pytest's fixtures (%s), and there is no pytest" % ", ".join(needed))
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            "it is a coroutine, which only a method of unittest.IsolatedAsyncioTestCase may be here"
        )
