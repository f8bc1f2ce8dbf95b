"""Lenses over tests and functions, answered from what the last runs have told: no tests run, no look at the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from lsp_server.features import documents
from lsp_server.features.code_actions import FIX, FIX_TEST, GENERATE, source_of
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
        yield _lens(line, f"Run test{_told(own)}", "oci.runTests", {"uri": uri, "tests": [test]})
        if any(result.outcome.fails for result in own.values()):
            yield _lens(line, FIX_TEST, "oci.fixTest", {"uri": uri, "test": test, "line": line})


def _of_functions(
    source: Source, uri: str, path: PurePosixPath, history: History | None
) -> Iterator[types.CodeLens]:
    covering = history.covering(path) if history is not None else {}
    for definition in source.definitions:
        if definition.kind != "function" or definition.nested:
            continue
        tests = covering.get(definition.name, {})
        if definition.is_stub:
            argument: dict[str, Any] = {"uri": uri, "line": definition.header}
            yield _lens(definition.header, GENERATE, "oci.generate", argument)
        if tests:
            failing = sum(result.outcome.fails for result in tests.values())
            title = f"{len(tests)} test{'s' * (len(tests) > 1)}{f', {failing} failing' if failing else ''}"
            yield _lens(definition.header, title, "oci.runTests", {"uri": uri, "tests": sorted(tests)})
            if failing:
                yield _lens(definition.header, FIX, "oci.fix", {"uri": uri, "line": definition.header})


def _told(results: Mapping[str, TestResult]) -> str:
    """Return how a test, or its parameters, ended last."""
    if not results:
        return ""
    seconds = sum(result.seconds for result in results.values())
    failing = [result for result in results.values() if result.outcome.fails]
    if not failing:
        ended = str(next(iter(results.values())).outcome) if len(results) == 1 else f"{len(results)} passed"
    else:
        ended = str(failing[0].outcome) if len(results) == 1 else f"{len(failing)} of {len(results)} failed"
    return f" ({ended}, {_time(seconds)})"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _lens(line: int, title: str, command: str, argument: dict[str, Any]) -> types.CodeLens:
    at = types.Position(line - 1, 0)
    return types.CodeLens(
        types.Range(at, at), types.Command(title=title, command=command, arguments=[argument])
    )
