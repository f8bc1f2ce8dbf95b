"""Whether a folder made from a GGUF file computes what the file says: compared with the NumPy reference."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import onnxruntime_genai  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lsp_server.models.catalog import Precision
from lsp_server.models.exporter.acceptance import ACCEPTED, PROMPTS, STRUCTURE_TOLERANCE, ParityError

from . import graph, reference
from .architecture import Architecture, GgufFile

STRUCTURE_LAYERS = 2
STRUCTURE_TOKENS = 4096
"""Tokens of the vocabulary in the graph for the comparison of structure."""
TOKENS = 32
"""Of each prompt, for the comparison of the whole: a wrong graph differs from the first ones on."""


def structure(file: GgufFile, shape: Architecture, folder: Path) -> dict[str, float]:
    """Compare two layers at fp32, near the start and far from it, past the reach of a rotary scaling.

    Args:
        file, shape: the network.
        folder: exists; the graph is written there.

    Raises:
        ParityError: they differ by more than `STRUCTURE_TOLERANCE` of the largest logit.
    """
    layers = min(STRUCTURE_LAYERS, shape.layers)
    vocabulary = min(STRUCTURE_TOKENS, shape.vocabulary)
    graph.write(file, shape, folder, "fp32", layers, vocabulary)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(7)
    far = max(0, min(shape.context - 16, 12_288))
    texts, pasts, ours = [], [], []
    for before in (0, far):
        # A cache of random entries puts the next tokens far away without computing the way there.
        size = (2, layers, shape.kv_heads, before, shape.head_size)
        past = reference.Past(*random.standard_normal(size, dtype=np.float32) * np.float32(0.5))
        ids = random.integers(0, vocabulary, graph.LOGIT_ROWS)
        feeds: dict[str, Any] = {
            "input_ids": ids[None],
            "attention_mask": np.ones((1, before + len(ids)), dtype=np.int64),
        }
        for layer in range(layers):
            feeds[f"past_key_values.{layer}.key"] = past.keys[layer][None]
            feeds[f"past_key_values.{layer}.value"] = past.values[layer][None]
        ours.append(session.run(["logits"], feeds)[0][0])
        texts.append(ids.tolist())
        pasts.append(past)
    theirs = reference.logits(file, shape, texts, layers, vocabulary, pasts)
    near_far = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(ours, theirs, strict=True)]
    found = {"near": near_far[0], "far": near_far[1], "far_position": far}
    # `not <=` also refuses NaN.
    if not max(found["near"], found["far"]) <= STRUCTURE_TOLERANCE:
        raise ParityError(
            f"the graph differs from the file's network: |Δlogit| {found['near']:.2g} of the largest logit near the "
            f"start, {found['far']:.2g} at position {far}; at most {STRUCTURE_TOLERANCE:g} is accepted"
        )
    return found


def agreement(file: GgufFile, shape: Architecture, folder: Path, precision: Precision) -> dict[str, float]:
    """Compare the finished folder, run as the engine runs it, with the reference on `PROMPTS`.

    Raises:
        ParityError: the figures miss what is accepted of `precision`.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = [tokenizer.encode(prompt, add_special_tokens=False).ids[:TOKENS] for prompt in PROMPTS]
    # First this, then the model: both together take much memory.
    expected = reference.logits(file, shape, texts)
    model = onnxruntime_genai.Model(str(folder))
    same, divergence = 0, 0.0
    for text, theirs in zip(texts, expected, strict=True):
        ours, theirs = _log_softmax(logits_along(model, text)), _log_softmax(theirs)
        same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
        divergence += float((np.exp(theirs) * (theirs - ours)).sum())
    total = sum(map(len, texts))
    top1, kl = same / total, divergence / total
    least, largest = ACCEPTED[precision]
    if not (top1 >= least and kl <= largest):
        raise ParityError(
            f"the folder agrees with the file on {top1:.1%} of {total} tokens (KL {kl:.3g}); at least {least:.1%} (KL "
            f"at most {largest:g}) is accepted"
        )
    return {"top1": top1, "kl": kl, "tokens": total}


def logits_along(model: Any, text: Sequence[int]) -> NDArray[np.float32]:
    """Logits of every position, [tokens, vocabulary]: as many at a time as the graph gives.

    Args:
        model: of the runtime.
        text: token ids.
    """
    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(text) + 1, do_sample=False)
    generator = onnxruntime_genai.Generator(model, parameters)
    parts = []
    for begin in range(0, len(text), graph.LOGIT_ROWS):
        generator.append_tokens(np.asarray(text[begin : begin + graph.LOGIT_ROWS], dtype=np.int32))
        parts.append(np.array(generator.get_output("logits"), dtype=np.float32)[0])
    return np.concatenate(parts)


def _log_softmax(x: NDArray[np.float32]) -> NDArray[np.float32]:
    x = x - x.max(axis=-1, keepdims=True)
    out: NDArray[np.float32] = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    return out
