"""The end of the server: all work stops, no process is left."""

from __future__ import annotations

import asyncio

from lsp_server.features.session import CompanionServer

STOP_SECONDS = 2.0
"""How long `shutdown` waits for work to stop; the tests' processes end at once, the model at its next token."""


async def shutdown(server: CompanionServer, _params: None) -> None:
    """Stop all work."""
    server.shut_down = True
    server.cancel_all()
    if server.outside is not None:
        server.outside.close()
    requests = (work.task for work in server.works.values())
    runs = (watched.task for watched in server.watched.values())
    if tasks := [task for task in (server.ahead, *requests, *runs) if task is not None]:
        await asyncio.wait(tasks, timeout=STOP_SECONDS)
    for offer in server.offers:
        offer.cancel()


def exit(server: CompanionServer, _params: None) -> None:
    """Stop what a client left running that never sent `shutdown`."""
    server.leaving = True
    server.cancel_all()
