"""An editor that shows proposals itself, as the VS Code extension does."""

from __future__ import annotations

from typing import Any

from lsp_server.features.messages import ACTIVITY, EXPLANATION, PROPOSAL, PROPOSAL_CLOSED, REPLY
from tests.protocol.editor import Editor, plain

REVIEWS = {"proposals": True}


class Reviewer(Editor):
    """Keeps what the server sends to such clients only."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[dict[str, Any]] = []
        self.closed: list[dict[str, Any]] = []
        self.activities: list[dict[str, Any]] = []
        self.explained: list[dict[str, Any]] = []
        self.replies: list[dict[str, Any]] = []
        for method, kept in (
            (PROPOSAL, self.waiting),
            (PROPOSAL_CLOSED, self.closed),
            (ACTIVITY, self.activities),
            (EXPLANATION, self.explained),
            (REPLY, self.replies),
        ):
            self._keep(method, kept)

    def _keep(self, method: str, kept: list[dict[str, Any]]) -> None:
        self.feature(method)(lambda message: kept.append(plain(message)))

    async def proposal(self) -> dict[str, Any]:
        """Return the next proposal."""
        await self.until("a proposal", lambda: self.waiting)
        return self.waiting.pop(0)
