"""Code actions, answered from the buffer's text alone: no model, no tests, no look at the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lsprotocol import types

from lsp_server.features import documents, l10n
from lsp_server.features.outlines import source_of
from lsp_server.features.session import CompanionServer
from lsp_server.refine.discover import node_ids
from lsp_server.refine.locate import region_to_generate
from lsp_server.refine.source import Source
from lsp_server.refine.task import GenerateRequest, Snapshot, TaskError
from runner.index import is_test_file

KINDS = (types.CodeActionKind.QuickFix, types.CodeActionKind.RefactorRewrite)
DIAGNOSTIC_SOURCE = "oci"

_TITLE_CHARS = 60


def code_actions(
    server: CompanionServer, params: types.CodeActionParams
) -> list[types.CodeAction | types.Command]:
    """Return what can be done at a place."""
    uri = params.text_document.uri
    document = documents.open_document(server, uri)
    if document is None or not documents.is_python_file(uri):
        return []
    path = PurePosixPath(Path(document.path).as_posix())
    source = source_of(uri, document.source)
    line = params.range.start.line + 1
    found: list[types.CodeAction] = []
    theirs = [each for each in params.context.diagnostics if _is_theirs(each)]
    ours = [each for each in params.context.diagnostics if each not in theirs]

    def add(
        title: str,
        command: str,
        argument: dict[str, Any],
        kinds: Sequence[types.CodeActionKind],
        diagnostics: Sequence[types.Diagnostic] = ours,
    ) -> None:
        # With diagnostics it is their fix; a menu of everything lists it once.
        asked = [
            kind for kind in (kinds if diagnostics else kinds[::-1]) if _wanted(kind, params.context.only)
        ]
        if asked:
            kind = asked[0]
            attached = list(diagnostics) if kind is types.CodeActionKind.QuickFix and diagnostics else None
            found.append(_action(server, title, kind, command, {"uri": uri, **argument}, attached))

    if not is_test_file(path):
        for each in theirs:
            add(_fix_title(each), "oci.fixDiagnostic", _complaint(each), KINDS[:1], [each])
    if _can_generate(source, path, params.range):
        add(l10n.text("Generate with OCI"), "oci.generate", _lines(params.range), KINDS[1:])
    test = _test_at(source, path, line) or _test_of(params.context.diagnostics)
    if test:
        add(l10n.text("Fix failing test with OCI"), "oci.fixTest", {"test": test, "line": line}, KINDS)
    elif is_test_file(path):
        if path.name != "conftest.py" and source.definitions:
            add(l10n.text("Fix with OCI"), "oci.fix", {}, KINDS if ours else KINDS[1:])
    elif source.outermost_function(line) is not None:
        add(l10n.text("Fix with OCI"), "oci.fix", {"line": line}, KINDS if ours else KINDS[1:])
    if server.supports("textDocument", "codeAction", "codeActionLiteralSupport"):
        return [*found]
    return [action.command for action in found if action.command]


def _wanted(kind: types.CodeActionKind, only: Sequence[types.CodeActionKind | str] | None) -> bool:
    """Whether a request for some kinds asks for this one; `refactor` asks for `refactor.rewrite` as well."""
    values = [types.CodeActionKind(o).value if isinstance(o, types.CodeActionKind) else o for o in only or ()]
    return not values or any(v == "" or kind.value == v or kind.value.startswith(v + ".") for v in values)


def _lines(chosen: types.Range) -> dict[str, int]:
    """Return the lines (from 1) of a selection, or of the cursor."""
    start, end = chosen.start, chosen.end
    if start == end:
        return {"line": start.line + 1}
    last = end.line if end.character == 0 and end.line > start.line else end.line + 1
    return {"line": start.line + 1, "endLine": last}


def _can_generate(source: Source, path: PurePosixPath, chosen: types.Range) -> bool:
    lines = _lines(chosen)
    request = GenerateRequest(Snapshot(Path("/")), path, lines["line"], lines.get("endLine"))
    try:
        region_to_generate(source, request)
    except TaskError:
        return False
    return True


def _test_at(source: Source, path: PurePosixPath, line: int) -> str:
    """Return the test around a line as `Class::test`, empty if there is none."""
    if not is_test_file(path):
        return ""
    for test, (start, end) in node_ids(source, path).items():
        if start <= line <= end:
            return str(test).partition("::")[2]
    return ""


def _test_of(diagnostics: Sequence[types.Diagnostic]) -> str:
    """Return the node id that a diagnostic of our own carries, empty if there is none."""
    for diagnostic in diagnostics:
        data = diagnostic.data
        if (
            diagnostic.source == DIAGNOSTIC_SOURCE
            and isinstance(data, dict)
            and isinstance(data.get("test"), str)
        ):
            return str(data["test"])
    return ""


def _is_theirs(diagnostic: types.Diagnostic) -> bool:
    """Whether another tool reports an error or a warning."""
    return diagnostic.source not in (None, "", DIAGNOSTIC_SOURCE) and (
        diagnostic.severity is None or diagnostic.severity <= types.DiagnosticSeverity.Warning
    )


def _fix_title(diagnostic: types.Diagnostic) -> str:
    """Name the complaint: there may be several at a line."""
    message = diagnostic.message if isinstance(diagnostic.message, str) else diagnostic.message.value
    code = str(diagnostic.code) if diagnostic.code is not None else ""
    first = " ".join([code, *message.split("\n")[0].split()]).strip()
    short = first if len(first) <= _TITLE_CHARS else f"{first[: _TITLE_CHARS - 1]}…"
    return l10n.text("Fix with OCI: {0}", short)


def _complaint(diagnostic: types.Diagnostic) -> dict[str, Any]:
    return {
        "line": diagnostic.range.start.line + 1,
        "source": diagnostic.source,
        "code": str(diagnostic.code) if diagnostic.code is not None else "",
        "message": diagnostic.message if isinstance(diagnostic.message, str) else diagnostic.message.value,
    }


def _action(
    server: CompanionServer,
    title: str,
    kind: types.CodeActionKind,
    command: str,
    argument: dict[str, Any],
    diagnostics: list[types.Diagnostic] | None,
) -> types.CodeAction:
    tags = server.supports("textDocument", "codeAction", "tagSupport", "valueSet") or ()
    generated = types.CodeActionTag.LlmGenerated
    return types.CodeAction(
        title=title,
        kind=kind,
        diagnostics=diagnostics,
        command=types.Command(title=title, command=command, arguments=[argument]),
        tags=[generated] if generated in tags or generated.value in tags else None,
    )
