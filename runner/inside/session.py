"""One pytest session, as ordered by the parent."""

from __future__ import annotations

import os
import resource
import sys
from typing import Any

from .channel import Channel
from .failure import Workspace, message
from .lines import Tracer


def run(order: dict[str, Any]) -> None:
    """Run the tests of an order, report each on the order's pipe, and end the process.

    Args:
        order: what `runner.session` wrote: descriptors, nonce, tests, limits.
    """
    for name, (soft, hard) in order["rlimits"].items():
        resource.setrlimit(getattr(resource, name), (soft, hard))
    channel = Channel(order["event_fd"], order.pop("nonce"))
    os.set_inheritable(order["stack_fd"], False)
    exit_now, flush = os._exit, (sys.stdout.flush, sys.stderr.flush)
    channel.send("hello")
    _follow_copy(order["moved"])
    try:
        status = _run(order, channel)
        channel.send("end", status=status)
    except BaseException as error:  # pytest lets out what it cannot handle; the parent must hear of it
        channel.send("end", status=3, error=message(error))
    for each in flush:
        try:
            each()
        except (OSError, ValueError):
            pass  # the user's code closed it
    exit_now(0)  # neither atexit handlers nor threads of the user's code have a say any more


def _run(order: dict[str, Any], channel: Channel) -> int:
    files, keep = _selection(order["tests"], channel)
    if order["tests"] and not files:
        return 4
    workspace = Workspace(order["workspace"], order["foreign"])
    options: dict[str, Any] = {
        "root": order["workspace"],
        "keep": keep,
        "doctests": order["doctests"],
        "limits": (order["test_seconds"], order["stack_fd"], order["hangs"]),
        "tracer": Tracer(workspace.relative) if order["trace"] else None,
    }
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
    # All outcomes are wanted, whatever the project's addopts say of the first failure; what the cache plugin writes
    # goes where everything else goes.
    args = [
        "--color=no",
        "--maxfail=0",
        "--tb=auto",
        "--continue-on-collection-errors",
        "-o",
        "cache_dir=" + order["cache"],
    ]
    return int(pytest.main(order["test_args"] + args + files, plugins=[plugin]))


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
