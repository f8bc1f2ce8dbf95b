"""The HTTP engine against endpoints that behave well, badly, or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lsp_server.engine.client import EndpointDown, HttpEngine, Refused, StreamBroken
from lsp_server.engine.protocol import ContextTooLong, EngineError, Message, Sampling

ASK = [Message("user", "hello")]


class Endpoint:
    """An OpenAI-compatible server that says what the test wants."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.status = 200
        self.error: dict[str, Any] = {}
        self.model: dict[str, Any] = {"id": "listed-model"}
        self.count: int | None = None
        self.silent_seconds = 0.0
        self.bodies: list[dict[str, Any]] = []
        self.authorization: str | None = None
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(
                    json.dumps({"data": [endpoint.model, {"id": "other", "max_model_len": 3000}]}).encode()
                )

            def do_POST(self) -> None:
                endpoint.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                endpoint.authorization = self.headers.get("Authorization")
                time.sleep(endpoint.silent_seconds)
                if endpoint.status != 200:
                    self.answer(json.dumps({"error": endpoint.error}).encode())
                    return
                if self.path == "/tokenize":
                    self.answer(json.dumps({"count": endpoint.count}).encode())
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                for line in endpoint.lines:
                    self.wfile.write(f"data: {line}\n\n".encode())
                self.close_connection = True

            def answer(self, body: bytes) -> None:
                self.send_response(endpoint.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def fails(self, status: int, message: str, code: str | None = None) -> None:
        self.status, self.error = status, {"message": message, "code": code}


def piece(text: str, finish: str | None = None) -> str:
    return json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": finish}]})


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    started = Endpoint()
    yield started
    started.server.shutdown()
    started.server.server_close()


def ask(engine: HttpEngine) -> str:
    return "".join(engine.stream(ASK, Sampling(), threading.Event()))


def test_yields_pieces_and_keeps_the_cost(endpoint: Endpoint) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}
    last = {"choices": [], "usage": usage, "timings": {"prefill_seconds": 0.5}}
    endpoint.lines = [piece("a"), piece("é\n"), piece("", "stop"), json.dumps(last), "[DONE]"]
    engine = HttpEngine(endpoint.address, "secret", "m")
    assert ask(engine) == "aé\n"
    assert engine.last_cost is not None
    assert (engine.last_cost.cached_tokens, engine.last_cost.prefill_seconds) == (5, 0.5)
    assert endpoint.authorization == "Bearer secret"
    assert endpoint.bodies[0]["temperature"] == 0


def test_takes_the_listed_model_when_none_is_named_and_needs_no_token(endpoint: Endpoint) -> None:
    endpoint.lines = [piece("x", "stop"), "[DONE]"]
    engine = HttpEngine(endpoint.address.removesuffix("/v1"))
    assert ask(engine) == "x"
    assert engine.model == endpoint.bodies[0]["model"] == "listed-model"
    assert endpoint.authorization is None


@pytest.mark.parametrize(
    ("status", "message", "code", "kind", "remedy"),
    [
        (401, "no", "invalid_api_key", Refused, "set the right one"),
        (404, "no such model", None, Refused, "oci.model"),
        (400, "too long", "context_length_exceeded", ContextTooLong, "too long"),
        (503, "bad allocation", "out_of_memory", Refused, "smaller model"),
        (500, "CUDA out of memory", None, Refused, "smaller model"),
        (500, "oops", None, Refused, "oops"),
    ],
)
def test_an_error_becomes_one_clear_message(
    endpoint: Endpoint, status: int, message: str, code: str | None, kind: type[EngineError], remedy: str
) -> None:
    endpoint.fails(status, message, code)
    with pytest.raises(kind, match=remedy):
        ask(HttpEngine(endpoint.address, model="m"))


def test_nothing_listening_is_said_with_the_setting_to_correct() -> None:
    with pytest.raises(EndpointDown, match=r"oci\.endpoint"):
        ask(HttpEngine("http://127.0.0.1:9", model="m"))


@pytest.mark.parametrize(
    ("listed", "model", "room"), [(None, "", 4096), (2048, "", 1024), (None, "other", 1976)]
)
def test_the_prompt_keeps_to_the_context_that_the_endpoint_tells(
    endpoint: Endpoint, listed: int | None, model: str, room: int
) -> None:
    endpoint.model["max_model_len"] = listed
    assert HttpEngine(endpoint.address, model=model).prompt_tokens == room


def test_an_endpoint_that_tells_nothing_gets_what_the_models_were_trained_on(endpoint: Endpoint) -> None:
    endpoint.fails(500, "oops")
    assert HttpEngine(endpoint.address).prompt_tokens == 4096
    assert HttpEngine("http://127.0.0.1:9").prompt_tokens == 4096


def test_tokens_are_counted_where_the_endpoint_can_and_asked_for_once_where_it_cannot(
    endpoint: Endpoint,
) -> None:
    engine = HttpEngine(endpoint.address, model="m")
    endpoint.count = 7
    assert engine.count(ASK, threading.Event()) == 7
    assert endpoint.bodies == [{"messages": [{"role": "user", "content": "hello"}], "model": "m"}]
    endpoint.fails(404, "no such page")
    assert engine.count(ASK, threading.Event()) is None
    assert engine.count(ASK, threading.Event()) is None
    assert len(endpoint.bodies) == 2


@pytest.mark.parametrize("lines", [[piece("half")], [piece("half"), "{not json"]])
def test_a_stream_that_breaks_off_is_an_error(endpoint: Endpoint, lines: list[str]) -> None:
    endpoint.lines = lines
    got = []
    with pytest.raises(StreamBroken):
        got.extend(HttpEngine(endpoint.address, model="m").stream(ASK, Sampling(), threading.Event()))


def test_an_error_in_mid_stream_is_raised(endpoint: Endpoint) -> None:
    endpoint.lines = [
        piece("a"),
        json.dumps({"error": {"message": "bad allocation", "code": "out_of_memory"}}),
    ]
    with pytest.raises(Refused, match="smaller model"):
        ask(HttpEngine(endpoint.address, model="m"))


def test_cancel_returns_at_once_though_the_endpoint_is_silent(endpoint: Endpoint) -> None:
    endpoint.silent_seconds = 3
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    started = time.monotonic()
    assert list(HttpEngine(endpoint.address, model="m").stream(ASK, Sampling(), cancel)) == []
    assert time.monotonic() - started < 0.6


@pytest.mark.parametrize("address", ["", "ftp://x", "http://"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(EngineError, match="no endpoint"):
        HttpEngine(address)


def test_the_language_server_imports_no_runtime_with_it() -> None:
    script = (
        "import sys, lsp_server.engine.client, lsp_server.engine.supervise\n"
        "heavy = ('onnxruntime', 'onnxruntime_genai', 'torch', 'transformers', 'httpx', 'numpy', 'jinja2')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
