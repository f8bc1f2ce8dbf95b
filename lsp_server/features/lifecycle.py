"""The end of the server: all work stops, no process is left."""

from __future__ import annotations

from lsp_server.features.session import CompanionServer


def shutdown(server: CompanionServer, _params: None) -> None:
    """Stop all work; the tests' processes end at once, the model at its next token."""
    server.cancel_all()


def exit(server: CompanionServer, _params: None) -> None:
    """Stop what a client left running that never sent `shutdown`."""
    server.cancel_all()
