"""Say what this machine has of all that the companion needs, and the command that mends each lack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lsp_server.engine import runtime, supervise
from lsp_server.engine.protocol import EngineError
from lsp_server.models import catalog, store
from lsp_server.models.catalog import ModelEntry
from runner.errors import RunnerError
from runner.interpreter import describe, find_interpreter
from runner.sandbox.probe import probe, remedy


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    ok: bool
    what: str
    remedy: str = ""
    """The command or step that mends it; empty where it is in order."""


def examine(workspace: Path, model: str = "") -> Iterator[Finding]:
    """Look at the interpreter, the sandbox, the model and the engine; starts none of them.

    Args:
        workspace: the project whose interpreter is looked for.
        model: catalog id; empty for the default.

    Raises:
        UnknownModel: no such id.
    """
    yield Finding(True, f"oci-companion runs on Python {sys.version.split()[0]} in {sys.prefix}")
    yield _interpreter(workspace)
    isolation = probe()
    works = isolation.level != "off"
    yield Finding(works, f"sandbox: {isolation.level} ({isolation.reason})", "" if works else remedy())
    entry = store.entry(model or catalog.DEFAULT)
    yield from _model(entry)
    yield _engine(entry)


def _interpreter(workspace: Path) -> Finding:
    try:
        found = describe(find_interpreter(workspace))
    except RunnerError as error:
        return Finding(False, f"interpreter for the tests of {workspace}", str(error))
    version = ".".join(map(str, found.version))
    what = f"interpreter for the tests of {workspace}: {found.executable} (Python {version}"
    if not found.has_pytest:
        return Finding(
            True, f"{what}, without pytest: unittest's tests and plain functions run, fixtures do not)"
        )
    return Finding(True, f"{what}, with pytest)")


def _model(entry: ModelEntry) -> Iterator[Finding]:
    form = store.find(entry.id)
    if form is not None:
        yield _form(form)
        return
    pulled = store.pulled(entry.id)
    step = "export" if pulled else "pull"
    have = "pulled but not exported" if pulled else "not here"
    remedy = f"oci-companion model {step} {entry.id}" + (
        "" if pulled else f" && oci-companion model export {entry.id}"
    )
    yield Finding(False, f"model: {entry.id} is {have}", remedy)


def _form(preferred: store.Installed) -> Finding:
    """Which form of a model this machine runs, and why it is not the preferred one."""
    try:
        choice = runtime.choose(preferred)
    except EngineError as error:
        remedy = f"oci-companion model export {preferred.model_id}"
        return Finding(False, f"model: {preferred.precision} on {preferred.device}: {error}", remedy)
    form = choice.form
    what = f"model: {form.model_id}, {form.precision} on {form.device} ({choice.memory.name}), in {form.path}"
    return Finding(
        True, f"{what}; not on a GPU, because {choice.passed_over}" if choice.passed_over else what
    )


def _engine(entry: ModelEntry) -> Finding:
    engine = supervise.status(entry.id)
    if engine.state in ("missing", "stopped"):
        return Finding(True, "engine: not running; it starts with the first request")
    what = f"engine: {engine.state}, process {engine.pid} on {engine.device or 'an unknown device'}"
    if engine.state == "failed":
        return Finding(False, f"{what}: {engine.error}", f"oci-companion serve --stop --model {entry.id}")
    return Finding(True, what)
