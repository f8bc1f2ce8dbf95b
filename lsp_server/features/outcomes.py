"""How tests ended, in the client's language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsp_server.features import l10n

if TYPE_CHECKING:
    from runner.report import Outcome


def shown(outcome: Outcome) -> str:
    """Return an outcome as the user reads it."""
    words = {
        "passed": l10n.text("passed"),
        "failed": l10n.text("failed"),
        "error": l10n.text("error"),
        "skipped": l10n.text("skipped"),
        "xfailed": l10n.text("xfailed"),
        "xpassed": l10n.text("xpassed"),
        "timeout": l10n.text("timeout"),
        "crashed": l10n.text("crashed"),
        "not run": l10n.text("not run"),
    }
    return words[outcome]
