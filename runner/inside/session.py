"""One pytest session, as ordered by the parent."""

from __future__ import annotations

import os
import resource
import sys
from typing import Any, Callable

from .channel import Channel
from .failure import FOREIGN, Workspace, message
from .lines import Tracer

_MOST_IMPORTED = 2000
_STANDARD_LIBRARY = os.path.join(os.path.dirname(os.__file__), "")


def run(order: dict[str, Any]) -> None:
    """Run the tests of an order, report each on the order's pipe, and end the process.

    Args:
        order: what `runner.run` wrote: descriptors, nonce, tests, limits; or, for a process that serves many runs,
            `control_fd` and what does not change between them.
    """
    if "control_fd" in order:
        from .server import serve

        serve(order)
        return
    ending = Ending()
    channel = begin(order)
    _follow_copy(order["moved"])
    ending.end(channel, lambda: _run(order, channel))


def begin(order: dict[str, Any]) -> Channel:
    """Hold this process to an order's limits, and return where it reports."""
    for name, (soft, hard) in order["rlimits"].items():
        resource.setrlimit(getattr(resource, name), (soft, hard))
    channel = Channel(order["event_fd"], order.pop("nonce"))
    os.set_inheritable(order["stack_fd"], False)
    channel.send("hello")
    return channel


class Ending:
    """What ends this process, from before any user code could replace it."""

    def __init__(self) -> None:
        self._exit, self._flush = os._exit, (sys.stdout.flush, sys.stderr.flush)

    def end(self, channel: Channel, work: Callable[[], int]) -> None:
        """Do some work, report how it ended, and end the process."""
        try:
            said: dict[str, Any] = {"status": work()}
        except BaseException as error:  # pytest lets out what it cannot handle; the parent must hear of it
            said = {"status": 3, "error": message(error)}
        self.report(channel, said)

    def report(self, channel: Channel, said: dict[str, Any]) -> None:
        """Report how the run ended, and end the process."""
        channel.send("end", **said)
        self._flush_all()
        channel.close()  # the process itself takes a while to go, for which the parent need not wait
        self._exit(0)

    def exit(self) -> None:
        """End the process; neither atexit handlers nor threads of the user's code have a say any more."""
        self._flush_all()
        self._exit(0)

    def _flush_all(self) -> None:
        for each in self._flush:
            try:
                each()
            except (OSError, ValueError, RuntimeError):
                pass  # the user's code closed it, or left it half written


def wanted(order: dict[str, Any], channel: Channel) -> tuple[list[str], Workspace, dict[str, Any]]:
    """Return the files to collect, the workspace, and the arguments of `Driving` after it."""
    files, keep = _selection(order["tests"], channel)
    workspace = Workspace(order["workspace"], order["foreign"])
    options: dict[str, Any] = {
        "root": order["workspace"],
        "keep": keep,
        "doctests": order["doctests"],
        "first": order["first"],
        "limits": (order["test_seconds"], order["stack_fd"], order["hangs"]),
        "tracer": Tracer(workspace.relative, order["trace"] == "lines") if order["trace"] != "no" else None,
    }
    return files, workspace, options


def arguments(order: dict[str, Any]) -> list[str]:
    """Return pytest's arguments besides the files.

    All outcomes are wanted, whatever the project's addopts say of the first failure; what the cache plugin writes goes
    where everything else goes.
    """
    return [
        *order["test_args"],
        "--color=no",
        "--maxfail=0",
        "--tb=auto",
        "--continue-on-collection-errors",
        "-o",
        "cache_dir=" + order["cache"],
    ]


def _run(order: dict[str, Any], channel: Channel) -> int:
    before = set(sys.modules)
    files, workspace, options = wanted(order, channel)
    if order["tests"] and not files:
        return 4
    if not order["pytest"]:
        from .suites import Suites

        return Suites(channel, workspace, **options).run(files)
    try:
        import pytest
    except ImportError as error:
        channel.send("no_pytest", reason=message(error))
        return 4
    from .plugin import Plugin

    plugin = Plugin(channel, workspace, **options)
    if order["learn"]:
        plugin.before = before
    return int(pytest.main(arguments(order) + files, plugins=[plugin]))


def is_library(path: str) -> bool:
    """Return whether a module's file belongs to an installed package or to the standard library."""
    return path.startswith(_STANDARD_LIBRARY) or any(part in path for part in FOREIGN)


def imported(before: set[str]) -> list[str]:
    """Return the modules of libraries that were imported since, in the order of their import."""
    names = []
    for name, module in list(sys.modules.items()):
        if name not in before and type(name) is str:
            try:
                path = module.__spec__.origin  # type: ignore[union-attr]
                if isinstance(path, str) and is_library(path):
                    names.append(name)
            except Exception:
                continue  # something else stands in a module's place
    return names[:_MOST_IMPORTED]


def _selection(tests: list[str], channel: Channel) -> tuple[list[str], list[str]]:
    """Return the files to collect and the ids to keep of them.

    Whole files are collected and then filtered, because pytest runs nothing at all when one id does not exist.
    """
    files: list[str] = []
    keep: list[str] = []
    whole: set[str] = set()
    for test in tests:
        path, _, inner = test.partition("::")
        if not os.path.exists(path):
            channel.send("missing", id=test)
            continue
        if path not in files:
            files.append(path)
        if inner:
            keep.append(test)
        else:
            whole.add(path)
    keep = [test for test in keep if test.partition("::")[0] not in whole]
    return files, keep + sorted(whole)


def _follow_copy(moved: list[str]) -> None:
    """Make imports that lead to the workspace lead to its copy, where the run works on one.

    An editable install names the workspace's absolute path, in `sys.path` or in setuptools' import hook.
    """
    if not moved:
        return
    old, new = moved

    def follow(path: str) -> str:
        return new + path[len(old) :] if path == old or path.startswith(old + os.sep) else path

    sys.path[:] = [path if _is_environment(path) else follow(path) for path in sys.path]
    for name, module in list(sys.modules.items()):
        mapping: Any = getattr(module, "MAPPING", {}) if name.startswith("__editable__") else {}
        for package, path in list(mapping.items()):
            mapping[package] = follow(path)


def _is_environment(path: str) -> bool:
    return path.endswith(("site-packages", "dist-packages"))
