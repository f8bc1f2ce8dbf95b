"""An editor for tests: pytest-lsp's client with buffers, that applies edits as strictly as the protocol allows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.protocol import default_converter
from pygls.uris import to_fs_path
from pytest_lsp import LanguageClient, client_capabilities
from pytest_lsp.client import register_lsp_features
from pytest_lsp.protocol import LanguageClientProtocol

SERVER = [sys.executable, "-m", "lsp_server.server"]
WAIT_SECONDS = 120.0
"""Longest that a test waits for something that has to happen."""
TEXT_SYNC = types.TextDocumentContentChangeWholeDocument


class RawCodeActions(LanguageClientProtocol):
    """Leaves the answer to a code action request as it came: lsprotocol makes Commands of CodeActions."""

    def get_result_type(self, method: str) -> type[Any] | None:
        return None if method == types.TEXT_DOCUMENT_CODE_ACTION else super().get_result_type(method)


class Editor(LanguageClient):
    """A client with buffers."""

    def __init__(self) -> None:
        super().__init__(protocol_cls=RawCodeActions, converter_factory=default_converter)
        register_lsp_features(self)
        self.buffers: dict[str, tuple[int, str]] = {}
        self.edits: list[types.WorkspaceEdit] = []
        """What the server has asked to be applied."""
        self.diagnostic_versions: dict[str, int | None] = {}
        self.questions: list[types.ShowMessageRequestParams] = []
        self.answers: list[str | None] = []
        """What the user will click, in turn."""
        # pygls marks what it is given, which a bound method does not allow.
        self.feature(types.WORKSPACE_APPLY_EDIT)(lambda params: self._apply(params))
        self.feature(types.WINDOW_SHOW_MESSAGE_REQUEST)(self._asker())
        # pytest-lsp's own drops the version.
        del self.protocol.fm.features[types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS]
        self.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(lambda params: self._show(params))
        self.feature(types.WORKSPACE_CODE_LENS_REFRESH)(lambda params: None)
        self.feature(types.CLIENT_REGISTER_CAPABILITY)(lambda params: None)

    async def start(
        self,
        folder: Path,
        client: str = "visual-studio-code",
        options: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        change: Callable[[types.ClientCapabilities], None] = lambda capabilities: None,
    ) -> types.InitializeResult:
        """Start a server for a folder, as some client would."""
        capabilities = client_capabilities(client)
        change(capabilities)
        self.set_configuration(settings or {}, section="oci")
        await self.start_io(*SERVER)
        return await self.initialize_session(
            types.InitializeParams(
                capabilities=capabilities,
                initialization_options=options,
                workspace_folders=[types.WorkspaceFolder(folder.as_uri(), folder.name)],
            )
        )

    def _show(self, params: types.PublishDiagnosticsParams) -> None:
        if params.version is not None and params.uri in self.buffers:
            assert params.version <= self.buffers[params.uri][0]
        self.diagnostics[params.uri] = params.diagnostics
        self.diagnostic_versions[params.uri] = params.version

    def open(self, path: Path, text: str | None = None, language: str = "python") -> str:
        """Open a file, or a buffer with another text; return its uri."""
        uri = path.as_uri()
        text = path.read_bytes().decode() if text is None else text
        self.buffers[uri] = (1, text)
        item = types.TextDocumentItem(uri, language, 1, text)
        self.text_document_did_open(types.DidOpenTextDocumentParams(item))
        return uri

    def type(self, uri: str, text: str) -> None:
        """Replace a buffer's text."""
        version = self.buffers[uri][0] + 1
        self.buffers[uri] = (version, text)
        identifier = types.VersionedTextDocumentIdentifier(version, uri)
        self.text_document_did_change(types.DidChangeTextDocumentParams(identifier, [TEXT_SYNC(text)]))

    def save(self, uri: str) -> None:
        """Write a buffer to disk."""
        Path(to_fs_path(uri)).write_bytes(self.text(uri).encode())  # type: ignore[arg-type]
        self.text_document_did_save(types.DidSaveTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def close_buffer(self, uri: str) -> None:
        """Close a buffer."""
        del self.buffers[uri]
        identifier = types.TextDocumentIdentifier(uri)
        self.text_document_did_close(types.DidCloseTextDocumentParams(identifier))

    def text(self, uri: str) -> str:
        """Return a buffer's text."""
        return self.buffers[uri][1]

    async def actions(
        self,
        uri: str,
        line: int,
        end: int | None = None,
        only: list[str] | None = None,
        diagnostics: list[types.Diagnostic] | None = None,
    ) -> list[dict[str, Any]]:
        """Return the code actions at a line (from 0), or for the lines up to `end`, as raw JSON."""
        last = types.Position(line if end is None else end, 0)
        params = types.CodeActionParams(
            types.TextDocumentIdentifier(uri),
            types.Range(types.Position(line, 0), last),
            types.CodeActionContext(diagnostics or [], only=only),
        )
        answer = await self.protocol.send_request_async(types.TEXT_DOCUMENT_CODE_ACTION, params)
        return plain(answer) or []

    async def command(self, name: str, **argument: Any) -> dict[str, Any]:
        """Run a command with its one argument; return its answer."""
        params = types.ExecuteCommandParams(name, [argument])
        answer: dict[str, Any] = plain(await self.workspace_execute_command_async(params))
        return answer

    async def until(self, what: str, condition: Callable[[], Any]) -> Any:
        """Wait until something has happened."""
        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        while not (value := condition()):
            if asyncio.get_running_loop().time() > deadline:
                told = [m.message for m in [*self.messages, *self.log_messages]]
                raise AssertionError(
                    f"waited for {what} in vain; progress {self.progress_reports}, told {told}"
                )
            await asyncio.sleep(0.02)
        return value

    def steps(self, token: str) -> list[str]:
        """Return the messages of a progress so far, the last one at its end."""
        return [report.message for report in self.progress_reports.get(token, []) if report.message]

    def ended(self, token: str) -> bool:
        """Whether a progress has ended."""
        reports = self.progress_reports.get(token, [])
        return any(isinstance(report, types.WorkDoneProgressEnd) for report in reports)

    def said(self, part: str) -> bool:
        """Whether a message with this in it was shown."""
        return any(part in message.message for message in self.messages)

    def _apply(self, params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
        edit = params.edit
        self.edits.append(edit)
        for change in edit.document_changes or []:
            assert isinstance(change, types.TextDocumentEdit)
            document = change.text_document
            if document.uri in self.buffers and self.buffers[document.uri][0] != document.version:
                return types.ApplyWorkspaceEditResult(
                    applied=False, failure_reason="the document has changed"
                )
            self._change(document.uri, list(change.edits))
        for uri, edits in (edit.changes or {}).items():
            self._change(uri, list(edits))
        return types.ApplyWorkspaceEditResult(applied=True)

    def _change(self, uri: str, edits: list[Any]) -> None:
        """Apply edits as an editor does that counts columns in UTF-16."""
        if uri not in self.buffers:
            self.open(Path(uri.removeprefix("file://")))
        text = self.text(uri)
        for edit in sorted(edits, key=lambda e: (e.range.start.line, e.range.start.character), reverse=True):
            start, end = _offset(text, edit.range.start), _offset(text, edit.range.end)
            text = text[:start] + edit.new_text + text[end:]
        self.type(uri, text)

    def _asker(self) -> Callable[[types.ShowMessageRequestParams], Any]:
        async def ask(params: types.ShowMessageRequestParams) -> types.MessageActionItem | None:
            self.questions.append(params)
            await self.until("the user's answer", lambda: self.answers)
            answer = self.answers.pop(0)
            return types.MessageActionItem(answer) if answer else None

        return ask


def plain(value: Any) -> Any:
    """Return the JSON of what pygls made of it."""
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return plain(vars(value)) if hasattr(value, "__dict__") else value


def _offset(text: str, position: types.Position) -> int:
    lines = text.split("\n")
    before = sum(len(line) + 1 for line in lines[: position.line])
    if position.line >= len(lines):
        return len(text)
    units = lines[position.line].encode("utf-16-le")[: 2 * position.character]
    return before + len(units.decode("utf-16-le"))
