"""Offering a proposal: with the user's consent it becomes one versioned edit, at a place that is still the same."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from lsp_server.features import archive, documents, l10n
from lsp_server.features.edits import rebase, text_edits
from lsp_server.features.session import CompanionServer
from lsp_server.refine.proposal import Proposal, unified_diff

ANNOTATION = "oci"


class NotApplicable(Exception):
    """The proposal does not fit the file as it is now; the message says why."""


@dataclass(frozen=True)
class Edit:
    """A proposal as an edit of the file as it is now."""

    uri: str
    version: int | None
    """The buffer's version; None if the file is not open."""
    before: str
    after: str
    rebased: bool
    """The file has changed elsewhere since the tests ran."""


async def offer(server: CompanionServer, token: str, proposal: Proposal) -> None:
    """Offer a proposal to the user, and apply it if they want it.

    Args:
        server: whose client is asked.
        token: what the proposal is known by.
        proposal: what was found.
    """
    verdict = proposal.receipt.verdict
    if proposal.new_text is None:
        server.say(l10n.text("No change to propose. {0}", verdict.reason), types.MessageType.Warning)
        return
    archive.keep(server, token, proposal)
    try:
        edit = fit(server, proposal)
        annotates = server.supports("workspace", "workspaceEdit", "changeAnnotationSupport") is not None
        documents_change = bool(server.supports("workspace", "workspaceEdit", "documentChanges"))
        if not (annotates and documents_change):
            if not await _consent(server, proposal, edit):
                server.proposals.pop(token, None)
                archive.decide(server, token, proposal, "discarded")
                return
            edit = fit(server, proposal)  # the user may have typed while the question was open
        await apply(server, token, proposal, edit, annotates=annotates, documents_change=documents_change)
    except NotApplicable as error:
        server.keep(token, proposal)
        why = l10n.text("Nothing was applied: {0} It is kept: run `oci.applyProposal` to try again.", error)
        server.say(why, types.MessageType.Warning)


def label(proposal: Proposal, edit: Edit, *, restored: bool = False) -> str:
    """Return what a proposal is, in one line; tests on texts that may have changed since prove nothing about it now."""
    receipt = proposal.receipt
    passed, total = receipt.tests_after
    state = l10n.text("verified") if proposal.verified else l10n.text("NOT VERIFIED")
    if proposal.verified and edit.rebased:
        state = l10n.text("verified before the file changed elsewhere")
    elif proposal.verified and restored:
        state = l10n.text("verified in an earlier session")
    one = receipt.rounds == 1
    rounds = l10n.text("1 round") if one else l10n.text("{0} rounds", receipt.rounds)
    return l10n.text("OCI {0}: {1} of {2} tests pass, {3}", state, passed, total, rounds)


def fit(server: CompanionServer, proposal: Proposal) -> Edit:
    """Return the edit of the file as it is now.

    Raises:
        NotApplicable: the file is gone, or was changed where the proposal changes it.
    """
    worked_on, root = proposal.task.document, proposal.task.snapshot.workspace
    uri = documents.uri_of(root, worked_on.path)
    buffer = documents.open_document(server, uri)
    if buffer is None and worked_on.version is not None:
        raise NotApplicable(l10n.text("{0} was closed while it was worked on.", worked_on.path))
    if not (root / worked_on.path).exists() and (buffer is None or _was_on_disk(proposal)):
        raise NotApplicable(l10n.text("{0} is no longer there.", worked_on.path))
    try:
        current = buffer.source if buffer else (root / worked_on.path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotApplicable(l10n.text("{0} cannot be read: {1}.", worked_on.path, error)) from error
    assert proposal.new_text is not None
    after = rebase(worked_on.text, proposal.new_text, current, proposal.task.region)
    if after is None:
        raise NotApplicable(
            l10n.text("{0} was changed in the same place since the tests ran.", worked_on.path)
        )
    version = buffer.version if buffer else None
    return Edit(buffer.uri if buffer else uri, version, current, after, rebased=current != worked_on.text)


def _was_on_disk(proposal: Proposal) -> bool:
    """Whether the folder of the file is gone too: a buffer that was never saved has only its folder."""
    path = proposal.task.snapshot.workspace / proposal.task.document.path
    return not path.parent.exists()


def receipt_text(proposal: Proposal, edit: Edit) -> str:
    """Return what was proven, one fact a line."""
    lines = proposal.receipt.lines()
    if edit.rebased:
        lines.append("note       the file has changed elsewhere since the tests ran")
    return "\n".join(lines)


async def _consent(server: CompanionServer, proposal: Proposal, edit: Edit) -> bool:
    """Ask the user, who may look at the diff first."""
    kind = types.MessageType.Info if proposal.verified else types.MessageType.Warning
    # The answer is a title. If translations make two of them the same, it is the later one: nothing is applied
    # that was not meant.
    meant: dict[str, Literal["apply", "show", "discard"]] = {
        l10n.text("Apply"): "apply",
        l10n.text("Show diff"): "show",
        l10n.text("Discard"): "discard",
    }
    actions = [types.MessageActionItem(title) for title in meant]
    message = f"{label(proposal, edit)} ({proposal.task.document.path})\n{receipt_text(proposal, edit)}"
    while True:
        answer = await server.window_show_message_request_async(
            types.ShowMessageRequestParams(type=kind, message=message, actions=actions)
        )
        chosen = meant.get(answer.title) if answer is not None else None
        if chosen != "show":
            return chosen == "apply"
        await _show_diff(server, proposal, edit)


async def _show_diff(server: CompanionServer, proposal: Proposal, edit: Edit) -> None:
    diff = unified_diff(edit.before, edit.after, str(proposal.task.document.path))
    if server.supports("window", "showDocument", "support"):
        folder = Path(tempfile.mkdtemp(prefix="oci-companion-"))
        server.temporary.append(folder)
        file = folder / f"{proposal.task.document.path.name}.diff"
        file.write_text(diff, encoding="utf-8", newline="")
        try:
            shown = await server.window_show_document_async(types.ShowDocumentParams(uri=file.as_uri()))
            if shown.success:
                return
        except JsonRpcException as error:
            server.log(f"The client does not show documents: {error}")
    server.window_show_message(types.ShowMessageParams(type=types.MessageType.Info, message=diff))


async def apply(
    server: CompanionServer,
    token: str,
    proposal: Proposal,
    edit: Edit,
    *,
    annotates: bool,
    documents_change: bool,
) -> None:
    """Send the edit; nothing may be awaited between fitting it and this."""
    name = label(proposal, edit)
    edits = text_edits(edit.before, edit.after, server.workspace.position_codec)
    if documents_change:
        changes = types.TextDocumentEdit(
            types.OptionalVersionedTextDocumentIdentifier(edit.uri, edit.version),
            [types.AnnotatedTextEdit(ANNOTATION, e.range, e.new_text) for e in edits]
            if annotates
            else [*edits],
        )
        annotation = types.ChangeAnnotation(
            label=name, needs_confirmation=True, description=receipt_text(proposal, edit)
        )
        workspace_edit = types.WorkspaceEdit(
            document_changes=[changes], change_annotations={ANNOTATION: annotation} if annotates else None
        )
    else:
        workspace_edit = types.WorkspaceEdit(changes={edit.uri: edits})
    try:
        result = await server.workspace_apply_edit_async(types.ApplyWorkspaceEditParams(workspace_edit, name))
    except JsonRpcException as error:
        raise NotApplicable(l10n.text("the editor refused the edit ({0}).", error)) from error
    if not result.applied:
        if not result.failure_reason:
            raise NotApplicable(l10n.text("the editor did not take the edit."))
        raise NotApplicable(l10n.text("the editor did not take the edit ({0}).", result.failure_reason))
    server.proposals.pop(token, None)
    archive.decide(server, token, proposal, "applied")
    note = " The file has changed elsewhere since the tests ran." if edit.rebased else ""
    server.log(f"Applied. {name}.{note}\n{receipt_text(proposal, edit)}")
