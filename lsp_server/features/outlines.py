"""Outlines of the editor's buffers, made in the pause after a key, so that nobody has to wait for them."""

from __future__ import annotations

import asyncio

from lsprotocol import types

from lsp_server.features import documents
from lsp_server.features.session import CompanionServer
from lsp_server.refine.source import Outlines

PAUSE_SECONDS = 0.05
"""After so long without a key; editors ask for actions and lenses later than that."""

source_of = Outlines()
"""Returns the outline of a buffer: editors ask again at every move of the cursor."""


def opened(server: CompanionServer, params: types.DidOpenTextDocumentParams) -> None:
    """Make the outline of a file that was opened."""
    soon(server, params.text_document.uri)


def soon(server: CompanionServer, uri: str) -> None:
    """Make a buffer's outline in the next pause.

    Args:
        server: who has the buffer.
        uri: as the client writes it.
    """
    if (waiting := server.outlining.pop(uri, None)) is not None:
        waiting.cancel()
    if documents.is_python_file(uri):
        server.outlining[uri] = asyncio.get_running_loop().call_later(PAUSE_SECONDS, _make, server, uri)


def _make(server: CompanionServer, uri: str) -> None:
    server.outlining.pop(uri, None)
    if (document := documents.open_document(server, uri)) is not None:
        source_of(uri, document.source)
