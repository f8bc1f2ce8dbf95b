"""Replies of our own engine, token by token, to hold beside another's."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsp_server.engine.protocol import Sampling
from lsp_server.engine.session import Session, Usage
from lsp_server.engine.tokenizer import ChatTokenizer
from lsp_server.models import machine


class _Recorder(ChatTokenizer):
    """Remembers the tokens that it decodes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "ds")
        self.seen: list[int] = []

    def decode(self, tokens: Iterator[int]) -> Iterator[str]:
        def noted() -> Iterator[int]:
            for token in tokens:
                self.seen.append(token)
                yield token

        return super().decode(noted())


def reply(
    folder: Path, prompt: Sequence[int], tokens: int, context: int, memory: machine.Memory | None = None
) -> list[int]:
    """The greedy reply of an exported folder, with speculation, as the engine makes it.

    Args:
        folder: the ONNX folder.
        prompt: token ids.
        tokens: how many are wanted.
        context: most tokens of prompt and reply.
        memory: what it is to run in; None: the machine's own.
    """
    recorder = _Recorder(folder)
    session = Session(folder, recorder, context, memory=memory)
    list(session.complete(prompt, Sampling(max_tokens=tokens), (), threading.Event(), Usage()))
    return recorder.seen


def for_the_cpu(folder: Path, copy: Path) -> Path:
    """Copy a folder that was made for CUDA, but for where it is to run: the same graph, on the CPU's kernels."""
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    file = copy / "genai_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["model"]["decoder"]["session_options"]["provider_options"] = []
    file.write_text(json.dumps(config), encoding="utf-8")
    return copy


def shortfalls(logits: NDArray[np.float32], tokens: Sequence[int]) -> NDArray[np.float32]:
    """How far each token is behind the likeliest one, as a part of the largest logit; 0 where it is that one.

    Args:
        logits: [tokens, vocabulary], computed with all tokens before.
        tokens: those chosen.
    """
    chosen = logits[np.arange(len(tokens)), tokens]
    behind: NDArray[np.float32] = (logits.max(axis=-1) - chosen) / np.abs(logits).max()
    return behind


def logits_along(folder: Path, prompt: Sequence[int], tokens: Sequence[int]) -> NDArray[np.float32]:
    """Logits [tokens, vocabulary] of an exported fp32 folder before each token of a reply."""
    import onnxruntime  # type: ignore[import-untyped]

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    ids = np.array([[*prompt, *tokens]], dtype=np.int64)
    feeds: dict[str, Any] = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]["decoder"]
    empty = np.empty((1, config["num_key_value_heads"], 0, config["head_size"]), dtype=np.float32)
    feeds |= {each.name: empty for each in session.get_inputs() if each.name.startswith("past_key_values")}
    found: NDArray[np.float32] = session.run(["logits"], feeds)[0][0, len(prompt) - 1 : -1]
    return found
