"""Takes requests to the session, each on a thread of its own; the session lets one compute at a time."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing

from .protocol import EngineError, Message, Sampling
from .session import Session, Usage

log = logging.getLogger("oci-companion.serve")

DISCONNECT_POLL = 0.1
"""Seconds between two looks whether the client is still there."""


class Desk:
    """Loads the session in the background, then serves whoever is first in the queue.

    Args:
        load: makes the session; runs on a thread.
    """

    def __init__(self, load: Callable[[], Session]) -> None:
        self.failure: str | None = None
        """Why the model could not be loaded, once that is known."""
        self.waiting = 0
        """Requests that are queued or being answered."""
        self.last_used = time.monotonic()
        self._load = load
        self._session: Session | None = None
        self._loaded = asyncio.Event()

    @property
    def state(self) -> str:
        """`loading`, `failed`, `busy` or `ready`."""
        if self._session is None:
            return "failed" if self.failure else "loading"
        return "busy" if self.waiting else "ready"

    @property
    def device(self) -> str | None:
        """`cpu` or `cuda`, once loaded."""
        return self._session.device if self._session else None

    @property
    def context(self) -> int | None:
        """Most tokens of prompt and reply, once loaded."""
        return self._session.context if self._session else None

    @property
    def note(self) -> str:
        """What the user should know of how the model runs, once loaded."""
        return self._session.note if self._session else ""

    async def load(self) -> None:
        """Load the session; what goes wrong is kept in `failure`."""
        try:
            self._session = await asyncio.to_thread(self._load)
        except Exception as error:
            # Whatever it is: who asks must not wait for a model that will never be there.
            log.exception("the model could not be loaded")
            self.failure = str(error) or type(error).__name__
        self.last_used = time.monotonic()
        self._loaded.set()

    async def session(self) -> Session:
        """The session, as soon as it is loaded.

        Raises:
            EngineError: it could not be.
        """
        await self._loaded.wait()
        if self._session is None:
            raise EngineError(self.failure or "the model could not be loaded")
        return self._session

    async def count(self, messages: Sequence[Message]) -> int:
        """How many tokens a conversation has; raises what `Session.count` raises."""
        return await asyncio.to_thread((await self.session()).count, messages)

    async def encode(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation; raises what `Session.encode` raises."""
        return await asyncio.to_thread((await self.session()).encode, messages)

    async def reply(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        stop: Sequence[str],
        gone: Callable[[], Awaitable[bool]],
        usage: Usage,
        background: bool = False,
    ) -> AsyncGenerator[str]:
        """Yield the reply's pieces when the queue has come to it; ends early once `gone()` says so.

        Args:
            prompt, sampling, stop, usage, background: as for `Session.complete`.
            gone: tells whether the client has left.

        Raises:
            EngineError: the runtime failed.
        """
        session = await self.session()
        cancel = threading.Event()
        self.waiting += 1
        watch = asyncio.create_task(_watch(gone, cancel))
        try:
            complete = functools.partial(
                session.complete, prompt, sampling, stop, cancel, usage, background=background
            )
            async with aclosing(_on_thread(complete, cancel)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            watch.cancel()
            self.waiting -= 1
            self.last_used = time.monotonic()


async def _watch(gone: Callable[[], Awaitable[bool]], cancel: threading.Event) -> None:
    while not await gone():
        await asyncio.sleep(DISCONNECT_POLL)
    cancel.set()


async def _on_thread(complete: Callable[[], Iterator[str]], cancel: threading.Event) -> AsyncGenerator[str]:
    """Run the blocking decode loop on a thread and hand its pieces over; when closed, it ends at the next token."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[str | Exception | None] = asyncio.Queue()

    def decode() -> None:
        last: Exception | None = None
        try:
            for piece in complete():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
        except Exception as error:
            last = error
        finally:
            loop.call_soon_threadsafe(pieces.put_nowait, last)

    # A thread of its own: the loop's pool has few, and any number of requests may be waiting for their turn.
    worker = threading.Thread(target=decode, name="oci-decode", daemon=True)
    worker.start()
    try:
        while (piece := await pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece
    finally:
        cancel.set()
        await asyncio.shield(asyncio.to_thread(worker.join))
