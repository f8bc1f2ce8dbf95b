"""The pytest plugin that reports each test as it ends."""

from __future__ import annotations

import os
from typing import Any, Iterator

import pytest

from .channel import Channel
from .clock import Clock, TimeLimit
from .failure import Workspace, cause, cut, message
from .lines import Tracer

_SKIPS = ("Skipped", "SkipTest", "XFailed")


class Plugin:
    """Sends what is collected, each test's start and outcome, and every collection error."""

    clock: Clock

    def __init__(
        self,
        channel: Channel,
        workspace: Workspace,
        root: str,
        keep: list[str],
        doctests: list[str],
        hangs: int,
        tracer: Tracer | None,
    ) -> None:
        self._channel = channel
        self._workspace = workspace
        self._root = root
        self._keep = keep
        self._doctests = {os.path.join(root, path) for path in doctests}
        self._hangs_left = hangs
        self._tracer = tracer
        self._prefix = ""
        self._hang: dict[str, Any] | None = None
        self._reports: dict[str, Any] = {}
        self._causes: dict[str, BaseException | None] = {}
        self._raised = False

    # Collection

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(self, early_config: Any, args: list[str]) -> Iterator[None]:
        plugins = early_config.pluginmanager
        if plugins.hasplugin("pytest_cov"):
            # It would take the tracer's place, and its numbers are not asked for.
            args.append("--no-cov")
            early_config.known_args_namespace.no_cov = True
        if plugins.hasplugin("xdist"):
            args.append("-n0")  # one process, so that what ends it is known
        self._begin_collecting("conftest.py")
        outcome: Any = yield
        self.clock.stop()
        if outcome.excinfo is not None and type(outcome.excinfo[1]).__name__ == "ConftestImportFailure":
            error = outcome.excinfo[1]
            self._send_collection_error(str(getattr(error, "path", "conftest.py")), error, "")

    def pytest_sessionstart(self, session: Any) -> None:
        prefix = os.path.relpath(str(session.config.rootdir), self._root).replace(os.sep, "/")
        self._prefix = "" if prefix == "." else prefix + "/"

    def pytest_collect_file(self, parent: Any, file_path: Any) -> Any:
        if str(file_path) not in self._doctests or parent.config.option.doctestmodules:
            return None
        from _pytest.doctest import DoctestModule

        return DoctestModule.from_parent(parent, path=file_path)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_make_collect_report(self, collector: Any) -> Iterator[None]:
        is_file = isinstance(collector, pytest.File)
        if is_file:
            self._begin_collecting(self._id(collector.nodeid))
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
        if not self._keep:
            return
        kept = [item for item in items if self._wanted(self._id(item.nodeid))]
        if len(kept) < len(items):
            chosen = set(map(id, kept))
            config.hook.pytest_deselected(items=[item for item in items if id(item) not in chosen])
            items[:] = kept

    def pytest_collection_finish(self, session: Any) -> None:
        self._channel.send("collected", ids=[self._id(item.nodeid) for item in session.items])

    def _begin_collecting(self, path: str) -> None:
        self._channel.send("collecting", path=path)
        self._hang = None
        self.clock.begin()
        self.clock.start()

    def _wanted(self, test: str) -> bool:
        return any(
            test == keep or test.startswith((keep + "::", keep + "[", keep + "/")) for keep in self._keep
        )

    def _send_collection_error(self, path: str, error: BaseException | None, text: str) -> None:
        relative = self._workspace.relative(path) or os.path.basename(path)
        if error is None:
            failure = self._failure_of(None, text, [])
        else:
            error = cause(error)
            failure = self._failure_of(error, text or message(error), [])
        self._channel.send("collection_error", path=relative, failure=failure, hang=self._hang is not None)
        self._hang = None

    # Running

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        test = self._id(item.nodeid)
        self._reports, self._causes, self._hang, self._raised = {}, {}, None, False
        self._channel.send("started", id=test)
        self.clock.begin()
        if self._tracer is not None:
            self._tracer.start()
        outcome: Any = yield
        lines = self._tracer.stop() if self._tracer is not None else {}
        if outcome.excinfo is not None:
            return  # the session ends here (KeyboardInterrupt, pytest.exit); the parent sees that the test did not
        self._finish(item, test, {path: sorted(found) for path, found in lines.items()})

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

    def hung(self, frame: Any) -> None:
        """Note where the code is that has reached its time limit."""
        frames = self._workspace.stack(frame)
        stack = ["  %s:%d in %s\n    %s" % (f["path"], f["line"], f["function"], f["source"]) for f in frames]
        self._hang = {"frames": frames, "stack": "It hung at:\n" + "\n".join(stack)}

    def _finish(self, item: Any, test: str, executed: dict[str, list[int]]) -> None:
        outcome, report = self._outcome()
        failure = None
        if report is not None and outcome not in ("passed", "xfailed"):
            failure = self._failure_of(self._causes.get(report.when), report.longreprtext, report.sections)
        if self._hang is not None:
            outcome = "timeout"
            failure = failure or self._failure_of(None, "", [])
            failure["message"] = str(TimeLimit("still running after %g s" % self.clock.seconds))
            failure["detail"] = cut(self._hang["stack"] + "\n\n" + failure["detail"])
            failure["frames"] = self._hang["frames"] or failure["frames"]
            self._hangs_left -= 1
        self._channel.send(
            "finished",
            id=test,
            outcome=outcome,
            seconds=sum(report.duration for report in self._reports.values()),
            failure=failure,
            executed=executed,
            contradiction=self._raised and outcome == "passed",
        )
        if self._hang is not None and self._hangs_left <= 0:
            self._channel.send("too_many_hangs")
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
            frames = self._workspace.frames(error.__traceback__) + self._workspace.syntax_frame(error)
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
