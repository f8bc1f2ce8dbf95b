"""Lenses over tests and functions, answered from what the last runs have told: no tests run, no look at the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from lsp_server.features import documents, l10n
from lsp_server.features.outcomes import shown
from lsp_server.features.outlines import source_of
from lsp_server.features.session import CompanionServer
from lsp_server.refine.discover import node_ids
from lsp_server.refine.locate import matching
from lsp_server.refine.source import Source
from lsp_server.refine.task import TaskError
from runner.index import is_test_file

if TYPE_CHECKING:
    from runner.history import History
    from runner.report import TestResult


def code_lenses(server: CompanionServer, params: types.CodeLensParams) -> list[types.CodeLens]:
    """Return a file's lenses."""
    uri = params.text_document.uri
    document = documents.open_document(server, uri)
    if document is None:
        return []
    try:
        root, path = documents.locate(server, uri)
    except TaskError:
        return []
    watched = server.watched.get(root)
    history = watched.tests.history if watched is not None else None
    source = source_of(uri, document.source)
    if is_test_file(path):
        return list(_of_tests(source, uri, path, history))
    return list(_of_functions(source, uri, path, history))


def refresh(server: CompanionServer) -> None:
    """Let the client ask again, where it can be told to."""
    if server.supports("workspace", "codeLens", "refreshSupport"):
        server.workspace_code_lens_refresh(None)


def _of_tests(
    source: Source, uri: str, path: PurePosixPath, history: History | None
) -> Iterator[types.CodeLens]:
    results = history.of_file(path) if history is not None else {}
    for test, (line, _) in node_ids(source, path).items():
        own = {each: results[each] for each in matching(results, test)}
        yield _lens(line, _run_title(own), "oci.runTests", {"uri": uri, "tests": [test]})
        if any(result.outcome.fails for result in own.values()):
            yield _lens(
                line,
                l10n.text("Fix failing test with OCI"),
                "oci.fixTest",
                {"uri": uri, "test": test, "line": line},
            )


def _of_functions(
    source: Source, uri: str, path: PurePosixPath, history: History | None
) -> Iterator[types.CodeLens]:
    covering = history.covering(path) if history is not None else {}
    argument: dict[str, Any]
    for definition in source.definitions:
        if definition.kind != "function" or definition.nested:
            continue
        tests = covering.get(definition.name, {})
        if definition.is_stub:
            argument = {"uri": uri, "line": definition.header}
            yield _lens(definition.header, l10n.text("Generate with OCI"), "oci.generate", argument)
        if tests:
            failing = sum(result.outcome.fails for result in tests.values())
            title = l10n.text("1 test") if len(tests) == 1 else l10n.text("{0} tests", len(tests))
            if failing:
                title = l10n.text("{0}, {1} failing", title, failing)
            yield _lens(definition.header, title, "oci.runTests", {"uri": uri, "tests": sorted(tests)})
            if failing:
                argument = {"uri": uri, "line": definition.header}
                yield _lens(definition.header, l10n.text("Fix with OCI"), "oci.fix", argument)


def _run_title(results: Mapping[str, TestResult]) -> str:
    """Return the title of what runs a test: with how it, or its parameters, ended last."""
    if not results:
        return l10n.text("Run test")
    seconds = sum(result.seconds for result in results.values())
    failing = sum(result.outcome.fails for result in results.values())
    if len(results) == 1:
        ended = shown(next(iter(results.values())).outcome)
    elif failing:
        ended = l10n.text("{0} of {1} failed", failing, len(results))
    else:
        ended = l10n.text("{0} passed", len(results))
    return l10n.text("Run test ({0}, {1})", ended, _time(seconds))


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _lens(line: int, title: str, command: str, argument: dict[str, Any]) -> types.CodeLens:
    at = types.Position(line - 1, 0)
    return types.CodeLens(
        types.Range(at, at), types.Command(title=title, command=command, arguments=[argument])
    )
