"""The server's routes and queue around a session that only pretends."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from lsp_server.engine import runfile, runtime, serve, supervise, tuning, wire
from lsp_server.engine.desk import Desk
from lsp_server.engine.protocol import ContextTooLong, EngineError, Message, Sampling
from lsp_server.engine.serve import load_session
from lsp_server.engine.session import Session, Usage, pending_stop, sample
from lsp_server.engine.turn import Turn
from lsp_server.models import byte_products, machine, store
from lsp_server.models.catalog import Device

DEVICES: tuple[Device, ...] = ("cpu", "cuda")
RUNNING = runfile.Running("m", 1, 1, "token")


class Pretender:
    """Says `words`, one every few milliseconds; the prompt's length is the number of messages."""

    device, context, note = "cpu", 100, ""

    def __init__(self, words: Sequence[str] = ("a", "b", "c"), fails: str | None = None) -> None:
        self.words, self.fails = words, fails
        self.said = 0
        self.turn = Turn()
        self.heard: list[str] = []
        self.seeds: list[int | None] = []

    def count(self, messages: Sequence[Message]) -> int:
        return len(messages)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        if len(messages) > 3:
            raise ContextTooLong("the conversation has 4 tokens and the model takes 3")
        return [0] * len(messages)

    def complete(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        stop: Sequence[str],
        cancel: threading.Event,
        usage: Usage,
        background: bool = False,
    ) -> Iterator[str]:
        self.seeds.append(sampling.seed)
        with self.turn.wait(background, cancel) as ticket:
            if self.fails:
                raise EngineError(self.fails)
            for word in self.words:
                if ticket is None or cancel.is_set() or not self.turn.give_way(ticket):
                    return
                time.sleep(0.01)
                self.said += 1
                usage.completion_tokens += 1
                self.heard.append(word if not background else word.upper())
                yield word


async def client(pretender: Pretender, token: str = "token", load: bool = True) -> httpx.AsyncClient:
    desk = Desk(lambda: cast(Session, pretender))
    if load:
        await desk.load()
    transport = httpx.ASGITransport(serve.build_app(RUNNING, desk))
    return httpx.AsyncClient(
        transport=transport, base_url="http://x", headers={"Authorization": f"Bearer {token}"}
    )


def body(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}], **more}


@pytest.mark.parametrize(
    "path", ["/health", "/v1/models", "/v1/models/m", "/v1/chat/completions", "/tokenize"]
)
async def test_every_route_refuses_a_wrong_token(path: str) -> None:
    async with await client(Pretender(), token="other") as http:
        answer = await (
            http.post(path, json=body()) if path in ("/v1/chat/completions", "/tokenize") else http.get(path)
        )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


async def test_health_answers_while_the_model_loads() -> None:
    async with await client(Pretender(), load=False) as http:
        assert (await http.get("/health")).json()["state"] == "loading"


async def test_a_whole_answer_and_a_streamed_one_say_the_same() -> None:
    async with await client(Pretender()) as http:
        whole = (await http.post("/v1/chat/completions", json=body())).json()
        asked = body(stream=True, stream_options={"include_usage": True})
        streamed = (await http.post("/v1/chat/completions", json=asked)).text
    events = [line.removeprefix("data: ") for line in streamed.splitlines() if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == "abc"
    assert whole["choices"][0]["message"]["content"] == "abc"
    assert chunks[-1]["usage"].keys() == whole["usage"].keys()
    assert whole["object"] == "chat.completion"


@pytest.mark.parametrize(
    ("request_body", "status", "code", "param"),
    [
        (body(model="other"), 404, "model_not_found", "model"),
        (body(n=99), 400, None, "n"),
        (body(priority="high"), 400, None, "priority"),
        (body(temperature=9), 400, None, "temperature"),
        (body(max_tokens=0.5), 400, None, "max_tokens"),
        (body(tools=[{"type": "function"}]), 400, None, "tools"),
        (body(response_format={"type": "json_object"}), 400, None, "response_format"),
        ({"messages": []}, 400, None, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, None, "messages"),
        ({"messages": [{"role": "user", "content": "x"}] * 4}, 400, "context_length_exceeded", "messages"),
    ],
)
async def test_bad_requests_are_answered_in_openais_form(
    request_body: dict[str, Any], status: int, code: str | None, param: str
) -> None:
    async with await client(Pretender()) as http:
        answer = await http.post("/v1/chat/completions", json=request_body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [], "response_format": {"type": "text"}, "stop": None, "seed": None, "logit_bias": {}},
        {"tools": None, "response_format": None, "n": None, "stream_options": None, "max_tokens": None},
        {"tools": [{"type": "function"}], "tool_choice": "none", "user": "me", "store": False},
    ],
)
async def test_what_changes_nothing_is_accepted(more: dict[str, Any]) -> None:
    async with await client(Pretender()) as http:
        answer = await http.post("/v1/chat/completions", json=body(**more))
    assert answer.json()["choices"][0]["message"]["content"] == "abc"


async def test_a_model_is_found_by_its_id() -> None:
    async with await client(Pretender()) as http:
        assert (await http.get("/v1/models/m")).json()["id"] == "m"
        assert (await http.get("/v1/models/org/other")).json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/chat/completions", 405), ("POST", "/v1/responses", 404)]
)
async def test_an_unknown_route_is_answered_in_openais_form(method: str, path: str, status: int) -> None:
    async with await client(Pretender()) as http:
        answer = await http.request(method, path)
    assert answer.status_code == status
    assert f"no {method} {path} here" in answer.json()["error"]["message"]


async def test_tokens_are_counted_though_they_are_too_many_to_be_answered() -> None:
    async with await client(Pretender()) as http:
        turns = [{"role": "user", "content": "x"}] * 5
        counted = await http.post("/tokenize", json={"messages": turns})
        refused = await http.post("/tokenize", json={"messages": []})
        listed = (await http.get("/v1/models")).json()["data"][0]
    assert counted.json() == {"count": 5, "max_model_len": 100}
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages")
    assert listed["max_model_len"] == 100


async def test_what_is_not_json_is_a_bad_request() -> None:
    async with await client(Pretender()) as http:
        assert (await http.post("/v1/chat/completions", content=b"{")).status_code == 400


async def test_running_out_of_memory_is_named() -> None:
    async with await client(Pretender(fails="bad allocation")) as http:
        answer = await http.post("/v1/chat/completions", json=body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "out_of_memory")


async def test_requests_are_answered_one_at_a_time() -> None:
    pretender = Pretender()
    async with await client(pretender) as http:
        answers = await asyncio.gather(*(http.post("/v1/chat/completions", json=body()) for _ in range(4)))
    assert [a.json()["choices"][0]["message"]["content"] for a in answers] == ["abc"] * 4
    assert pretender.heard == ["a", "b", "c"] * 4


async def test_a_background_request_pauses_for_one_by_hand() -> None:
    pretender = Pretender(words=["x"] * 30)
    async with await client(pretender) as http:
        background = asyncio.create_task(http.post("/v1/chat/completions", json=body(priority=1)))
        while not pretender.heard:
            await asyncio.sleep(0.01)
        by_hand = await http.post("/v1/chat/completions", json=body())
        said = (await background).json()["choices"][0]["message"]["content"]
    assert by_hand.json()["choices"][0]["message"]["content"] == said == "x" * 30
    told = "".join(pretender.heard)
    assert "x" * 30 in told
    assert told.startswith("X")
    assert told.endswith("X")


async def test_several_replies_to_one_prompt() -> None:
    pretender = Pretender()
    async with await client(pretender) as http:
        whole = (await http.post("/v1/chat/completions", json=body(n=3, seed=5))).json()
        streamed = (await http.post("/v1/chat/completions", json=body(n=2, stream=True))).text
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in whole["choices"]} == {"abc"}
    assert pretender.seeds[:3] == [5, 6, 7]
    assert whole["usage"]["completion_tokens"] == 9
    chunks = [json.loads(line[6:]) for line in streamed.splitlines() if line and "[DONE]" not in line]
    said = ["", ""]
    for chunk in chunks:
        choice = chunk["choices"][0]
        said[choice["index"]] += choice["delta"].get("content", "")
    assert said == ["abc", "abc"]


@pytest.mark.parametrize("queued", [False, True])
async def test_a_client_that_leaves_costs_no_more_tokens(queued: bool) -> None:
    pretender = Pretender(words=["x"] * 500)
    desk = Desk(lambda: cast(Session, pretender))
    await desk.load()
    left = asyncio.Event()

    async def gone() -> bool:
        return left.is_set()

    async def stays() -> bool:
        return False

    async def consume(is_gone: Any) -> None:
        async for _ in desk.reply([0], Sampling(), [], is_gone, Usage()):
            pass

    tasks = [asyncio.create_task(consume(stays))] if queued else []
    await asyncio.sleep(0.1)
    leaver = asyncio.create_task(consume(gone))
    await asyncio.sleep(0.2)
    left.set()
    await asyncio.sleep(0.3)
    if queued:
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait_for(leaver, 2)
    assert pretender.said < 100
    assert desk.state == "ready"


def test_only_the_user_can_read_the_run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(store.HOME_VARIABLE, str(tmp_path))
    path = runfile.write(RUNNING)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert runfile.read("m") == RUNNING
    runfile.withdraw(RUNNING)
    assert runfile.read("m") is None


def test_serve_stays_on_this_machine() -> None:
    with pytest.raises(EngineError, match="this machine only"):
        serve.serve("m", host="0.0.0.0")


def test_a_missing_model_is_answered_with_the_commands_that_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(store.HOME_VARIABLE, str(tmp_path))
    engine = supervise.LocalEngine("oci-ds-1.3b")
    assert engine.status().state == "missing"
    with pytest.raises(EngineError, match=r"model pull oci-ds-1\.3b.*model export oci-ds-1\.3b"):
        list(engine.stream([Message("user", "x")], Sampling(), threading.Event()))


def test_a_form_that_this_processor_cannot_run_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_products, "exact", lambda: False)
    form = store.Installed("oci-ds-1.3b", "int8", "cpu", tmp_path, 0, {})
    with pytest.raises(
        EngineError, match=r"cannot multiply bytes exactly.*model rm oci-ds-1\.3b.*model export"
    ):
        load_session(form, 1024, None)


def test_whatever_keeps_a_model_from_being_loaded_is_told_to_who_asks() -> None:
    def broken() -> Session:
        raise ImportError("libgomp.so.1: cannot open shared object file")

    async def ask() -> None:
        desk = Desk(broken)
        await desk.load()
        assert desk.state == "failed"
        with pytest.raises(EngineError, match=r"libgomp\.so\.1"):
            await desk.session()

    asyncio.run(ask())


def test_a_gpu_without_memory_for_the_first_pass_gives_way_to_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = {device: store.Installed("oci-ds-1.3b", "int4", device, tmp_path, 0, {}) for device in DEVICES}
    memories = {device: machine.Memory(device, f"a {device}", 1, 1) for device in DEVICES}

    def drafts(form: store.Installed, threads: int, gpu: str, make: object) -> int:
        if gpu:
            raise RuntimeError("CUDA failure 2: out of memory")
        return 4

    def session(folder: Path, tokenizer: None, context: int, threads: None, memory: machine.Memory) -> Any:
        return SimpleNamespace(
            device=memory.device, shares_buffer=True, threads=2, context=context, note="", new_generator=None
        )

    monkeypatch.setattr(runtime, "choose", lambda form: runtime.Choice(form, memories["cuda"]))
    monkeypatch.setattr(runtime, "prepare", lambda choice: None)
    monkeypatch.setattr(store, "find", lambda model_id, device: forms[device])
    monkeypatch.setattr(serve, "ChatTokenizer", lambda *arguments: None)
    monkeypatch.setattr(serve, "Session", session)
    monkeypatch.setattr(tuning, "drafts", drafts)
    loaded = load_session(forms["cuda"], 1024, None)
    assert (loaded.device, loaded.drafts) == ("cpu", 4)
    assert loaded.note.startswith("oci-ds-1.3b runs on the CPU: out of memory: close other programs")


def test_a_second_reply_goes_on_where_the_first_broke_off() -> None:
    assert "".join(supervise._after("abc", iter(["ab", "cd", "e"]))) == "de"
    with pytest.raises(supervise.StreamBroken, match="differs"):
        list(supervise._after("abc", iter(["ax"])))


def test_what_may_begin_a_stop_text_is_held_back() -> None:
    assert pending_stop("abc<|im", ["<|im_end|>"]) == 4
    assert pending_stop("abc", ["<|im_end|>"]) == 0
    assert pending_stop("``", ["```"]) == 2


def test_sampling_keeps_to_the_nucleus_and_to_its_seed() -> None:
    import numpy as np

    logits = np.log(np.array([0.6, 0.3, 0.08, 0.02], dtype=np.float32))
    draw = [sample(logits, Sampling(1.0, 0.7), np.random.default_rng(seed)) for seed in range(60)]
    assert set(draw) == {0, 1}
    assert draw == [sample(logits, Sampling(1.0, 0.7), np.random.default_rng(seed)) for seed in range(60)]
    assert sample(logits, Sampling(1.0, 0.0), np.random.default_rng(1)) == 0


def test_a_wide_nucleus_is_drawn_from_as_a_narrow_one() -> None:
    """By shares of a thousand draws, of more tokens than are looked through first."""
    import numpy as np

    random = np.random.default_rng(2)
    drawn = [sample(np.zeros(2000, dtype=np.float32), Sampling(1.0, 0.9), random) for _ in range(1000)]
    assert len(set(drawn)) > 600
    logits = np.where(np.arange(2000) % 2, 0.0, -50.0).astype(np.float32)
    drawn = [sample(logits, Sampling(1.0, 0.9), random) for _ in range(1000)]
    assert all(token % 2 for token in drawn) and len(set(drawn)) > 450


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    parsed = wire.parse({"messages": [{"role": "developer", "content": parts}]}, 5)
    assert parsed.messages == [Message("system", "ab")]
    assert parsed.sampling.max_tokens == 5
