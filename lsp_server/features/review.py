"""Proposals for a client that shows them itself: they wait until the user accepts or discards them there."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from lsp_server.features import archive, documents, l10n
from lsp_server.features.edits import hunks, lines_of
from lsp_server.features.messages import (
    PROPOSAL,
    PROPOSAL_CLOSED,
    ClosedProposal,
    Decision,
    WaitingProposal,
)
from lsp_server.features.proposals import Edit, NotApplicable, apply, fit, label, receipt_text
from lsp_server.features.session import KEPT_PROPOSALS, CompanionServer
from lsp_server.refine.proposal import Proposal


def hand_over(server: CompanionServer, token: str, proposal: Proposal) -> None:
    """Give a proposal to the client, where it waits."""
    for superseded in server.keep(token, proposal):
        _closed(server, superseded, "superseded")
    if token not in server.restored:
        archive.keep(server, token, proposal)
    server.protocol.notify(PROPOSAL, asdict(_waiting(server, token, proposal)))


async def restore(server: CompanionServer) -> None:
    """Give the client what waited when the editor was closed."""
    from lsp_server.refine.sessions import SessionsError  # not before the server is up

    try:
        waiting = await archive.sessions(server, "waiting")
    except SessionsError as error:
        server.log(str(error))
        return
    for _, session in reversed(waiting[:KEPT_PROPOSALS]):
        try:
            proposal = await archive.proposal(server, session.id)
        except SessionsError as error:
            server.log(str(error))
            continue
        if proposal is not None and session.id not in server.proposals:
            server.restored.add(session.id)
            hand_over(server, session.id, proposal)


def refit(server: CompanionServer, token: str) -> dict[str, Any] | None:
    """Return a proposal as it fits its file now, None if it waits no longer."""
    proposal = server.proposals.get(token)
    return asdict(_waiting(server, token, proposal)) if proposal is not None else None


async def accept(server: CompanionServer, token: str) -> dict[str, Any]:
    """Apply a proposal to its file as it is now, or say why that cannot be done."""
    proposal = server.proposals.get(token)
    if proposal is None:
        return asdict(Decision(False, l10n.text("It waits no longer: ask again.")))
    try:
        edit = fit(server, proposal)
        documents_change = bool(server.supports("workspace", "workspaceEdit", "documentChanges"))
        # Not annotated: an annotation would ask the user, who has just said yes, once more.
        await apply(server, token, proposal, edit, annotates=False, documents_change=documents_change)
    except NotApplicable as error:
        return asdict(Decision(False, str(error)))
    _closed(server, token, "applied")
    return asdict(Decision(True, ""))


def discard(server: CompanionServer, token: str) -> None:
    """Let a proposal go."""
    if (proposal := server.proposals.pop(token, None)) is not None:
        archive.decide(server, token, proposal, "discarded")
        _closed(server, token, "discarded")


def _closed(
    server: CompanionServer, token: str, outcome: Literal["applied", "discarded", "superseded"]
) -> None:
    server.protocol.notify(PROPOSAL_CLOSED, asdict(ClosedProposal(token, outcome)))


def _waiting(server: CompanionServer, token: str, proposal: Proposal) -> WaitingProposal:
    task, text, restored = proposal.task, proposal.new_text, token in server.restored
    assert text is not None
    try:
        edit, problem = fit(server, proposal), ""
    except NotApplicable as error:
        uri = documents.uri_of(task.snapshot.workspace, task.document.path)
        edit, problem = Edit(uri, None, task.document.text, text, rebased=True), str(error)
    return WaitingProposal(
        token=token,
        uri=edit.uri,
        version=edit.version,
        text=edit.after,
        line=_first_changed_line(edit.before, edit.after),
        label=label(proposal, edit, restored=restored),
        verified=proposal.verified and not edit.rebased and not restored,
        rounds=proposal.receipt.rounds,
        receipt=tuple(receipt_text(proposal, edit).splitlines()),
        problem=problem,
        restored=restored,
    )


def _first_changed_line(before: str, after: str) -> int:
    changed = hunks(before, after)
    # What stands before the first change is the same in both texts.
    return min(changed[0][0], max(len(lines_of(after)) - 1, 0)) if changed else 0
