"""`oci-companion serve`: an OpenAI-compatible server around one session, on loopback, for this user only."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import hmac
import json
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from lsp_server.models import byte_products, catalog, store
from lsp_server.models.chat import ChatFormatError

from . import runfile, runtime, tuning, wire
from .desk import Desk
from .protocol import ContextTooLong, EngineError
from .session import Session, Usage, failure
from .supervise import CONTEXT, missing
from .tokenizer import ChatTokenizer

IDLE_SECONDS = 900.0
FAILED_SECONDS = 5.0
"""How long a server that could not load its model stays, to say why."""
LOOPBACK = ("127.0.0.1", "localhost")

log = logging.getLogger("oci-companion.serve")


def serve(
    model_id: str,
    host: str = "127.0.0.1",
    port: int = 0,
    idle_seconds: float = IDLE_SECONDS,
    context: int = CONTEXT,
    threads: int | None = None,
    ready: Callable[[runfile.Running], None] | None = None,
) -> None:
    """Serve a model until it has been idle for a while, or the process is told to end.

    Args:
        model_id: an exported model of the store.
        host: a loopback address.
        port: TCP port; 0 takes a free one, which the run file names.
        idle_seconds: seconds without a request after which the server ends, and so gives its memory back.
        context: most tokens of prompt and reply.
        threads: compute threads; None: one a physical core.
        ready: told how to reach the server, once it listens; the model may still be loading.

    Raises:
        EngineError: the model is not installed, the host is not loopback, or the port is taken.
    """
    if host not in LOOPBACK:
        raise EngineError(f"serve binds to this machine only; {host} is not one of {', '.join(LOOPBACK)}")
    form = store.find(model_id)
    if form is None:
        raise EngineError(missing(model_id))
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise EngineError(f"port {port} cannot be used ({error}); give another, or 0 for any") from error
    token = secrets.token_urlsafe(32)
    running = runfile.Running(model_id, os.getpid(), listener.getsockname()[1], token)

    load = functools.partial(load_session, form, context, threads)
    asyncio.run(_run(running, listener, idle_seconds, load, ready or (lambda running: None)))


def load_session(form: store.Installed, context: int, threads: int | None) -> Session:
    """Load an exported model, and find how many drafts a pass should verify on this machine.

    Where the form for a GPU cannot be run, and there is one for the CPU, that is taken, and the session's note says why.

    Args:
        form: the form to prefer.
        context, threads: as for `serve`.

    Raises:
        EngineError: it cannot be loaded, or nothing here can run its form.
    """
    choice = runtime.choose(form)
    try:
        runtime.prepare(choice)
        session = _load(choice, context, threads)
    except EngineError as error:
        if (other := runtime.instead(choice, str(error))) is None:
            raise
        choice = other
        session = _load(choice, context, threads)
    if choice.passed_over:
        session.note = f"{form.model_id} runs on the CPU: {choice.passed_over}"
        log.warning("%s", session.note)
    log.info(
        "loaded on %s (%s): %d threads, %d drafts a pass, %d tokens of context",
        session.device,
        choice.memory.name,
        session.threads,
        session.drafts,
        session.context,
    )
    return session


def _load(choice: runtime.Choice, context: int, threads: int | None) -> Session:
    form = choice.form
    if form.precision == "int8" and not byte_products.exact():
        raise EngineError(
            f"this processor cannot multiply bytes exactly, which {form.model_id} at int8 needs: run `oci-companion "
            f"model rm {form.model_id}`, then `model pull` and `model export` on this machine"
        )
    family, template = store.entry(form.model_id).family, store.chat_template(form.model_id)
    session = Session(form.path, ChatTokenizer(form.path, family, template), context, threads, choice.memory)
    if session.shares_buffer:
        gpu = choice.memory.name if session.device == "cuda" else ""
        try:
            session.drafts = tuning.drafts(form, session.threads, gpu, session.new_generator)
        except (RuntimeError, MemoryError) as error:
            raise failure(error) from error
    return session


async def _run(
    running: runfile.Running,
    listener: socket.socket,
    idle_seconds: float,
    load: Callable[[], Session],
    ready: Callable[[runfile.Running], None],
) -> None:
    desk = Desk(load)
    app = build_app(running, desk)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    loading = asyncio.create_task(desk.load())
    watching = asyncio.create_task(_end_when_idle(server, desk, idle_seconds))
    listener.listen()
    # uvicorn raises the signal again once it has shut down; its default action would skip what follows here.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    runfile.write(running)
    log.info("serving %s at %s, process %d", running.model, running.endpoint, running.pid)
    ready(running)
    try:
        await server.serve(sockets=[listener])
    finally:
        runfile.withdraw(running)
        for task in (loading, watching):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        log.info("ended")


async def _end_when_idle(server: uvicorn.Server, desk: Desk, idle_seconds: float) -> None:
    while not server.should_exit:
        await asyncio.sleep(min(1.0, idle_seconds / 4))
        idle = time.monotonic() - desk.last_used
        if desk.state == "failed" and idle > FAILED_SECONDS:
            log.error("the model could not be loaded: %s", desk.failure)
            server.should_exit = True
        elif desk.state == "ready" and idle > idle_seconds:
            log.info("idle for %.0f s: ending", idle)
            server.should_exit = True


def build_app(running: runfile.Running, desk: Desk) -> Starlette:
    """The web application: health, models, chat and token counts, each refusing whoever has not the token."""

    def model() -> dict[str, Any]:
        known = {"id": running.model, "object": "model", "created": 0, "owned_by": "oci-companion"}
        return known | ({"max_model_len": desk.context} if desk.context else {})

    def allowed(request: Request) -> bool:
        expected = f"Bearer {running.token}"
        return hmac.compare_digest(request.headers.get("authorization", "").encode(), expected.encode())

    async def health(request: Request) -> Response:
        if not allowed(request):
            return _unauthorized()
        body = {"state": desk.state, "model": running.model, "device": desk.device, "pid": running.pid}
        return JSONResponse(body | {"context": desk.context, "error": desk.failure, "note": desk.note})

    async def models(request: Request) -> Response:
        if not allowed(request):
            return _unauthorized()
        return JSONResponse({"object": "list", "data": [model()]})

    async def one_model(request: Request) -> Response:
        if not allowed(request):
            return _unauthorized()
        wanted = request.path_params["model"]
        return JSONResponse(model()) if wanted == running.model else _no_model(running.model, wanted)

    async def chat_completions(request: Request) -> Response:
        return await answered(request, _complete(request, running.model, desk))

    async def tokenize(request: Request) -> Response:
        return await answered(request, _count(request, desk))

    async def answered(request: Request, answer: Coroutine[Any, Any, Response]) -> Response:
        """Await an answer; what goes wrong becomes one in OpenAI's form."""
        if not allowed(request):
            answer.close()
            return _unauthorized()
        try:
            return await answer
        except wire.BadRequest as error:
            return _error(400, str(error), "invalid_request_error", param=error.param)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            return _error(400, f"the body is not JSON: {error}", "invalid_request_error")
        except ChatFormatError as error:
            return _error(400, str(error), "invalid_request_error", param="messages")
        except ContextTooLong as error:
            return _error(400, str(error), "invalid_request_error", "context_length_exceeded", "messages")
        except EngineError as error:
            log.exception("request failed")
            return _error(503, str(error), "server_error", _code(error))

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", models),
            Route("/v1/models/{model:path}", one_model),
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
            Route("/tokenize", tokenize, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _no_route},
    )


async def _complete(request: Request, model: str, desk: Desk) -> Response:
    body = await request.json()
    asked = wire.parse(body, default_max_tokens=1024)
    wanted = body.get("model")
    if wanted not in (None, "", model):
        return _no_model(model, wanted)
    arrived = time.perf_counter()
    answer = wire.Answer(model)
    prompt = await desk.encode(asked.messages)
    replies = _replies(prompt, asked, desk, request)
    if asked.stream:
        events = _events(replies, answer, asked.include_usage, arrived)
        return StreamingResponse(
            events, media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )
    texts, usages = [], []
    for usage, reply in replies:
        async with aclosing(reply) as pieces:
            texts.append("".join([piece async for piece in pieces]))
        usages.append(usage)
    return JSONResponse(answer.whole(texts, usages, _queued(arrived, usages)))


async def _count(request: Request, desk: Desk) -> Response:
    """Answer like vLLM's `/tokenize`, without the tokens themselves."""
    count = await desk.count(wire.parse_messages(await request.json()))
    return JSONResponse({"count": count, "max_model_len": desk.context})


def _replies(
    prompt: list[int], asked: wire.ChatRequest, desk: Desk, request: Request
) -> list[tuple[Usage, AsyncGenerator[str]]]:
    """The wanted number of replies, none begun; one after the other they share the prompt's cache."""
    made = []
    for index in range(asked.count):
        usage = Usage()
        seed = asked.sampling.seed
        sampling = replace(asked.sampling, seed=None if seed is None else seed + index)
        gone = request.is_disconnected
        made.append((usage, desk.reply(prompt, sampling, asked.stop, gone, usage, asked.background)))
    return made


async def _events(
    replies: list[tuple[Usage, AsyncGenerator[str]]],
    answer: wire.Answer,
    include_usage: bool,
    arrived: float,
) -> AsyncIterator[str]:
    def event(data: dict[str, Any]) -> str:
        return f"data: {json.dumps(data)}\n\n"

    for index, (usage, reply) in enumerate(replies):
        yield event(answer.chunk({"role": "assistant", "content": ""}, index=index))
        try:
            async with aclosing(reply) as pieces:
                async for piece in pieces:
                    yield event(answer.chunk({"content": piece}, index=index))
        except EngineError as error:
            log.exception("request failed in mid-stream")
            yield event(wire.error_body(str(error), "server_error", _code(error)))
            return
        yield event(answer.chunk({}, usage.finish_reason, index))
    if include_usage:
        usages = [usage for usage, _ in replies]
        yield event(answer.usage_chunk(usages, _queued(arrived, usages)))
    yield "data: [DONE]\n\n"


def _queued(arrived: float, usages: list[Usage]) -> float:
    """Seconds a finished request spent waiting for its turn."""
    busy = sum(usage.prefill_seconds + usage.decode_seconds for usage in usages)
    return max(0.0, time.perf_counter() - arrived - busy)


def _code(error: EngineError) -> str | None:
    text = str(error).lower()
    return "out_of_memory" if "memory" in text or "alloc" in text else None


async def _no_route(request: Request, error: Exception) -> Response:
    """What the framework refuses, in the form that clients show."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    message = (
        f"no {request.method} {request.url.path} here; there are GET /v1/models and POST /v1/chat/completions"
    )
    return _error(status, message, "invalid_request_error")


def _no_model(model: str, wanted: str) -> Response:
    message = f"this server has {model}, not {wanted}"
    return _error(404, message, "invalid_request_error", "model_not_found", "model")


def _unauthorized() -> Response:
    return _error(401, "wrong or missing bearer token", "authentication_error", "invalid_api_key")


def _error(
    status: int, message: str, kind: str, code: str | None = None, param: str | None = None
) -> JSONResponse:
    return JSONResponse(wire.error_body(message, kind, code, param), status)


def main() -> None:
    """Entry point of the detached process that the supervisor starts."""
    parser = argparse.ArgumentParser(description=serve.__doc__)
    parser.add_argument("--model", default=catalog.DEFAULT)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    parser.add_argument("--context", type=int, default=CONTEXT)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    log_path = runfile.log_file(arguments.model)
    logging.basicConfig(
        filename=log_path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    try:
        serve(
            arguments.model,
            port=arguments.port,
            idle_seconds=arguments.idle_seconds,
            context=arguments.context,
            threads=arguments.threads,
        )
    except EngineError as error:
        log.error("%s", error)
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
