"""What the tests say, as diagnostics; each is about the text that the editor has now, or is not shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lsprotocol import types

from lsp_server.features import documents, l10n, outlines
from lsp_server.features.code_actions import DIAGNOSTIC_SOURCE
from lsp_server.features.edits import lines_of, unchanged
from lsp_server.features.session import CompanionServer

if TYPE_CHECKING:
    from lsp_server.refine.continuous import Finding, Place, Update


@dataclass(frozen=True)
class Shown:
    """What is shown in a file."""

    workspace: Path
    findings: tuple[Finding, ...]


def show(server: CompanionServer, update: Update) -> None:
    """Show what is known after a run, and no longer what was known before.

    Args:
        server: whose client shows it.
        update: of one workspace.
    """
    root = update.workspace
    by_file: dict[PurePosixPath, list[Finding]] = {}
    for finding in update.findings:
        by_file.setdefault(finding.place.path, []).append(finding)
    found = {documents.uri_of(root, path): Shown(root, tuple(findings)) for path, findings in by_file.items()}
    gone = [uri for uri, shown in server.shown.items() if shown.workspace == root and uri not in found]
    for uri in gone:
        del server.shown[uri]
        _publish(server, uri, [])
    server.shown |= found
    for uri in found:
        refresh(server, uri)


def refresh(server: CompanionServer, uri: str) -> None:
    """Show a file's diagnostics at the places that their lines have now; those whose lines were edited are left out."""
    shown = server.shown.get(uri)
    if shown is not None:
        made = (_diagnostic(server, shown.workspace, finding) for finding in shown.findings)
        _publish(server, uri, [each for each in made if each is not None])


def at_line(server: CompanionServer, uri: str, index: int) -> list[Finding]:
    """Return what is shown at a line.

    Args:
        server: what shows it.
        uri: of the file.
        index: the line, from 0, in the text of now.
    """
    shown = server.shown.get(documents.same_uri(uri))
    if shown is None:
        return []
    places = ((finding, _range(server, shown.workspace, finding.place)) for finding in shown.findings)
    return [finding for finding, where in places if where is not None and where.start.line == index]


def text_changed(server: CompanionServer, params: types.DidChangeTextDocumentParams) -> None:
    """Let diagnostics follow their lines while the user types, and end what works on the text before that."""
    server.ahead_cancel.set()
    refresh(server, documents.same_uri(params.text_document.uri))
    outlines.soon(server, params.text_document.uri)
    if server.outside is not None:
        server.outside.text_changed(params.text_document.uri)


def clear(server: CompanionServer, root: Path | None = None) -> None:
    """Take back what is shown of a workspace, or everything."""
    for uri in [uri for uri, shown in server.shown.items() if root in (None, shown.workspace)]:
        del server.shown[uri]
        _publish(server, uri, [])


def _publish(server: CompanionServer, uri: str, diagnostics: list[types.Diagnostic]) -> None:
    buffer = documents.open_document(server, uri)
    server.text_document_publish_diagnostics(
        types.PublishDiagnosticsParams(
            uri=buffer.uri if buffer else uri,
            diagnostics=diagnostics,
            version=buffer.version if buffer else None,
        )
    )


def _diagnostic(server: CompanionServer, root: Path, finding: Finding) -> types.Diagnostic | None:
    where = _range(server, root, finding.place)
    if where is None:
        return None
    related = []
    if server.supports("textDocument", "publishDiagnostics", "relatedInformation"):
        for place in finding.related:
            if (there := _range(server, root, place)) is not None:
                uri = documents.uri_of(root, place.path)
                said = place.text or l10n.text("seen here")
                related.append(types.DiagnosticRelatedInformation(types.Location(uri, there), said))
    severity = types.DiagnosticSeverity.Warning if finding.suspected else types.DiagnosticSeverity.Error
    return types.Diagnostic(
        range=where,
        message=finding.place.text,
        severity=severity,
        source=DIAGNOSTIC_SOURCE,
        code="suspected" if finding.suspected else "test" if finding.tests else "collection",
        related_information=related or None,
        data={"test": finding.tests[0]} if finding.tests else None,
    )


def _range(server: CompanionServer, root: Path, place: Place) -> types.Range | None:
    """Return where a line of a tested text is now, without the white space around it; None if it was edited."""
    text = _text_now(server, root, place)
    index = max(place.line, 1) - 1
    if text != place.tested:
        moved = (by for first, end, by in unchanged(place.tested, text) if first <= index < end)
        if (by := next(moved, None)) is None:
            return None
        index += by
    now = lines_of(text)
    index = min(index, max(len(now) - 1, 0))
    line = now[index] if now else ""
    shown = line.rstrip()
    indent = shown[: len(shown) - len(shown.lstrip())]
    units = server.workspace.position_codec.client_num_units
    return types.Range(types.Position(index, units(indent)), types.Position(index, max(units(shown), 1)))


def _text_now(server: CompanionServer, root: Path, place: Place) -> str:
    buffer = documents.open_document(server, documents.uri_of(root, place.path))
    if buffer is not None:
        return buffer.source
    try:
        return (root / place.path).read_bytes().decode("utf-8")
    except (OSError, ValueError):
        return place.tested
