"""A model that is exported again while its engine runs: the next request gets the new one."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lsp_server.features.session import CompanionServer

if TYPE_CHECKING:
    from lsp_server.refine.watch import Change, FolderWatch

QUIET_SECONDS = 2.0
"""How long nothing may happen in the folder before it is looked at."""
BUSY_SECONDS = 1.0
"""Between two looks at an engine that has a reply to finish."""

log = logging.getLogger(__name__)


class ModelFolder:
    """Watches the folder of the model that the settings name.

    Args:
        server: whose settings hold.
    """

    def __init__(self, server: CompanionServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._model = ""
        self._watch: FolderWatch | None = None
        self._last = 0.0
        self._renewal: asyncio.Task[None] | None = None

    async def follow(self) -> None:
        """Watch the model's folder, if it is our own engine that runs it and there is one."""
        from lsp_server.models import catalog, store

        settings = self._server.settings
        model = "" if settings.endpoint else settings.model or catalog.DEFAULT
        folder = store.model_dir(model) if model else None
        if model == self._model and (self._watch is not None or folder is None):
            return
        self.close()
        self._model = model
        if folder is not None and folder.is_dir():
            with suppress(OSError):  # of the limits those of the workspace are told
                self._watch = await asyncio.to_thread(self._begin, folder)

    def close(self) -> None:
        """Stop watching."""
        if self._renewal is not None and not self._loop.is_closed():
            self._renewal.cancel()
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _begin(self, folder: Path) -> FolderWatch:
        from lsp_server.refine.watch import FolderWatch

        return FolderWatch(folder, (), self._take)

    def _take(self, change: Change, path: Path) -> None:
        """Note a change; called from the watching thread."""
        self._last = time.monotonic()
        with suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(self._renew)

    def _renew(self) -> None:
        if self._watch is not None and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.ensure_future(self._when_quiet())

    async def _when_quiet(self) -> None:
        while (left := self._last + QUIET_SECONDS - time.monotonic()) > 0:
            await asyncio.sleep(left)
        try:
            while (ended := await asyncio.to_thread(_end_of_older, self._model)) is None:
                await asyncio.sleep(BUSY_SECONDS)
        except Exception:
            log.exception("the engine of a replaced model could not be ended")
            return
        if ended:
            self._server.ready = None  # the old model's
            self._server.log(f"{self._model} was replaced: its engine starts anew with the next request.")


def _end_of_older(model: str) -> bool | None:
    """End the engine that has loaded what is no longer there; None: it has a reply to finish before."""
    import psutil  # type: ignore[import-untyped]

    from lsp_server.engine import runtime, supervise
    from lsp_server.engine.protocol import EngineError
    from lsp_server.models import store

    engine, preferred = supervise.status(model), store.find(model)
    if engine.pid is None or preferred is None:
        return False
    try:
        # Not the preferred one, which may be for a GPU that is not here.
        form = runtime.choose(preferred).form
    except EngineError:
        return False
    try:
        loaded = psutil.Process(engine.pid).create_time()
    except psutil.NoSuchProcess:
        return False
    if form.path.stat().st_ctime <= loaded:
        return False
    if engine.state in ("busy", "loading"):
        return None
    return supervise.stop(model)
