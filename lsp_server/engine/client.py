"""An Engine over any OpenAI-compatible endpoint.

Errors, all of them EngineError:

    EngineError
    ├── ContextTooLong      the prompt does not fit
    ├── EndpointDown        nothing answers there
    ├── Refused             it answers, and will not: token, model, request, memory
    └── StreamBroken        it began to answer and broke off
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lsp_server.models.catalog import TRAINED_PROMPT

from .protocol import ContextTooLong, EngineError, Message, Sampling, prompt_room

# httpx takes a good part of the half second in which the language server must answer: imported at first use.
if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 5.0
ASK_SECONDS = 5.0
"""Longest wait for what is only good to know; without it there is an estimate."""
BACKGROUND = 1
"""`priority` of a request that all made by hand go before."""
LISTED = 8
"""Models that a message names."""
CANCEL_POLL = 0.05
"""Seconds between two looks at `cancel` while nothing arrives."""


class EndpointDown(EngineError):
    """Nothing answers at the endpoint."""


class Refused(EngineError):
    """The endpoint answered with an error."""


class StreamBroken(EngineError):
    """The endpoint broke off in the middle of a reply."""


@dataclass(frozen=True)
class Cost:
    """What the last reply cost, as far as the endpoint tells."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    queued_seconds: float | None = None
    prefill_seconds: float | None = None
    decode_seconds: float | None = None
    finish_reason: str | None = None


class HttpEngine:
    """Streams replies from an endpoint.

    Args:
        endpoint: base address up to and with `/v1` (added when it has no path).
        token: bearer token, empty for none.
        model: id to ask for; empty: the first that the endpoint lists.
        priority: vLLM's request field, larger is later; None leaves it out, as servers without it may refuse it.
    """

    def __init__(self, endpoint: str, token: str = "", model: str = "", priority: int | None = None) -> None:
        parts = urlsplit(endpoint if "//" in endpoint else f"http://{endpoint}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EngineError(f"'{endpoint}' is no endpoint; write it like http://127.0.0.1:8000/v1")
        path = parts.path.rstrip("/") or "/v1"
        self.endpoint = f"{parts.scheme}://{parts.netloc}{path}"
        self.last_cost: Cost | None = None
        """What the latest finished reply cost."""
        self._local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        self._token = token
        self._model = model
        self._listed = False
        self._priority = priority
        self._counts = True

    @property
    def model(self) -> str:
        """Id of the model that answers; empty until the endpoint was asked, if none was given."""
        return self._model

    @property
    def prompt_tokens(self) -> int:
        """What OpenCodeInterpreter was trained on, or less if the endpoint tells of a context that leaves less."""
        listed = self._asked("GET", f"{self.endpoint}/models").get("data")
        models = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        model = next((each for each in models if each.get("id") == self._model), models[0] if models else {})
        context = model.get("max_model_len")
        return prompt_room(TRAINED_PROMPT, context) if isinstance(context, int) else TRAINED_PROMPT

    def count(self, messages: Sequence[Message], cancel: threading.Event) -> int | None:
        """Return how many tokens a conversation has; None where the endpoint has no `/tokenize` like vLLM's."""
        if not self._counts:
            return None
        body = {"messages": _turns(messages), **({"model": self._model} if self._model else {})}
        count = self._asked("POST", f"{self.endpoint.removesuffix('/v1')}/tokenize", body).get("count")
        # One that does not answer is not asked again: each time might take as long.
        self._counts = isinstance(count, int)
        return count if isinstance(count, int) else None

    def _asked(self, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the endpoint answers, or nothing: what is wrong with it, the request for a reply will tell."""
        import httpx

        timeout = httpx.Timeout(ASK_SECONDS)
        try:
            with httpx.Client(timeout=timeout, **self._connection()) as client:
                answer = client.request(method, url, json=body).raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return {}
        return answer if isinstance(answer, dict) else {}

    def stream(
        self, messages: Sequence[Message], sampling: Sampling, cancel: threading.Event
    ) -> Iterator[str]:
        """Yield the reply piece by piece; ends within 0.2 s of `cancel`, whatever the endpoint does.

        Raises:
            EngineError: one of the tree at the top of this module, with what mends it.
        """
        arrived: queue.SimpleQueue[str | Exception | None] = queue.SimpleQueue()
        reader = _Reader(self._read(messages, sampling, arrived), arrived)
        reader.start()
        try:
            while not cancel.is_set():
                try:
                    item = arrived.get(timeout=CANCEL_POLL)
                except queue.Empty:
                    continue
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            reader.stop()

    async def _read(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        arrived: queue.SimpleQueue[str | Exception | None],
    ) -> None:
        """Runs on the reader's thread: put every piece of the reply into `arrived`."""
        import httpx

        self.last_cost = None
        try:
            async with self._client() as client:
                if not self._listed:
                    self._model = await self._listed_model(client)
                    self._listed = True
                await self._reply(client, self._body(messages, sampling), arrived)
        except httpx.ConnectError as error:
            raise EndpointDown(
                f"nothing answers at {self.endpoint} ({error}): start the server there, or correct the setting "
                "oci.endpoint (empty: the companion starts its own)"
            ) from error
        except httpx.HTTPError as error:
            raise EndpointDown(
                f"{self.endpoint} could not be asked: {error or type(error).__name__}"
            ) from error

    async def _reply(
        self,
        client: httpx.AsyncClient,
        body: dict[str, Any],
        arrived: queue.SimpleQueue[str | Exception | None],
    ) -> None:
        import httpx
        from httpx_sse import aconnect_sse

        begun = False
        try:
            async with aconnect_sse(client, "POST", f"{self.endpoint}/chat/completions", json=body) as source:
                await self._check(source.response)
                self._need_stream(source.response)
                async for text in self._pieces(source):
                    begun = True
                    if text:
                        arrived.put(text)
        except (StreamBroken, httpx.RemoteProtocolError, httpx.ReadError) as error:
            if not begun:
                await self._ask_why(body)
            if isinstance(error, StreamBroken):
                raise
            raise self._broken(str(error) or type(error).__name__) from error

    async def _ask_why(self, body: dict[str, Any]) -> None:
        """Raise what is wrong with a request whose stream broke off before it began, if the endpoint tells.

        llama-cpp-python says 200 before it looks at the prompt, so it can tell only when asked for one piece.
        """
        import httpx

        whole = {name: value for name, value in body.items() if name != "stream_options"}
        whole |= {"stream": False, "max_tokens": 1}
        with contextlib.suppress(httpx.HTTPError):
            # A client of its own: the server closes the connection that it broke off on.
            async with self._client() as client:
                await self._check(await client.post(f"{self.endpoint}/chat/completions", json=whole))

    def _need_stream(self, response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "nothing").partition(";")[0]
        if kind != "text/event-stream":
            raise Refused(
                f"{self.endpoint} answers with {kind} instead of a streamed reply: oci.endpoint must be the address "
                "of an OpenAI-compatible server, up to and with its /v1"
            )

    def _broken(self, reason: str) -> StreamBroken:
        return StreamBroken(
            f"{self.endpoint} broke off in the middle of the reply ({reason}): the server may have run out of "
            "memory or been ended; look at its log and try again"
        )

    def _client(self) -> httpx.AsyncClient:
        import httpx

        # No read timeout: a long prompt may take a minute before its first token, and cancel works meanwhile.
        return httpx.AsyncClient(timeout=httpx.Timeout(None, connect=CONNECT_SECONDS), **self._connection())

    def _connection(self) -> dict[str, Any]:
        return {
            "headers": {"Authorization": f"Bearer {self._token}"} if self._token else {},
            # A proxy from the environment must not see what is said on this machine.
            "trust_env": not self._local,
            "verify": self.endpoint.startswith("https"),
        }

    def _body(self, messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": _turns(messages),
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if sampling.temperature > 0:
            body["top_p"] = sampling.top_p
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if self._priority is not None:
            body["priority"] = self._priority
        return body

    async def _listed_model(self, client: httpx.AsyncClient) -> str:
        """Return the model to ask for, as the endpoint lists it.

        Some servers, llama.cpp's among them, answer to any name with the model they have: a name that is not listed
        is refused here, lest a receipt names a model that never answered.
        """
        response = await client.get(f"{self.endpoint}/models")
        if not response.is_success and self._model and response.status_code not in (401, 403):
            # A server need not list its models.
            return self._model
        await self._check(response)
        listed = _model_ids(response.text)
        if not listed and not self._model:
            raise Refused(f"{self.endpoint} lists no model; name one in the setting oci.model")
        # A gateway may list a pattern, such as `team/*`.
        if not self._model or not listed or any(fnmatchcase(self._model, each) for each in listed):
            return self._model or listed[0]
        raise Refused(
            f"{self.endpoint} has no model '{self._model}'; it has {', '.join(listed[:LISTED])}"
            f"{', …' * (len(listed) > LISTED)}: correct oci.model or oci.endpoint"
        )

    async def _check(self, response: httpx.Response) -> None:
        """Turn an HTTP error into an EngineError with its remedy."""
        if response.is_success:
            return
        error = _told((await response.aread()).decode(errors="replace"))
        status = response.status_code
        if error.context:
            raise ContextTooLong(error.message)
        if status in (401, 403):
            raise Refused(
                f"{self.endpoint} refuses the token ({error.message}): set the right one for this endpoint"
            )
        if status == 404 or error.code == "model_not_found":
            raise Refused(
                f"{self.endpoint} has no model '{self._model}' or no chat there ({error.message}): correct oci.model "
                "or oci.endpoint"
            )
        raise self._failure(error, f"status {status}")

    def _failure(self, error: _Told, where: str) -> Refused:
        if error.code == "out_of_memory" or "out of memory" in error.message.lower():
            return Refused(
                f"the model ran out of memory ({error.message}): close what uses it, take a smaller model, or lower "
                "the context (oci-companion serve --context)"
            )
        return Refused(f"{self.endpoint} answered with an error ({where}): {error.message}")

    async def _pieces(self, source: Any) -> AsyncIterator[str]:
        """Yield the text of every event, also where it is empty."""
        finish_reason: str | None = None
        async for event in source.aiter_sse():
            if event.data == "[DONE]":
                break
            try:
                data = json.loads(event.data)
            except ValueError as error:
                raise self._broken(f"sent {event.data[:80]!r}") from error
            if data.get("error"):
                told = _told(event.data)
                raise ContextTooLong(told.message) if told.context else self._failure(told, "in mid-reply")
            for choice in data.get("choices") or []:
                yield (choice.get("delta") or {}).get("content") or ""
                finish_reason = choice.get("finish_reason") or finish_reason
            if data.get("usage"):
                self.last_cost = _cost(data, finish_reason)
        # llama-cpp-python says [DONE] also when it drops a reply for another client's request.
        if finish_reason is None:
            raise self._broken("the stream ended, and not because the reply had")


class _Reader(threading.Thread):
    """Runs one request in an event loop of its own, where it can be cancelled at any point of it."""

    def __init__(self, request: Any, arrived: queue.SimpleQueue[str | Exception | None]) -> None:
        super().__init__(name="oci-engine-reader", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(request)
        self._arrived = arrived

    def run(self) -> None:
        """Run the request; its end, good or bad, is the last item in the queue."""
        last: Exception | None = None
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except Exception as error:
            last = error
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            self._arrived.put(last)

    def stop(self) -> None:
        """Cancel the request and let its connection close; returns at once."""
        try:
            self._loop.call_soon_threadsafe(self._task.cancel)
        except RuntimeError:
            # The loop is closed: the request has ended by itself.
            return


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


@dataclass(frozen=True)
class _Told:
    """What an error body says."""

    message: str
    code: str | None = None
    context: bool = False
    """Whether it says that the prompt does not fit."""


def _told(text: str) -> _Told:
    """Read an error body in OpenAI's form, llama.cpp's, FastAPI's, or any other."""
    try:
        body = json.loads(text)
        error = body.get("error") or body.get("detail") or body
    except (ValueError, AttributeError):
        return _Told(text[:300].strip() or "no message")
    if not isinstance(error, dict):
        return _Told(str(error))
    message, code = str(error.get("message") or error), error.get("code")
    context = (
        code == "context_length_exceeded"
        or error.get("type") == "exceed_context_size_error"
        or any(phrase in message.lower() for phrase in ("context length", "context size", "context window"))
    )
    return _Told(message, code if isinstance(code, str) else None, context)


def _model_ids(text: str) -> list[str]:
    """Ids in the answer of `/models`; none if it is not one."""
    try:
        return [str(model["id"]) for model in json.loads(text)["data"]]
    except (ValueError, LookupError, TypeError):
        return []


def _cost(data: dict[str, Any], finish_reason: str | None) -> Cost:
    usage, timings = data["usage"], data.get("timings") or {}
    return Cost(
        prompt_tokens=usage.get("prompt_tokens") or 0,
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
        queued_seconds=timings.get("queued_seconds"),
        prefill_seconds=timings.get("prefill_seconds"),
        decode_seconds=timings.get("decode_seconds"),
        finish_reason=finish_reason,
    )
