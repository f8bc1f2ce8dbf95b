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
ACTIVITY = "oci/activity"
"""A request has come to another phase."""
REPLY = "oci/reply"
"""What the model writes; sent while the client watches (`oci.watch`)."""
EXPLANATION = "oci/explanation"
"""A piece of an explanation that was asked for by `oci.explainProposal`."""


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
    rounds: int
    """How many the model needed, those of earlier proposals that it was refined from included."""
    receipt: tuple[str, ...]
    """What was proven, one fact a line."""
    problem: str
    """Why it does not fit the file as it is now; empty if it does."""
    restored: bool
    """It was made in an earlier session of the editor."""


@dataclass(frozen=True)
class ClosedProposal:
    """A proposal that waits no longer."""

    token: str
    outcome: Literal["applied", "discarded", "superseded"]
    """Superseded: so many newer ones wait that it was let go."""


@dataclass(frozen=True)
class Activity:
    """What is being done for a request, until its progress ends."""

    token: str
    """Of the request and its progress."""
    phase: Literal["loading", "generating", "testing"]
    model: str
    """The model's id; empty if that is the endpoint's to say."""
    device: str
    """What the model runs on, such as `cpu` or `cuda`; empty while that is not known, and for endpoints."""


@dataclass(frozen=True)
class Reply:
    """What the model writes for the latest request, and what becomes of it, in Markdown."""

    token: str
    """Of the request."""
    text: str
    begins: bool
    """Whether `text` is all there is so far, instead of what has come since."""


@dataclass(frozen=True)
class Decision:
    """The answer to `oci.acceptProposal`."""

    applied: bool
    message: str
    """Why it was not applied; empty if it was."""


@dataclass(frozen=True)
class ExplanationPiece:
    """Why the test failed and what was changed, as far as the model has come."""

    token: str
    """The proposal's."""
    text: str
    """What comes next."""
    done: bool
    """Nothing more comes."""


@dataclass(frozen=True)
class KeptProposal:
    """One of the answer to `oci.proposals`, the latest first."""

    token: str
    uri: str
    target: str
    """Qualified name of the function or class; empty for plain lines."""
    created: float
    """Seconds since the epoch."""
    verdict: str
    reason: str
    decision: Literal["waiting", "applied", "discarded"]


NOTIFICATIONS = {
    PROPOSAL: WaitingProposal,
    PROPOSAL_CLOSED: ClosedProposal,
    ACTIVITY: Activity,
    REPLY: Reply,
    EXPLANATION: ExplanationPiece,
}
"""What goes to the client unasked."""
ANSWERS = (Decision, KeptProposal)
"""What goes to the client as the result of a command."""
