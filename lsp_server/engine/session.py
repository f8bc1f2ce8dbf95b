"""One model in memory, with the caches of a few conversations: prompt tokens in, text out."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Official packages of onnxruntime(-genai) leave a device id and event databases behind unless this is set first.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import psutil  # type: ignore[import-untyped]

from lsp_server.models import machine
from lsp_server.models.catalog import Device
from lsp_server.models.fit import RESERVE

from .cache import Conversation, Conversations
from .protocol import ContextTooLong, EngineError, Message, Sampling
from .speculation import Lookup
from .tokenizer import ChatTokenizer
from .turn import Ticket, Turn

PREFILL_CHUNK: dict[Device, int] = {"cpu": 64, "cuda": 512}
"""Prompt tokens computed between two looks at `cancel`: about a second's work on two cores, where 32 are an eighth
slower and whole prompts hardly faster (measured)."""
DRAFTS = 4
"""Drafts a pass where it was not measured (`tuning`)."""
NUCLEUS = 256
"""Likeliest tokens that are looked through first for those that may be drawn."""
CACHE_BYTES: dict[Device, int] = {"cpu": 1 << 30, "cuda": 8 << 30}
"""Most memory for the caches of all conversations together, unless told otherwise."""
OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory", "out of memory")
"""How the runtime says it, of main memory and of a GPU's."""
LEAST_CONTEXT = 1024
"""Tokens that there must be memory for: a small file's repair."""


@dataclass
class Usage:
    """What one reply cost; filled while it is made."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens that were still in the cache from the request before."""
    completion_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    finish_reason: str = "stop"
    """`stop`, `length` (max_tokens or context reached) or `cancelled`."""


@dataclass
class _Written:
    """A conversation while a reply is made: its tokens, and how many of them the generator has computed."""

    tokens: Lookup
    computed: int
    """The generator may hold more, drafts that turned out wrong."""


def core_count() -> int:
    """Physical cores that this process may use: the runtime's own choice of threads is half as fast."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, psutil.cpu_count(logical=False) or available))


class Session:
    """A loaded ONNX folder with the caches of a few conversations, so that a shared prefix is never computed twice.

    Makes one reply at a time: a second one waits for the first to end, or, if the first is a background one, for its
    next token.

    Args:
        folder: as `models.export` leaves it.
        tokenizer: of the same folder.
        context: most tokens of prompt and reply; fewer are taken where memory has no room for them.
        threads: compute threads; None: `core_count()`.
        memory: what it is to run in; None: the machine's own.
        cache_bytes: what the caches of all conversations may take; None: `CACHE_BYTES`, or a quarter of what is
            free if that is less.
        reuse: keep the prefix that a prompt shares with a conversation before.
        drafts: n-gram drafts verified in one pass; 0 for none, as always where the folder says
            that old and new keys and values lie in buffers of their own (`shares_buffer`).

    Raises:
        EngineError: the folder cannot be loaded, or there is not enough memory for it.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: ChatTokenizer,
        context: int,
        threads: int | None = None,
        memory: machine.Memory | None = None,
        cache_bytes: int | None = None,
        reuse: bool = True,
        drafts: int = DRAFTS,
    ) -> None:
        config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
        settings = config["model"]
        self.shares_buffer = bool(config["search"].get("past_present_share_buffer", False))
        """Whether old and new keys and values lie in one buffer. Where they do not, the runtime garbles a cache that is
        rewound twice without a step between, as after a wrong draft: no speculation there."""
        self.threads = threads or core_count()
        options = {"intra_op_num_threads": self.threads}
        overlay = {"model": {"decoder": {"session_options": options}}}
        memory = memory or machine.memories("cpu")[0]
        token_bytes = _cache_bytes_per_token(settings["decoder"], memory.device)
        if not self.shares_buffer:
            token_bytes *= 2  # old and new lie side by side
        room = _room(folder, memory, token_bytes)
        # Not at the module's head: which runtime a process has is decided before any is loaded (`runtime.prepare`).
        try:
            import onnxruntime_genai  # type: ignore[import-untyped]
        except (ImportError, OSError) as error:
            raise EngineError(f"the runtime that models run on cannot be loaded: {error}") from error

        self._runtime = onnxruntime_genai
        try:
            configuration = onnxruntime_genai.Config(str(folder))
            configuration.overlay(json.dumps(overlay))
            self._model = onnxruntime_genai.Model(configuration)
        except (RuntimeError, MemoryError) as error:
            raise EngineError(f"{folder} could not be loaded: {error or 'out of memory'}") from error
        self.note = ""
        """What the user should know of how the model runs."""
        self.tokenizer = tokenizer
        self.context = min(context, settings["context_length"], room // token_bytes)
        self.device: Device = "cuda" if str(self._model.device_type).lower() == "cuda" else "cpu"
        stop = settings["eos_token_id"]
        self._stop_ids = frozenset(stop if isinstance(stop, list) else [stop])
        self._chunk = PREFILL_CHUNK[self.device]
        self.drafts = drafts if self.shares_buffer else 0
        if cache_bytes is None:
            cache_bytes = min(CACHE_BYTES[self.device], room // 4)
        self.conversations = Conversations(
            self.new_generator,
            token_bytes,
            cache_bytes,
            self.context,
            reuse=reuse,
            grows=not self.shares_buffer,
        )
        self._turn = Turn()

    def count(self, messages: Sequence[Message]) -> int:
        """Return how many tokens a conversation has, whether they fit or not.

        Raises:
            ChatFormatError: the model's format has no place for such a sequence of turns.
        """
        return len(self.tokenizer.encode(self.tokenizer.render(messages)))

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Render a conversation in the model's chat format and return its token ids.

        Raises:
            ContextTooLong: no room is left for a reply.
            ChatFormatError: the model's format has no place for such a sequence of turns.
        """
        ids = self.tokenizer.encode(self.tokenizer.render(messages))
        if len(ids) >= self.context:
            raise ContextTooLong(
                f"the conversation has {len(ids)} tokens and the model takes {self.context}, reply included"
            )
        return ids

    def complete(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        stop: Sequence[str],
        cancel: threading.Event,
        usage: Usage,
        background: bool = False,
    ) -> Iterator[str]:
        """Yield the reply to `prompt` piece by piece, never a broken character.

        Args:
            prompt: token ids from `encode`.
            sampling: temperature 0 is greedy; max_tokens also ends at the context.
            stop: texts that end the reply; they are not part of it.
            cancel: ends the reply at the next token, or within the prompt at the next chunk.
            usage: is filled.
            background: pause at the next token while any other request wants to be answered.

        Raises:
            EngineError: the runtime failed, memory being the usual reason; this conversation's cache is dropped.
        """
        usage.prompt_tokens = len(prompt)
        with self._turn.wait(background, cancel) as ticket:
            if ticket is None:
                usage.finish_reason = "cancelled"
                return
            yield from self._complete(prompt, sampling, stop, lambda: self._goes_on(ticket), usage)

    def _goes_on(self, ticket: Ticket) -> bool:
        """Whether to compute one more step; waits meanwhile if someone is more urgent."""
        return not ticket.cancel.is_set() and self._turn.give_way(ticket)

    def _complete(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        stop: Sequence[str],
        goes_on: Callable[[], bool],
        usage: Usage,
    ) -> Iterator[str]:
        limit = min(sampling.max_tokens, self.context - len(prompt))
        conversation, done = self._begin(prompt, limit, goes_on, usage)
        held: Sequence[int] | None = None
        try:
            if done < len(prompt):
                # See `shares_buffer`: the rewind has to be followed by a step.
                held = prompt[:done] if self.shares_buffer or done > usage.cached_tokens else None
                return
            written = _Written(Lookup(prompt), len(prompt))
            tokens = self._tokens(conversation.generator, written, sampling, limit, goes_on, usage)
            yield from self._text(tokens, stop, usage)
            # A cache without one buffer cannot be rewound to the length that it has.
            held = written.tokens[: written.computed - (0 if self.shares_buffer else 1)]
        except (RuntimeError, MemoryError) as error:
            raise failure(error) from error
        finally:
            # After an error, or when the consumer left in mid-reply, what the generator holds is uncertain.
            self.conversations.give_back(conversation, held)

    def _begin(
        self, prompt: Sequence[int], limit: int, goes_on: Callable[[], bool], usage: Usage
    ) -> tuple[Conversation, int]:
        """Return a conversation brought to `prompt`, and how many of its tokens it holds, fewer if cancelled."""
        while True:
            try:
                conversation, usage.cached_tokens = self.conversations.take(prompt, limit)
            except (RuntimeError, MemoryError) as error:
                raise EngineError(
                    f"out of memory: a conversation of {len(prompt) + limit} tokens does not fit ({error})"
                ) from error
            try:
                return conversation, self._prefill(conversation.generator, prompt, goes_on, usage)
            except (RuntimeError, MemoryError) as error:
                # Not `error` itself: its traceback would keep the generator in memory.
                failed = failure(error)
            self.conversations.give_back(conversation, None)
            # The cache fitted, the computation beside it did not: at the others' expense, then not at all.
            if not self.conversations.drop_idle():
                raise failed

    def _prefill(
        self, generator: Any, prompt: Sequence[int], goes_on: Callable[[], bool], usage: Usage
    ) -> int:
        """Bring the generator to `prompt`; return how many of its tokens it holds, fewer than all if cancelled."""
        ids = np.asarray(prompt, dtype=np.int32)
        begin = usage.cached_tokens
        while begin < len(ids):
            if not goes_on():
                usage.finish_reason = "cancelled"
                return begin
            end = begin + self._chunk
            # No token is left to a pass of its own, which would round it otherwise than in company.
            end = len(ids) if len(ids) - end <= 1 else end
            started = time.perf_counter()
            generator.append_tokens(ids[begin:end])
            usage.prefill_seconds += time.perf_counter() - started
            begin = end
        return len(ids)

    def new_generator(self, capacity: int) -> Any:
        """Make a generator of the runtime for so many tokens."""
        parameters = self._runtime.GeneratorParams(self._model)
        parameters.set_search_options(max_length=capacity, do_sample=False)
        return self._runtime.Generator(self._model, parameters)

    def _tokens(
        self,
        generator: Any,
        written: _Written,
        sampling: Sampling,
        limit: int,
        goes_on: Callable[[], bool],
        usage: Usage,
    ) -> Iterator[int]:
        """Yield the reply's tokens.

        A pass computes the last token together with drafts of what comes next, and keeps those that it chooses itself
        or, sampling, draws itself: they are drawn from what they would be drawn from without drafts (Leviathan et al.,
        2023). No token is computed in a pass of its own, because the runtime's attention rounds that otherwise: so a
        reply is the same, token for token, with drafts and without.
        """
        random = np.random.default_rng(sampling.seed)
        drafts: list[int] = []
        rows, made = generator.get_logits().reshape(1, -1), 0
        while True:
            for draft, row in zip([*drafts, None], rows, strict=True):
                token = int(row.argmax()) if sampling.temperature <= 0 else sample(row, sampling, random)
                if token in self._stop_ids:
                    return
                written.tokens.append(token)
                made += 1
                usage.completion_tokens += 1
                yield token
                if token == draft:
                    written.computed += 1
                if made >= limit:
                    usage.finish_reason = "length"
                    return
                if not goes_on():
                    usage.finish_reason = "cancelled"
                    return
                if token != draft:
                    break
            started = time.perf_counter()
            drafts = written.tokens.drafts(min(self.drafts, limit - made - 1))
            rows = self._pass(generator, written, drafts)
            usage.decode_seconds += time.perf_counter() - started

    def _pass(self, generator: Any, written: _Written, drafts: list[int]) -> np.ndarray[Any, Any]:
        """Compute the last token and drafts after it; return their logits, [1 + drafts, vocabulary]."""
        begin = written.computed
        if not drafts and self.shares_buffer:
            begin -= 1
        if generator.token_count() != begin:
            generator.rewind_to(begin)
        generator.append_tokens(np.asarray([*written.tokens[begin:], *drafts], dtype=np.int32))
        written.computed += 1
        logits: np.ndarray[Any, Any] = np.asarray(generator.get_output("logits"))[0, -1 - len(drafts) :]
        return logits

    def _text(self, tokens: Iterator[int], stop: Sequence[str], usage: Usage) -> Iterator[str]:
        """Decode tokens, holding back what may be the beginning of a stop text."""
        words = [*stop, *self.tokenizer.stop_texts]
        held = ""
        for piece in self.tokenizer.decode(tokens):
            held += piece
            found = min((at for text in words if (at := held.find(text)) >= 0), default=-1)
            if found >= 0:
                usage.finish_reason = "stop"
                held = held[:found]
                break
            keep = pending_stop(held, words)
            if len(held) > keep:
                yield held[: len(held) - keep]
                held = held[len(held) - keep :]
        if held:
            yield held


def failure(error: RuntimeError | MemoryError) -> EngineError:
    """What the runtime's failure is called, with what mends it."""
    if isinstance(error, MemoryError) or any(text in str(error) for text in OUT_OF_MEMORY):
        return EngineError(
            "out of memory: close other programs, or choose a smaller model (`oci-companion model list`)"
        )
    return EngineError(f"the model's runtime failed: {error}")


def _room(folder: Path, memory: machine.Memory, token_bytes: int) -> int:
    """Bytes that are free for the caches beside the model's weights.

    Raises:
        EngineError: the weights do not fit, or leave less than `LEAST_CONTEXT` tokens need.
    """
    weights = sum(file.stat().st_size for file in folder.glob("*.onnx*"))
    beside = RESERVE["cuda"] if memory.device == "cuda" else 0
    room = memory.free - weights - beside
    if room < LEAST_CONTEXT * token_bytes:
        where = f" of {memory.name}'s memory" if memory.device == "cuda" else ""
        raise EngineError(
            f"out of memory: the model takes {(weights + beside) / 1e9:.1f} GB, {LEAST_CONTEXT} tokens of context "
            f"{LEAST_CONTEXT * token_bytes / 1e9:.1f} GB, and {memory.free / 1e9:.1f} GB{where} are free: close other "
            "programs, or choose a smaller model (`oci-companion model fit`)"
        )
    return room


def _cache_bytes_per_token(decoder: dict[str, Any], device: Device) -> int:
    """Bytes of keys and values a token: float32 on a CPU, float16 elsewhere."""
    channels: int = decoder["num_hidden_layers"] * decoder["num_key_value_heads"] * decoder["head_size"]
    return 2 * channels * (4 if device == "cpu" else 2)


def pending_stop(text: str, stop: Sequence[str]) -> int:
    """How many characters at the end of `text` may be the beginning of a stop text."""
    return max(
        (n for word in stop for n in range(1, min(len(word) - 1, len(text)) + 1) if text.endswith(word[:n])),
        default=0,
    )


def sample(logits: np.ndarray[Any, Any], sampling: Sampling, random: np.random.Generator) -> int:
    """Draw a token id by temperature and nucleus (top-p) sampling.

    Args:
        logits: [vocabulary].
        sampling: temperature above 0, and top_p.
        random: source of the draw.
    """
    scaled = logits.astype(np.float64) / sampling.temperature
    weights = np.exp(scaled - scaled.max())
    weights /= weights.sum()
    # The nucleus is mostly a few tokens, and to put a whole vocabulary in order takes more than twice as long.
    some = min(NUCLEUS, len(weights) - 1)
    order = np.argpartition(-weights, some)[:some]
    if weights[order].sum() < sampling.top_p:
        order = np.arange(len(weights))
    order = order[np.argsort(-weights[order])]
    reached = np.cumsum(weights[order])
    # Keep the smallest set that reaches top_p: everything before the sum first gets there, and that one.
    nucleus = int(np.searchsorted(reached, sampling.top_p)) + 1
    kept = weights[order[:nucleus]]
    return int(order[random.choice(len(kept), p=kept / kept.sum())])
