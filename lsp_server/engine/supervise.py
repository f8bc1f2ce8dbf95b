"""The companion's own server: found when it runs, started when not, restarted when it dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lsp_server.models import store

from . import runfile
from .client import BACKGROUND, Cost, EndpointDown, HttpEngine, StreamBroken
from .protocol import EngineError, Message, Sampling, prompt_room

Notice = Callable[[str], None]
"""Called with a line that says what is being waited for."""

CONTEXT = 8192
"""Tokens of prompt and reply that a server takes unless told otherwise: twice the longest prompts of the training."""
START_SECONDS = 120.0
"""Longest that loading a model may take."""
POLL = 0.1


class Interrupted(EngineError):
    """`cancel` was set while the server was coming up."""


@dataclass(frozen=True)
class EngineStatus:
    """What is known of a model's server without touching it."""

    state: str
    """`missing` (model not installed), `stopped`, `loading`, `ready`, `busy` or `failed`."""
    model: str
    device: str | None = None
    pid: int | None = None
    endpoint: str | None = None
    error: str | None = None


class LocalEngine:
    """An Engine on a server process of our own, shared by all of this user's editors.

    Args:
        model_id: an exported model of the store.
        idle_seconds: after so long without a request a server that this starts ends.
        notice: told when the model is being loaded or restarted.
        background: every request made by hand, in any editor, goes before this one's.
    """

    def __init__(
        self,
        model_id: str,
        idle_seconds: float = 900.0,
        notice: Notice | None = None,
        background: bool = False,
    ) -> None:
        self._model_id = model_id
        self._idle_seconds = idle_seconds
        self._notice = notice or (lambda text: None)
        self._background = background
        self._noted = False
        self._process: subprocess.Popen[bytes] | None = None
        self.last_cost: Cost | None = None
        """What the latest finished reply cost."""

    @property
    def model(self) -> str:
        """Id of the model."""
        return self._model_id

    @property
    def prompt_tokens(self) -> int:
        """What the model was trained on, or less if its server's context leaves less beside a reply."""
        known = store.entry(self._model_id)
        found = _look(self._model_id)
        context = found and found[1].get("context")
        return prompt_room(known.trained_prompt, context or min(CONTEXT, known.context))

    def count(self, messages: Sequence[Message], cancel: threading.Event) -> int | None:
        """Return how many tokens a conversation has, by the model's own tokenizer; starts the server if need be.

        Raises:
            EngineError: the model is missing or cannot be loaded.
        """
        try:
            return self._client(cancel).count(messages, cancel)
        except Interrupted:
            return None

    def stream(
        self, messages: Sequence[Message], sampling: Sampling, cancel: threading.Event
    ) -> Iterator[str]:
        """Yield the reply piece by piece; a server that dies on the way is restarted and asked again, once.

        What was already yielded is not yielded again: the second reply must begin with it, which a greedy or
        seeded one does.

        Raises:
            EngineError: the model is missing, cannot be loaded, or the server died twice.
        """
        given = ""
        try:
            for piece in self._attempt(messages, sampling, cancel):
                given += piece
                yield piece
            return
        except (EndpointDown, StreamBroken) as error:
            self._notice(f"the engine ended unexpectedly ({error}); starting it again")
        pieces = self._attempt(messages, sampling, cancel)
        yield from _after(given, pieces)

    def _attempt(
        self, messages: Sequence[Message], sampling: Sampling, cancel: threading.Event
    ) -> Iterator[str]:
        try:
            engine = self._client(cancel)
        except Interrupted:
            return
        yield from engine.stream(messages, sampling, cancel)
        self.last_cost = engine.last_cost

    def _client(self, cancel: threading.Event) -> HttpEngine:
        running = self.ensure(cancel)
        priority = BACKGROUND if self._background else None
        return HttpEngine(running.endpoint, running.token, running.model, priority)

    def ensure(self, cancel: threading.Event | None = None) -> runfile.Running:
        """Return a server that is ready, starting one if there is none.

        Args:
            cancel: ends the waiting; the server goes on loading.

        Raises:
            EngineError: the model is missing or cannot be loaded, or loading takes over `START_SECONDS`.
            Interrupted: `cancel` was set.
        """
        cancel = cancel or threading.Event()
        if store.find(self._model_id) is None:
            raise EngineError(missing(self._model_id))
        deadline = time.monotonic() + START_SECONDS
        told = False
        while time.monotonic() < deadline:
            found = _look(self._model_id)
            if found is None:
                self._start()
                found = _look(self._model_id)
            if found and found[1]["state"] == "failed":
                raise EngineError(self._load_failure(found[1]["error"]))
            if found and found[1]["state"] != "loading":
                if found[1].get("note") and not self._noted:
                    self._notice(found[1]["note"])
                    self._noted = True
                return found[0]
            if not told:
                self._notice(f"loading {self._model_id}")
                told = True
            if cancel.wait(POLL):
                raise Interrupted("stopped while the model was loading")
        raise EngineError(
            f"{self._model_id} was not loaded within {START_SECONDS:.0f} s; see {runfile.log_file(self._model_id)}"
        )

    def _start(self) -> None:
        """Start the server unless another process just did; return when it answers."""
        try:
            with store.lock(f"serve-{self._model_id}", wait=START_SECONDS):
                if _look(self._model_id) is not None:
                    return
                self._notice(f"starting the engine with {self._model_id}")
                self._process = self._spawn()
                self._await_answer(self._process)
        except store.ModelError as error:
            raise EngineError(str(error)) from error

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "lsp_server.engine.serve", "--model", self._model_id]
        command += ["--idle-seconds", str(self._idle_seconds)]
        with runfile.log_file(self._model_id).open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=store.home(),
                # The editor that started it may close; the server is shared and ends by itself.
                start_new_session=True,
            )

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while _look(self._model_id) is None:
            if process.poll() is not None:
                raise EngineError(self._load_failure(f"it ended with status {process.returncode}"))
            if time.monotonic() > deadline:
                process.kill()
                raise EngineError(self._load_failure(f"it did not answer within {START_SECONDS:.0f} s"))
            time.sleep(POLL)

    def _load_failure(self, reason: str) -> str:
        log = runfile.log_file(self._model_id)
        remedy = (
            f". If memory is short, take a smaller model; if the files are damaged, run `oci-companion model rm "
            f"{self._model_id}` and install it again"
        )
        # A reason that says itself what to do is left alone.
        known = "`oci-companion" in reason
        return f"the engine could not load {self._model_id}: {reason}{'' if known else remedy}. Log: {log}"

    def status(self) -> EngineStatus:
        """What the server is doing; starts and changes nothing."""
        return status(self._model_id)

    def stop(self) -> bool:
        """End the server, whoever started it; return whether there was one."""
        return stop(self._model_id)


def missing(model_id: str) -> str:
    """What to do about a model that is not installed."""
    pull = "" if store.pulled(model_id) else f"`oci-companion model pull {model_id}`, then "
    return f"the model {model_id} is not installed: run {pull}`oci-companion model export {model_id}`"


def status(model_id: str) -> EngineStatus:
    """What a model's server is doing; starts and changes nothing."""
    found = _look(model_id)
    if found is None:
        return EngineStatus("stopped" if store.find(model_id) else "missing", model_id)
    running, health = found
    return EngineStatus(
        health["state"], model_id, health["device"], running.pid, running.endpoint, health["error"]
    )


def stop(model_id: str, grace_seconds: float = 5.0) -> bool:
    """End a model's server; return whether there was one.

    Args:
        model_id: id of the model.
        grace_seconds: how long it may take to end by itself before it is killed.
    """
    found = _look(model_id)
    if found is None:
        return False
    running = found[0]
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline:
            if not _alive(running.pid):
                return True
            time.sleep(POLL)
        os.kill(running.pid, signal.SIGKILL)
    runfile.withdraw(running)
    return True


def _look(model_id: str) -> tuple[runfile.Running, dict[str, Any]] | None:
    """The model's server and what it says of its health, or None when none answers."""
    import httpx

    running = runfile.read(model_id)
    if running is None:
        return None
    url = f"http://127.0.0.1:{running.port}/health"
    headers = {"Authorization": f"Bearer {running.token}"}
    try:
        response = httpx.get(url, headers=headers, timeout=1, trust_env=False, verify=False)
        health = response.json()
    except httpx.TimeoutException:
        # The runtime holds the interpreter while it maps the weights: connected, yet silent, is loading.
        return (running, {"state": "loading", "device": None, "error": None}) if _alive(running.pid) else None
    except (httpx.TransportError, ValueError):
        return None
    # Another program may have got the port since: only ours knows the token and its own process id.
    return (running, health) if response.is_success and health.get("pid") == running.pid else None


def _alive(pid: int) -> bool:
    """Whether a process of that id runs (one that has ended and waits for its parent does not)."""
    import psutil  # type: ignore[import-untyped]

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _after(given: str, pieces: Iterator[str]) -> Iterator[str]:
    """Yield what `pieces` say beyond `given`.

    Raises:
        StreamBroken: they say something else.
    """
    again = ""
    for piece in pieces:
        if len(again) >= len(given):
            yield piece
            continue
        again += piece
        if not (again.startswith(given) or given.startswith(again)):
            raise StreamBroken("the engine ended in mid-reply and its second reply differs; ask again")
        if len(again) > len(given):
            yield again[len(given) :]
