"""The pytest plugin that reports each test as it ends."""

from __future__ import annotations

import os
import sys
from typing import Any, Iterator

import pytest

from .driving import Driving
from .failure import cause, cut, message
from .lines import Footprint
from .session import imported

_SKIPS = ("Skipped", "SkipTest", "XFailed")


def leave_out(early_config: Any, args: list[str]) -> None:
    """Switch off what would come between us and the tests, where the project has it."""
    plugins = early_config.pluginmanager
    if plugins.hasplugin("pytest_cov"):
        # It would take the tracer's place, and its numbers are not asked for.
        args.append("--no-cov")
        early_config.known_args_namespace.no_cov = True
    if plugins.hasplugin("xdist"):
        args.append("-n0")  # one process, so that what ends it is known


class Plugin(Driving):
    """Sends what is collected, each test's start and outcome, and every collection error."""

    # Of one that is registered and has not been told yet what to run.
    tracer = None
    before: set[str] | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Take what `Driving` takes."""
        super().__init__(*arguments, **named)
        self._doctest_files = {os.path.join(self.root, path) for path in self.doctests}
        self._prefix = ""
        self._reports: dict[str, Any] = {}
        self._causes: dict[str, BaseException | None] = {}
        self._raised = False
        self._footprint = Footprint()
        self._setting_up: list[Footprint] = []
        """Of the fixtures that tests share, those that are being set up, each by the one before it."""
        self.before = None
        """The modules that there were when the run began, where it is to be told what it imports besides."""

    # Collection

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(self, early_config: Any, args: list[str]) -> Iterator[None]:
        leave_out(early_config, args)
        self.begin_collecting("conftest.py")
        self.start_tracing()  # until all is collected
        outcome: Any = yield
        self.clock.stop()
        if outcome.excinfo is not None and type(outcome.excinfo[1]).__name__ == "ConftestImportFailure":
            error = outcome.excinfo[1]
            self._send_collection_error(str(getattr(error, "path", "conftest.py")), error, "")

    def pytest_sessionstart(self, session: Any) -> None:
        prefix = os.path.relpath(str(session.config.rootdir), self.root).replace(os.sep, "/")
        self._prefix = "" if prefix == "." else prefix + "/"

    def pytest_collect_file(self, parent: Any, file_path: Any) -> Any:
        if str(file_path) not in self._doctest_files or parent.config.option.doctestmodules:
            return None
        from _pytest.doctest import DoctestModule

        return DoctestModule.from_parent(parent, path=file_path)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_make_collect_report(self, collector: Any) -> Iterator[None]:
        is_file = isinstance(collector, pytest.File)
        if is_file:
            self.begin_collecting(self._id(collector.nodeid))
        outcome: Any = yield
        if is_file:
            self.clock.stop()
        if outcome.excinfo is not None:  # SystemExit and KeyboardInterrupt, which would end the session
            error = outcome.excinfo[1]
            report = pytest.CollectReport(collector.nodeid, "failed", message(error), [])
            outcome.force_result(report)
        else:
            report = outcome.get_result()
            call = getattr(report, "call", None)
            error = call.excinfo.value if call is not None and call.excinfo is not None else None
        if report.failed:
            self._send_collection_error(str(getattr(collector, "path", "")), error, report.longreprtext)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, session: Any, config: Any, items: list[Any]) -> Iterator[None]:
        yield
        kept = [item for item in items if self.wanted(self._id(item.nodeid))]
        if len(kept) < len(items):
            chosen = set(map(id, kept))
            config.hook.pytest_deselected(items=[item for item in items if id(item) not in chosen])
            items[:] = kept
        items.sort(key=lambda item: self.place(self._id(item.nodeid)))

    def pytest_collection_finish(self, session: Any) -> None:
        self.share(self.stop_tracing())
        if self.before is not None:
            # Before the first test runs: what tests import themselves, they may want to import themselves.
            self.channel.send("imported", names=imported(self.before))
        self.channel.send("collected", ids=[self._id(item.nodeid) for item in session.items])

    def pytest_unconfigure(self) -> None:
        if self.before is not None:
            # What plugins import for their last word, as hypothesis' does with all of hypothesis.
            self.channel.send("imported", names=imported(self.before))

    def _send_collection_error(self, path: str, error: BaseException | None, text: str) -> None:
        relative = self.workspace.relative(path) or os.path.basename(path)
        if error is None:
            failure = self._failure_of(None, text, [])
        else:
            error = cause(error)
            failure = self._failure_of(error, text or message(error), [])
        self.channel.send("collection_error", path=relative, failure=failure, hang=self.hang is not None)
        self.hang = None

    # Running

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        test = self._id(item.nodeid)
        self._reports, self._causes, self.hang, self._raised = {}, {}, None, False
        self.channel.send("started", id=test)
        self.clock.begin()
        self._footprint = Footprint()
        self.start_tracing()
        outcome: Any = yield
        self._footprint.add(self.stop_tracing())
        if outcome.excinfo is not None:
            return  # the session ends here (KeyboardInterrupt, pytest.exit); the parent sees that the test did not
        self._finish(item, test)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        if self.tracer is None or fixturedef.scope == "function":
            yield
            return
        # Other tests rely on what it does, and only the first of them makes it do that.
        self._take_in()
        self._setting_up.append(Footprint())
        self.start_tracing()
        yield
        self._take_in()
        path = "" if fixturedef.scope in ("package", "session") else self._id(request.node.nodeid)
        self.share(self._setting_up.pop(), path.partition("::")[0])
        self.start_tracing()

    def _take_in(self) -> None:
        """Add what was executed since the start to the test's, and to that of the fixtures that are being set up."""
        found = self.stop_tracing()
        for each in (self._footprint, *self._setting_up):
            each.add(found)

    def pytest_sessionfinish(self) -> None:
        self.tell_shared()
        if self.before is not None:
            self.before = set(sys.modules)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        self.clock.start()
        yield
        self.clock.stop()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        self.clock.start()
        outcome: Any = yield
        self.clock.stop()
        error = outcome.excinfo[1] if outcome.excinfo is not None else None
        self._raised = error is not None and type(error).__name__ not in _SKIPS

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        self.clock.start()
        yield
        self.clock.stop()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, call: Any) -> Iterator[None]:
        yield
        self._causes[call.when] = call.excinfo.value if call.excinfo is not None else None

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        before = self._reports.get(report.when)
        if before is None or not before.failed:  # one failed subtest is a failure of the test
            self._reports[report.when] = report

    def _finish(self, item: Any, test: str) -> None:
        outcome, report = self._outcome()
        failure = None
        if report is not None and outcome not in ("passed", "xfailed"):
            failure = self._failure_of(self._causes.get(report.when), report.longreprtext, report.sections)
        if self.hang is not None:
            outcome = "timeout"
            failure = failure or self._failure_of(None, "", [])
            self.note_hang(failure)
        self.channel.send(
            "finished",
            id=test,
            outcome=outcome,
            seconds=sum(report.duration for report in self._reports.values()),
            failure=failure,
            # An exception that ends a hang ends the tracing as well, if it comes while a line is recorded.
            footprint=self._footprint.told(self.hang is not None) if self.tracer is not None else None,
            contradiction=self._raised and outcome == "passed",
        )
        if self.hung_too_often():
            item.session.shouldstop = "too many hanging tests"

    def _outcome(self) -> Any:
        """Return the test's outcome and the phase's report that decides it."""
        setup, call, teardown = (self._reports.get(when) for when in ("setup", "call", "teardown"))
        if setup is not None and setup.failed:
            return "error", setup
        if setup is not None and setup.skipped:
            return ("xfailed" if hasattr(setup, "wasxfail") else "skipped"), setup
        if call is None:
            return "not run", None
        if call.failed:
            return "failed", call
        if teardown is not None and teardown.failed:
            return "error", teardown
        if hasattr(call, "wasxfail"):
            return ("xfailed" if call.skipped else "xpassed"), call
        return ("skipped" if call.skipped else "passed"), call

    def _failure_of(self, error: BaseException | None, text: str, sections: list[Any]) -> dict[str, Any]:
        first = next((line.strip() for line in text.splitlines() if line.strip()), "")
        frames: list[dict[str, Any]] = []
        if error is not None:
            frames = self.workspace.frames(error.__traceback__) + self.workspace.syntax_frame(error)
        captured = [content for title, content in sections if title.startswith("Captured")]
        return {
            "message": message(error) if error is not None else first,
            "detail": cut(text),
            "frames": frames,
            "output": cut("\n".join(cut(content) for content in captured)),
        }

    def _id(self, nodeid: str) -> str:
        """Return a node id relative to the workspace; pytest's are relative to its rootdir."""
        path, mark, inner = nodeid.partition("::")
        return os.path.normpath(self._prefix + path).replace(os.sep, "/") + mark + inner
