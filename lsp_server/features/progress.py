"""Where an editor shows the progress of a request."""

from __future__ import annotations

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from lsp_server.features import l10n
from lsp_server.features.narrator import Display
from lsp_server.features.session import CompanionServer


class WorkDone:
    """Progress under a token that the client has agreed to.

    Args:
        server: whose client shows it.
        token: what it is known by.
        title: what is being done.
    """

    def __init__(self, server: CompanionServer, token: str, title: str) -> None:
        self._progress = server.work_done_progress
        self._token = token
        begin = types.WorkDoneProgressBegin(
            title=title, cancellable=True, message=l10n.text("Starting"), percentage=0
        )
        self._progress.begin(token, begin)

    def report(self, message: str, percentage: int) -> None:
        """Show how far the work is."""
        value = types.WorkDoneProgressReport(cancellable=True, message=message, percentage=percentage)
        self._progress.report(self._token, value)

    def end(self, message: str) -> None:
        """Show that it is over."""
        self._progress.end(self._token, types.WorkDoneProgressEnd(message=message))


class Logged:
    """Progress as lines of the log, for clients that show no progress.

    Args:
        server: whose client has the log.
        title: what is being done.
    """

    def __init__(self, server: CompanionServer, title: str) -> None:
        self._server = server
        self._title = title
        server.log(f"{title}: starting")

    def report(self, message: str, percentage: int) -> None:
        """Log how far the work is."""
        self._server.log(f"{self._title}: {message}")

    def end(self, message: str) -> None:
        """Log that it is over."""
        self._server.log(f"{self._title}: {message}")


async def begin(server: CompanionServer, token: str, title: str) -> Display:
    """Begin to show progress, in the way that the client knows."""
    if server.supports("window", "workDoneProgress"):
        try:
            await server.work_done_progress.create_async(token)
        except JsonRpcException as error:
            server.log(f"The client shows no progress: {error}")
        else:
            return WorkDone(server, token, title)
    return Logged(server, title)
