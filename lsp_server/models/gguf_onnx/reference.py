"""The same network in plain NumPy, from the file's dequantised weights: what the ONNX graph is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .architecture import Architecture, GgufFile

Floats = NDArray[np.float32]

SLAB = 512
"""Rows of a matrix that are dequantised at a time: what stays in a processor's own cache."""


@dataclass(frozen=True)
class Past:
    """Keys and values of the positions before."""

    keys: Floats
    """[layers, kv heads, positions, channels], already rotated."""
    values: Floats


def logits(
    file: GgufFile,
    shape: Architecture,
    texts: Sequence[Sequence[int]],
    layers: int | None = None,
    vocabulary: int | None = None,
    pasts: Sequence[Past | None] | None = None,
) -> list[Floats]:
    """Compute the logits of every position of some texts.

    Args:
        file, shape: the network.
        texts: token ids of each.
        layers: only the first so many decoder layers.
        vocabulary: logits of only the first so many tokens.
        pasts: what goes before each text; None: nothing before any.

    Returns:
        [tokens, vocabulary] for each text.
    """
    tokens = np.concatenate([np.asarray(text) for text in texts])
    table = file.tensors["token_embd.weight"]
    rows = np.concatenate([file.rows(table.name, token, token + 1) for token in tokens])
    state = rows * np.float32(shape.embedding_scale)
    for layer in range(layers or shape.layers):
        block = f"blk.{layer}"
        source = _norm(file, shape, f"{block}.attn_norm", state)
        query, key, value = (_linear(file, f"{block}.attn_{part}", source) for part in "qkv")
        attended, begin = [], 0
        for text, past in zip(texts, pasts or [None] * len(texts), strict=True):
            part = slice(begin, begin + len(text))
            before = (past.keys[layer], past.values[layer]) if past else None
            attended.append(_attend(shape, query[part], key[part], value[part], before))
            begin += len(text)
        state = state + _linear(file, f"{block}.attn_output", np.concatenate(attended))
        source = _norm(file, shape, f"{block}.ffn_norm", state)
        hidden = _linear(file, f"{block}.ffn_up", source)
        if shape.gated:
            hidden = _activate(shape, _linear(file, f"{block}.ffn_gate", source)) * hidden
        else:
            hidden = _activate(shape, hidden)
        state = state + _linear(file, f"{block}.ffn_down", hidden)
    final = _norm(file, shape, "output_norm", state)
    head = "output" if "output.weight" in file.tensors else "token_embd"
    count = vocabulary or shape.vocabulary
    found = _product(file, f"{head}.weight", final, count)
    if "output.bias" in file.tensors:
        found += file.rows("output.bias")[:count]
    ends = np.cumsum([len(text) for text in texts])
    return np.split(found, ends[:-1])


def _linear(file: GgufFile, name: str, source: Floats) -> Floats:
    out = _product(file, f"{name}.weight", source, len(file.tensors[f"{name}.weight"].data))
    return out + file.rows(f"{name}.bias") if f"{name}.bias" in file.tensors else out


def _product(file: GgufFile, name: str, source: Floats, rows: int) -> Floats:
    """Multiply [tokens, columns] by the first rows of a matrix."""
    out = np.empty((len(source), rows), dtype=np.float32)
    for begin in range(0, rows, SLAB):
        end = min(begin + SLAB, rows)
        out[:, begin:end] = source @ file.rows(name, begin, end).T
    return out


def _norm(file: GgufFile, shape: Architecture, name: str, state: Floats) -> Floats:
    weight = file.rows(f"{name}.weight")
    if not shape.layer_norm:
        square = np.mean(state * state, axis=-1, keepdims=True)
        return np.asarray(state / np.sqrt(square + shape.epsilon) * weight, dtype=np.float32)
    centred = state - state.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + shape.epsilon)
    return np.asarray(centred / spread * weight + file.rows(f"{name}.bias"), dtype=np.float32)


def _activate(shape: Architecture, x: Floats) -> Floats:
    if shape.gelu:
        inner = np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x * x * x)
        out: Floats = np.float32(0.5) * x * (1 + np.tanh(inner))
    else:
        out = x / (1 + np.exp(-x))
    return out


def _attend(
    shape: Architecture,
    query: Floats,
    key: Floats,
    value: Floats,
    past: tuple[Floats, Floats] | None,
) -> Floats:
    """Causal attention of one text's tokens, [tokens, heads * channels]."""
    count, size = len(query), shape.head_size
    before = past[0].shape[1] if past else 0
    positions = np.arange(before, before + count)
    # [heads, tokens, channels]
    q = _rotate(shape, query.reshape(count, shape.heads, size).transpose(1, 0, 2), positions)
    k = _rotate(shape, key.reshape(count, shape.kv_heads, size).transpose(1, 0, 2), positions)
    v = value.reshape(count, shape.kv_heads, size).transpose(1, 0, 2)
    if past:
        k, v = np.concatenate([past[0], k], axis=1), np.concatenate([past[1], v], axis=1)
    group = shape.heads // shape.kv_heads
    k, v = np.repeat(k, group, axis=0), np.repeat(v, group, axis=0)
    scores = q @ k.transpose(0, 2, 1) * np.float32(size**-0.5)
    distance = positions[:, None] - np.arange(before + count)
    hidden = distance < 0
    if shape.window:
        hidden |= distance >= shape.window
    scores = np.where(hidden, np.float32(-np.inf), scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    out: Floats = (weights @ v).transpose(1, 0, 2).reshape(count, -1)
    return out


def _rotate(shape: Architecture, x: Floats, positions: NDArray[np.int64]) -> Floats:
    """Rotary embedding of [heads, tokens, channels]."""
    speeds = shape.rope_base ** (-np.arange(0, shape.head_size, 2, dtype=np.float64) / shape.head_size)
    angles = np.outer(positions / shape.rope_factor, speeds)
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    half = shape.head_size // 2
    first, second = (x[..., 0::2], x[..., 1::2]) if shape.rope_interleaved else (x[..., :half], x[..., half:])
    turned = first * cos - second * sin, second * cos + first * sin
    if shape.rope_interleaved:
        return np.stack(turned, axis=-1).reshape(x.shape)
    return np.concatenate(turned, axis=-1)
