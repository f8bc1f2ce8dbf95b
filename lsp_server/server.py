"""The language server: which LSP feature goes to which function."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, BinaryIO, cast

from lsp_server.features.handshake import CODE_ACTION_KINDS, answer_initialize

if TYPE_CHECKING:
    from lsp_server.features.session import CompanionServer


def create_server() -> CompanionServer:
    """Return the server with all its features."""
    # Not at the top: the LSP library is slow to load, and `initialize` has its answer before.
    from lsprotocol import types

    from lsp_server.features import (
        code_actions,
        code_lens,
        commands,
        configuration,
        diagnostics,
        hover,
        lifecycle,
        on_save,
        outlines,
        outside,
    )
    from lsp_server.features.session import CompanionServer

    server = CompanionServer()
    for method, function in (
        (types.INITIALIZE, configuration.initialize),
        (types.INITIALIZED, configuration.initialized),
        (types.WORKSPACE_DID_CHANGE_CONFIGURATION, configuration.changed),
        (types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS, outside.folders_changed),
        (types.TEXT_DOCUMENT_DID_OPEN, outlines.opened),
        (types.TEXT_DOCUMENT_DID_SAVE, on_save.saved),
        (types.TEXT_DOCUMENT_DID_CHANGE, diagnostics.text_changed),
        (types.TEXT_DOCUMENT_HOVER, hover.hover),
        (types.WINDOW_WORK_DONE_PROGRESS_CANCEL, commands.progress_cancelled),
        (types.SHUTDOWN, lifecycle.shutdown),
        (types.EXIT, lifecycle.exit),
    ):
        server.feature(method)(function)
    kinds = [types.CodeActionKind(kind) for kind in CODE_ACTION_KINDS]
    server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(code_action_kinds=kinds, resolve_provider=False),
    )(code_actions.code_actions)
    server.feature(types.TEXT_DOCUMENT_CODE_LENS, types.CodeLensOptions(resolve_provider=False))(
        code_lens.code_lenses
    )
    for name, command in (
        ("oci.generate", commands.generate),
        ("oci.fix", commands.fix),
        ("oci.fixTest", commands.fix_test),
        ("oci.fixDiagnostic", commands.fix_diagnostic),
        ("oci.runTests", commands.run_tests),
        ("oci.cancel", commands.cancel),
        ("oci.applyProposal", commands.apply_proposal),
        ("oci.acceptProposal", commands.accept_proposal),
        ("oci.discardProposal", commands.discard_proposal),
        ("oci.fitProposal", commands.fit_proposal),
        ("oci.watch", commands.watch),
        ("oci.refineProposal", commands.refine_proposal),
        ("oci.explainProposal", commands.explain_proposal),
        ("oci.proposals", commands.list_proposals),
        ("oci.openProposal", commands.open_proposal),
    ):
        server.command(name)(command)
    return server


def main() -> None:
    """Serve one client on standard input and output until it leaves.

    Raises:
        SystemExit: with status 1 if it leaves without `shutdown`.
    """
    stdin, stdout = answer_initialize(sys.stdin.buffer, sys.stdout.buffer)
    # Whatever prints must not come between the messages.
    sys.stdout = sys.stderr
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    server = create_server()
    try:
        server.start_io(cast(BinaryIO, stdin), cast(BinaryIO, stdout))
    finally:
        server.close()
    if not server.shut_down:
        raise SystemExit(1)  # as the protocol has it for an end without `shutdown`


if __name__ == "__main__":
    main()
