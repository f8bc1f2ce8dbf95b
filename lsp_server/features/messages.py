"""What goes to a client that shows proposals itself (`{"proposals": true}` in its initialization options).

`extension/src/messages.ts` is made of this file by `extension/generate_messages.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PROPOSAL = "oci/proposal"
"""A proposal waits to be accepted or discarded."""
PROPOSAL_CLOSED = "oci/proposalClosed"
"""A proposal waits no longer."""


@dataclass(frozen=True)
class WaitingProposal:
    """A proposal as an edit of its file as that is now."""

    token: str
    """What it is known by."""
    uri: str
    """The file."""
    version: int | None
    """The file's version that `text` was made for; null if it is not open."""
    text: str
    """The whole file with the proposal; where it does not fit the file, the file that was tested with it."""
    line: int
    """The first line of `text` (from 0) that the proposal changes."""
    label: str
    """What it is, in one line."""
    verified: bool
    """Whether the tests have proven it, on the file as it is now."""
    receipt: tuple[str, ...]
    """What was proven, one fact a line."""
    problem: str
    """Why it does not fit the file as it is now; empty if it does."""


@dataclass(frozen=True)
class ClosedProposal:
    """A proposal that waits no longer."""

    token: str
    outcome: Literal["applied", "discarded", "superseded"]
    """Superseded: so many newer ones wait that it was let go."""


@dataclass(frozen=True)
class Decision:
    """The answer to `oci.acceptProposal`."""

    applied: bool
    message: str
    """Why it was not applied; empty if it was."""


NOTIFICATIONS = {PROPOSAL: WaitingProposal, PROPOSAL_CLOSED: ClosedProposal}
"""What goes to the client unasked."""
ANSWERS = (Decision,)
"""What goes to the client as the result of a command."""
