"""What the last run saw at a line, when the mouse rests there: values, output, outcome; answered from state alone."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from lsprotocol import types

from lsp_server.features import diagnostics, documents, l10n
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
    from runner.report import Failure, TestResult

MOST_TESTS = 3
"""Failing tests that are told of in full."""
MOST_LINES = 20
"""Lines of an explanation, and of a test's output."""


def hover(server: CompanionServer, params: types.HoverParams) -> types.Hover | None:
    """Return what is known of a line, None where that is nothing."""
    uri, index = params.text_document.uri, params.position.line
    document = documents.open_document(server, uri)
    try:
        root, path = documents.locate(server, uri)
    except TaskError:
        return None
    watched = server.watched.get(root)
    if document is None or watched is None:
        return None
    history = watched.tests.history
    results = history.results()
    parts: list[str | _Quoted] = []
    told: set[str] = set()
    for finding in diagnostics.at_line(server, uri, index):
        if finding.suspected or not finding.tests:
            parts.append(_Quoted(finding.place.text))
        parts += _of_tests([results[test] for test in finding.tests if test in results and test not in told])
        told |= set(finding.tests)
    known = _of_header(source_of(uri, document.source), index + 1, path, history)
    parts += _of_tests([result for test, result in known.items() if test not in told])
    if not parts:
        return None
    return types.Hover(_content(server, parts))


def _of_header(source: Source, line: int, path: PurePosixPath, history: History) -> dict[str, TestResult]:
    """Return the results of the test whose `def` a line is, or of the tests that executed that function."""
    definition = next((each for each in source.definitions if each.start <= line <= each.header), None)
    if definition is None:
        return {}
    if not is_test_file(path):
        return history.covering(path).get(definition.name, {})
    results = history.of_file(path)
    tests = [test for test, (start, _) in node_ids(source, path).items() if start == definition.start]
    return {each: results[each] for test in tests for each in matching(results, test)}


def _of_tests(results: Sequence[TestResult]) -> Iterator[str | _Quoted]:
    """Tell of the failing tests what they saw, and how many others there are."""
    failing = [result for result in results if result.outcome.fails]
    for result in failing[:MOST_TESTS]:
        name, seconds = result.id.partition("::")[2], f"{result.seconds:.3f}"
        yield l10n.text("`{0}` **{1}** in its last run ({2} s)", name, shown(result.outcome), seconds)
        if result.failure is not None:
            yield _Quoted(explanation(result.failure))
            if output := result.failure.output.strip():
                yield l10n.text("Output:")
                yield _Quoted("\n".join(output.splitlines()[-MOST_LINES:]))
    if len(failing) > MOST_TESTS:
        yield l10n.text("{0} more fail", len(failing) - MOST_TESTS)
    passing = [result for result in results if not result.outcome.fails]
    if len(passing) == 1 == len(results):
        ended, seconds = shown(passing[0].outcome), f"{passing[0].seconds:.3f}"
        yield l10n.text("**{0}** in its last run ({1} s)", ended, seconds)
    elif passing:
        yield l10n.text("{0} of {1} pass", len(passing), len(results))


def explanation(failure: Failure) -> str:
    """Return what a test saw: the assertion with its values, and how expected and actual differ.

    Args:
        failure: as the run told it; where pytest has not explained it, its one line is all there is.
    """
    lines = [line[1:] for line in failure.detail.splitlines() if line.startswith("E ")]
    return textwrap.dedent("\n".join(lines[:MOST_LINES])) or failure.message


@dataclass(frozen=True)
class _Quoted:
    """A text that is shown as it is, whatever marks of Markdown's it has."""

    text: str

    def fenced(self) -> str:
        longest = max((len(run) for run in re.findall("`+", self.text)), default=0)
        fence = "`" * max(3, longest + 1)
        return f"{fence}text\n{self.text}\n{fence}"


def _content(server: CompanionServer, parts: Sequence[str | _Quoted]) -> types.MarkupContent:
    formats = server.supports("textDocument", "hover", "contentFormat") or [types.MarkupKind.Markdown]
    if types.MarkupKind.Markdown in formats:
        fenced = [part.fenced() if isinstance(part, _Quoted) else part for part in parts]
        return types.MarkupContent(types.MarkupKind.Markdown, "\n\n".join(fenced))
    plain = [part.text if isinstance(part, _Quoted) else re.sub(r"[*`]", "", part) for part in parts]
    return types.MarkupContent(types.MarkupKind.PlainText, "\n\n".join(plain))
