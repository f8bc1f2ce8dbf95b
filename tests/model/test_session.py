"""The session on the real default model."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsp_server.engine.protocol import ContextTooLong, EngineError, Message, Sampling
from lsp_server.engine.session import Session, Usage
from lsp_server.engine.tokenizer import ChatTokenizer
from lsp_server.models import machine, store
from lsp_server.models.catalog import Device
from lsp_server.models.fit import RESERVE

BUGGY = "def bitcount(n):\n    count = 0\n    while n:\n        n ^= n - 1\n        count += 1\n    return count\n"
ASK = Message("user", f"Reply with the corrected function only.\n```python\n{BUGGY}```")
ANSWER = Message("assistant", f"```python\n{BUGGY}```")
AGAIN = Message("user", "Execution result: \nTimed out.")


@pytest.fixture(scope="module")
def session(default_model: store.Installed) -> Iterator[Session]:
    yield Session(default_model.path, ChatTokenizer(default_model.path, "qwen"), context=2048)


@pytest.fixture(scope="module")
def plain(default_model: store.Installed) -> Iterator[Session]:
    """Without prefix reuse and speculation: what the others must equal."""
    yield Session(
        default_model.path,
        ChatTokenizer(default_model.path, "qwen"),
        context=2048,
        reuse=False,
        drafts=0,
    )


def reply(
    session: Session,
    *messages: Message,
    sampling: Sampling | None = None,
    stop: tuple[str, ...] = (),
) -> tuple[str, Usage]:
    usage = Usage()
    greedy = sampling or Sampling(max_tokens=48)
    pieces = session.complete(session.encode(messages), greedy, stop, threading.Event(), usage)
    return "".join(pieces), usage


def test_greedy_is_the_same_with_and_without_reuse_and_speculation(session: Session, plain: Session) -> None:
    for messages in ((ASK,), (ASK, ANSWER, AGAIN), (ASK,)):
        assert reply(session, *messages)[0] == reply(plain, *messages)[0]


def test_sampled_is_the_same_with_and_without_speculation(session: Session, plain: Session) -> None:
    """A draft is kept only where it is what would have been drawn, from the same draws."""
    for seed in range(3):
        warm = Sampling(temperature=0.8, top_p=0.95, seed=seed, max_tokens=48)
        drafted, alone = (reply(each, ASK, sampling=warm) for each in (session, plain))
        assert drafted[0] == alone[0]


def test_a_shared_prefix_is_not_computed_again(session: Session) -> None:
    _, first = reply(session, ASK)
    _, second = reply(session, ASK, ANSWER, AGAIN)
    assert second.cached_tokens >= first.prompt_tokens - 5
    assert second.finish_reason in ("stop", "length")


def test_two_conversations_in_turn_keep_their_prefixes(session: Session, plain: Session) -> None:
    other = Message("user", "Write a haiku about the sea, then explain each of its lines in one sentence.")
    for message in (ASK, other):
        reply(session, message)
    text, usage = reply(session, ASK, ANSWER, AGAIN)
    assert text == reply(plain, ASK, ANSWER, AGAIN)[0]
    assert usage.cached_tokens > len(session.encode([ASK])) - 6
    assert reply(session, other)[1].cached_tokens == len(session.encode([other])) - 2


def test_a_background_reply_pauses_at_its_next_token_and_goes_on_without_recomputing(
    session: Session, plain: Session
) -> None:
    slow = Sampling(max_tokens=40)
    counting = Message("user", "Count from one to thirty in words.")
    story = session.encode([counting])
    order: list[str] = []
    usage, begun = Usage(), threading.Event()

    def in_the_background() -> None:
        for piece in session.complete(story, slow, (), threading.Event(), usage, background=True):
            order.append(piece)
            begun.set()

    worker = threading.Thread(target=in_the_background)
    worker.start()
    assert begun.wait(60)
    by_hand, _ = reply(session, ASK)
    said_meanwhile = len(order)
    worker.join(120)
    assert by_hand == reply(plain, ASK)[0]
    assert "".join(order).lower().startswith("one")
    assert "ten" in "".join(order)
    assert said_meanwhile < len(order)
    # The prompt was computed once, and no token of the reply twice.
    assert usage.prompt_tokens == len(story)
    assert usage.completion_tokens <= 40


def test_what_is_not_used_is_dropped_when_the_budget_is_spent(default_model: store.Installed) -> None:
    tokenizer = ChatTokenizer(default_model.path, "qwen")
    small = Session(default_model.path, tokenizer, context=1024, cache_bytes=1)
    for text in ("one", "two", "three"):
        usage = Usage()
        prompt = small.encode([Message("user", f"Say {text}.")])
        list(small.complete(prompt, Sampling(max_tokens=2), (), threading.Event(), usage))
    assert small.conversations.count == 1


def test_cancelled_in_the_prompt_or_in_the_reply_the_next_answer_is_right(
    session: Session, plain: Session
) -> None:
    usage, cancel = Usage(), threading.Event()
    long = session.encode([Message("user", BUGGY * 6)])
    threading.Timer(0.2, cancel.set).start()
    assert list(session.complete(long, Sampling(), (), cancel, usage)) == []
    assert usage.finish_reason == "cancelled"
    assert reply(session, ASK)[0] == reply(plain, ASK)[0]

    usage, cancel = Usage(), threading.Event()
    got = []
    for piece in session.complete(session.encode([ASK]), Sampling(), (), cancel, usage):
        got.append(piece)
        if len(got) == 5:
            cancel.set()
    assert len(got) == 5
    assert reply(session, ASK)[0] == reply(plain, ASK)[0]


def test_a_consumer_that_leaves_in_mid_reply_does_no_harm(session: Session, plain: Session) -> None:
    pieces = session.complete(session.encode([ASK]), Sampling(), (), threading.Event(), Usage())
    next(iter(pieces))
    pieces.close()  # type: ignore[attr-defined]
    assert reply(session, ASK)[0] == reply(plain, ASK)[0]


def test_sampled_replies_follow_their_seed(session: Session) -> None:
    warm = Sampling(temperature=1.0, top_p=0.95, seed=5, max_tokens=12)
    story = Message("user", "Tell me a story.")
    assert reply(session, story, sampling=warm)[0] == reply(session, story, sampling=warm)[0]
    others = {reply(session, story, sampling=Sampling(1.0, 0.95, seed, 12))[0] for seed in range(3)}
    assert len(others) > 1


def test_stop_texts_end_the_reply_and_are_not_part_of_it(session: Session) -> None:
    text, usage = reply(session, ASK, stop=("count = 0",))
    assert "count = 0" not in text
    assert text.rstrip().endswith("def bitcount(n):")
    assert usage.finish_reason == "stop"


def test_characters_of_several_tokens_arrive_whole(session: Session) -> None:
    emoji = Message("user", "Repeat exactly, nothing else: 👩‍👩‍👧 日本語 🎉 café")
    text, _ = reply(session, emoji)
    assert "日本語" in text
    assert "�" not in text


def test_max_tokens_ends_the_reply(session: Session) -> None:
    _, usage = reply(session, ASK, sampling=Sampling(max_tokens=3))
    assert (usage.completion_tokens, usage.finish_reason) == (3, "length")


def test_a_conversation_past_the_context_is_refused(session: Session) -> None:
    with pytest.raises(ContextTooLong, match="takes 2048"):
        session.encode([Message("user", "word " * 3000)])


def test_no_telemetry_is_left_behind(default_model: store.Installed, tmp_path: Path) -> None:
    script = (
        "import sys, threading; from pathlib import Path\n"
        "from lsp_server.engine.session import Session, Usage\n"
        "from lsp_server.engine.protocol import Message, Sampling\n"
        "from lsp_server.engine.tokenizer import ChatTokenizer\n"
        "s = Session(Path(sys.argv[1]), ChatTokenizer(Path(sys.argv[1]), 'qwen'), 256)\n"
        "ids = s.encode([Message('user', 'hi')])\n"
        "print(list(s.complete(ids, Sampling(max_tokens=2), (), threading.Event(), Usage())))\n"
    )
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    env = {name: value for name, value in os.environ.items() if name not in unset}
    env |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", script, str(default_model.path)], env=env, check=True)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_context_is_what_memory_has_room_for_beside_the_weights(
    default_model: store.Installed, device: Device
) -> None:
    """Planned before anything is loaded; for a GPU its own memory counts, with what CUDA takes of it."""
    weights = sum(file.stat().st_size for file in default_model.path.glob("*.onnx*"))
    config = json.loads((default_model.path / "genai_config.json").read_text())["model"]["decoder"]
    channels = config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_size"]
    token = 2 * channels * (4 if device == "cpu" else 2)
    taken = weights + (RESERVE["cuda"] if device == "cuda" else 0)
    tokenizer = ChatTokenizer(default_model.path, "qwen")

    enough = machine.Memory(device, "a small one", taken + 1500 * token, taken + 1500 * token)
    session = Session(default_model.path, tokenizer, 4096, memory=enough)
    assert session.context == 1500
    with pytest.raises(ContextTooLong, match="the model takes 1500"):
        session.encode([Message("user", "x = 1\n" * 1500)])
    assert reply(session, ASK)[0]

    short = dataclasses.replace(enough, free=taken + 900 * token)
    with pytest.raises(
        EngineError, match=r"out of memory: .*1024 tokens .*`oci-companion model fit`"
    ) as caught:
        Session(default_model.path, tokenizer, 4096, memory=short)
    assert ("a small one" in str(caught.value)) == (device == "cuda")
