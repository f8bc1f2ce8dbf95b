"""One model in memory, one conversation cache: prompt tokens in, text out."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Official packages of onnxruntime(-genai) leave a device id and event databases behind unless this is set first.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime_genai  # type: ignore[import-untyped]
import psutil  # type: ignore[import-untyped]

from lsp_server.models import chat
from lsp_server.models.catalog import Family

from .protocol import ContextTooLong, EngineError, Message, Sampling

PREFILL_CHUNK = {"cpu": 32, "cuda": 512}
"""Prompt tokens computed between two looks at `cancel`: under a second's work; larger is no faster (measured)."""
NGRAM_SIZE, DRAFT_TOKENS = 3, 4
"""Speculation's lookup length and width: 4 beats 8 and 15 on two cores (facts/runtime.md)."""


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


def core_count() -> int:
    """Physical cores that this process may use: the runtime's own choice of threads is half as fast."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, psutil.cpu_count(logical=False) or available))


class Session:
    """A loaded ONNX folder with one generator kept alive, so that a shared prefix is never computed twice.

    Makes one reply at a time; a second one waits for the first to end.

    Args:
        folder: as `models.export` leaves it.
        family: chat format if the folder has no template of its own.
        context: most tokens of prompt and reply; memory for their cache is taken at the first reply.
        threads: compute threads; None: `core_count()`.
        reuse: keep the prefix that a prompt shares with the request before.
        speculate: verify several n-gram drafts a pass when decoding greedily.

    Raises:
        EngineError: the folder cannot be loaded.
    """

    def __init__(
        self,
        folder: Path,
        family: Family,
        context: int,
        threads: int | None = None,
        reuse: bool = True,
        speculate: bool = True,
    ) -> None:
        options = {"intra_op_num_threads": threads or core_count()}
        try:
            config = onnxruntime_genai.Config(str(folder))
            config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
            self._model = onnxruntime_genai.Model(config)
            self._tokenizer = onnxruntime_genai.Tokenizer(self._model)
        except RuntimeError as error:
            raise EngineError(f"{folder} could not be loaded: {error}") from error
        settings = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
        self.context = min(context, settings["context_length"])
        self.device = str(self._model.device_type).lower()
        self._family = family
        self._own_template = (folder / "chat_template.jinja").is_file() or "chat_template" in (
            json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        )
        stop = settings["eos_token_id"]
        self._stop_ids = frozenset(stop if isinstance(stop, list) else [stop])
        self._bos = settings["bos_token_id"]
        self._chunk = PREFILL_CHUNK.get(self.device, PREFILL_CHUNK["cpu"])
        self._reuse, self._speculate = reuse, speculate
        self._generator: Any = None
        self._cached: list[int] = []
        self._tokenizing, self._replying = threading.Lock(), threading.Lock()

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Render a conversation in the model's chat format and return its token ids.

        Raises:
            ContextTooLong: no room is left for a reply.
            ChatFormatError: the model's format has no place for such a sequence of turns.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        with self._tokenizing:
            if self._own_template:
                try:
                    text = self._tokenizer.apply_chat_template(
                        messages=json.dumps(turns), add_generation_prompt=True
                    )
                except RuntimeError as error:
                    raise chat.ChatFormatError(f"the model's chat template refuses: {error}") from error
            else:
                text = chat.render(self._family, turns)
            ids = [int(token) for token in self._tokenizer.encode(text)]
        # Some tokenizers put a second beginning before the one in the rendered text.
        if ids[:2] == [self._bos, self._bos]:
            del ids[0]
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
    ) -> Iterator[str]:
        """Yield the reply to `prompt` piece by piece, never a broken character.

        Args:
            prompt: token ids from `encode`.
            sampling: temperature 0 is greedy; max_tokens also ends at the context.
            stop: texts that end the reply; they are not part of it.
            cancel: ends the reply at the next token, or within the prompt at the next chunk.
            usage: is filled.

        Raises:
            EngineError: the runtime failed, memory being the usual reason; the cache is dropped.
        """
        # A reply that was given up may still be at its last token when the next one begins.
        with self._replying:
            yield from self._complete(prompt, sampling, stop, cancel, usage)

    def _complete(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        stop: Sequence[str],
        cancel: threading.Event,
        usage: Usage,
    ) -> Iterator[str]:
        usage.prompt_tokens = len(prompt)
        try:
            if not self._prefill(prompt, cancel, usage):
                return
            limit = min(sampling.max_tokens, self.context - len(prompt))
            tokens = self._tokens(sampling, limit, cancel, usage)
            yield from self._text(tokens, [*stop, *chat.STOP_STRINGS.get(self._family, ())], usage)
            self._cached = [int(token) for token in self._generator.get_sequence(0)]
        except BaseException as error:
            # What the generator holds is uncertain now (also after the consumer left in mid-reply).
            self._generator, self._cached = None, []
            if isinstance(error, RuntimeError | MemoryError):
                raise EngineError(f"the model's runtime failed: {error or 'out of memory'}") from error
            raise

    def _prefill(self, prompt: Sequence[int], cancel: threading.Event, usage: Usage) -> bool:
        """Bring the cache to `prompt`; False when cancelled on the way."""
        started = time.perf_counter()
        # The last token is always computed anew: its logits choose the first token of the reply.
        common = shared_prefix(self._cached, prompt[:-1]) if self._reuse else 0
        if self._generator is None:
            self._generator = self._new_generator()
        else:
            self._generator.rewind_to(common)
        usage.cached_tokens = common
        ids = np.asarray(prompt, dtype=np.int32)
        for begin in range(common, len(ids), self._chunk):
            if cancel.is_set():
                usage.finish_reason = "cancelled"
                self._cached = list(prompt[:begin])
                return False
            self._generator.append_tokens(ids[begin : begin + self._chunk])
        usage.prefill_seconds = time.perf_counter() - started
        return True

    def _new_generator(self) -> Any:
        parameters = onnxruntime_genai.GeneratorParams(self._model)
        parameters.set_search_options(max_length=self.context, do_sample=False)
        if self._speculate:
            parameters.set_speculative_options(ngram_size=NGRAM_SIZE, max_draft_tokens=DRAFT_TOKENS)
        return onnxruntime_genai.Generator(self._model, parameters)

    def _tokens(self, sampling: Sampling, limit: int, cancel: threading.Event, usage: Usage) -> Iterator[int]:
        started = time.perf_counter()
        random = np.random.default_rng(sampling.seed)
        generator = self._generator
        try:
            for _ in range(limit):
                if cancel.is_set():
                    usage.finish_reason = "cancelled"
                    return
                if sampling.temperature > 0:
                    token = sample(generator.get_logits().reshape(-1), sampling, random)
                    if token not in self._stop_ids:
                        generator.append_tokens(np.array([token], dtype=np.int32))
                else:
                    generator.generate_next_token()
                    token = int(generator.get_next_tokens()[0])
                if token in self._stop_ids:
                    return
                usage.completion_tokens += 1
                usage.decode_seconds = time.perf_counter() - started
                yield token
            usage.finish_reason = "length"
        finally:
            usage.decode_seconds = time.perf_counter() - started

    def _text(self, tokens: Iterator[int], stop: Sequence[str], usage: Usage) -> Iterator[str]:
        """Decode tokens, holding back what may be the beginning of a stop text."""
        stream = self._tokenizer.create_stream()
        held = ""
        for token in tokens:
            held += stream.decode(token)
            found = min((at for text in stop if (at := held.find(text)) >= 0), default=-1)
            if found >= 0:
                usage.finish_reason = "stop"
                held = held[:found]
                break
            keep = pending_stop(held, stop)
            if len(held) > keep:
                yield held[: len(held) - keep]
                held = held[len(held) - keep :]
        if held:
            yield held


def shared_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    shorter = min(len(left), len(right))
    return next((i for i in range(shorter) if left[i] != right[i]), shorter)


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
    order = np.argsort(-scaled)
    weights = np.exp(scaled[order] - scaled[order[0]])
    weights /= weights.sum()
    # Keep the smallest set that reaches top_p: everything before the sum first gets there, and that one.
    nucleus = int(np.searchsorted(np.cumsum(weights), sampling.top_p)) + 1
    weights = weights[:nucleus] / weights[:nucleus].sum()
    return int(order[random.choice(len(weights), p=weights)])
