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
        self.unstreamed: dict[str, Any] = {}
        """Error for whoever asks for the reply in one piece."""
        self.model: dict[str, Any] = {"id": "listed-model"}
        self.count: int | None = None
        self.silent_seconds = 0.0
        self.content_type = "text/event-stream; charset=utf-8"
        self.models: list[str] | None = ["m", "team/*"]
        self.bodies: list[dict[str, Any]] = []
        self.authorization: str | None = None
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if endpoint.status != 200:
                    self.answer(json.dumps(endpoint.error).encode())
                    return
                if endpoint.models is None:
                    self.answer(b"<html>", 404)
                    return
                listed = [endpoint.model, *({"id": each} for each in endpoint.models)]
                listed += [{"id": "other", "max_model_len": 3000}]
                self.answer(json.dumps({"data": listed}).encode())

            def do_POST(self) -> None:
                endpoint.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                endpoint.authorization = self.headers.get("Authorization")
                time.sleep(endpoint.silent_seconds)
                if endpoint.unstreamed and not endpoint.bodies[-1].get("stream"):
                    self.answer(json.dumps(endpoint.unstreamed).encode(), 400)
                    return
                if endpoint.status != 200:
                    self.answer(json.dumps(endpoint.error).encode())
                    return
                if self.path == "/tokenize":
                    self.answer(json.dumps({"count": endpoint.count}).encode())
                    return
                self.send_response(200)
                self.send_header("Content-Type", endpoint.content_type)
                self.send_header("Connection", "close")
                self.end_headers()
                for line in endpoint.lines:
                    self.wfile.write(f"data: {line}\n\n".encode())
                self.close_connection = True

            def answer(self, body: bytes, status: int | None = None) -> None:
                self.send_response(status or endpoint.status)
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
        self.status, self.error = status, {"error": {"message": message, "code": code}}


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


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        # As llama-server, llama-cpp-python, vLLM and FastAPI say it.
        (
            400,
            {"error": {"code": 400, "type": "exceed_context_size_error", "message": "too many tokens"}},
            ContextTooLong,
            "too many tokens",
        ),
        (
            400,
            {"object": "error", "message": "This model's maximum context length is 64 tokens.", "code": 400},
            ContextTooLong,
            "64 tokens",
        ),
        (401, {"detail": "Invalid API key"}, Refused, r"token \(Invalid API key\)"),
        (401, {"error": "Unauthorized"}, Refused, r"token \(Unauthorized\)"),
        (400, {"error": {"code": "model_not_found", "message": "no x"}}, Refused, r"oci\.model"),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "too many"}]}, Refused, "too many"),
    ],
)
def test_other_servers_errors_are_understood(
    endpoint: Endpoint, status: int, body: dict[str, Any], kind: type[EngineError], said: str
) -> None:
    endpoint.status, endpoint.error = status, body
    with pytest.raises(kind, match=said):
        ask(HttpEngine(endpoint.address, model="m"))


def test_a_model_that_is_not_listed_is_refused_though_the_endpoint_would_answer(endpoint: Endpoint) -> None:
    endpoint.lines = [piece("x", "stop"), "[DONE]"]
    with pytest.raises(
        Refused, match=r"no model 'wrong'; it has listed-model, m, team/\*, other: correct oci\.model"
    ):
        ask(HttpEngine(endpoint.address, model="wrong"))
    assert endpoint.bodies == []
    assert ask(HttpEngine(endpoint.address, model="team/one")) == "x"
    endpoint.models = None
    assert ask(HttpEngine(endpoint.address, model="wrong")) == "x"


def test_a_web_page_is_no_reply(endpoint: Endpoint) -> None:
    endpoint.content_type, endpoint.lines = "text/html", ["<html>"]
    with pytest.raises(Refused, match=r"text/html .* oci\.endpoint"):
        ask(HttpEngine(endpoint.address, model="m"))


def test_usage_may_be_missing_or_empty(endpoint: Endpoint) -> None:
    endpoint.lines = [piece("x", "stop"), json.dumps({"choices": [], "usage": {"prompt_tokens": None}})]
    engine = HttpEngine(endpoint.address, model="m")
    assert ask(engine) == "x"
    assert engine.last_cost is not None
    assert (engine.last_cost.prompt_tokens, engine.last_cost.finish_reason) == (0, "stop")


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


@pytest.mark.parametrize("lines", [[piece("half")], [piece("half"), "{not json"], [piece("half"), "[DONE]"]])
def test_a_stream_that_breaks_off_is_an_error(endpoint: Endpoint, lines: list[str]) -> None:
    endpoint.lines = lines
    got = []
    with pytest.raises(StreamBroken):
        got.extend(HttpEngine(endpoint.address, model="m").stream(ASK, Sampling(), threading.Event()))


def test_the_reason_for_a_stream_that_never_began_is_asked_for(endpoint: Endpoint) -> None:
    endpoint.unstreamed = {"error": {"message": "too long", "code": "context_length_exceeded"}}
    with pytest.raises(ContextTooLong, match="too long"):
        ask(HttpEngine(endpoint.address, model="m"))
    assert [body["max_tokens"] for body in endpoint.bodies] == [Sampling().max_tokens, 1]
    endpoint.lines = [piece("half")]
    with pytest.raises(StreamBroken):
        ask(HttpEngine(endpoint.address, model="m"))


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
