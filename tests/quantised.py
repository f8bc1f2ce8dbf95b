"""Weights in ggml's formats; its Python package can read the K ones but not write them."""

from __future__ import annotations

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray


def quantise(weights: NDArray[np.float32], kind: Type) -> NDArray[np.uint8]:
    """Rows of weights [rows, columns] as bytes [rows, bytes], as GGUF stores them (floats for the plain types)."""
    if kind not in (Type.Q4_K, Type.Q6_K):
        return np.asarray(gguf.quants.quantize(weights, kind))
    blocks = weights.reshape(-1, 256)
    made = _q4_k(blocks) if kind == Type.Q4_K else _q6_k(blocks)
    return made.reshape(len(weights), -1)


def _q4_k(blocks: NDArray[np.float32]) -> NDArray[np.uint8]:
    parts = blocks.reshape(-1, 8, 32)
    lows = np.maximum(-parts.min(-1), 0.0)
    steps = (parts.max(-1) + lows) / 15
    step, step_16 = _factor(steps.max(-1), 63)
    low, low_16 = _factor(lows.max(-1), 63)
    scales = np.rint(steps / step).clip(0, 63).astype(np.uint8)
    mins = np.rint(lows / low).clip(0, 63).astype(np.uint8)
    wide = np.where(scales > 0, step * scales, 1.0)[..., None]
    values = np.rint((parts + (low * mins)[..., None]) / wide).clip(0, 15).astype(np.uint8)
    head, tail = slice(0, 4), slice(4, 8)
    packed = [
        scales[:, head] | (scales[:, tail] >> 4 << 6),
        mins[:, head] | (mins[:, tail] >> 4 << 6),
        (scales[:, tail] & 15) | ((mins[:, tail] & 15) << 4),
    ]
    nibbles = (values[:, 0::2] | values[:, 1::2] << 4).reshape(-1, 128)
    return np.concatenate([step_16, low_16, *packed, nibbles], axis=1)


def _q6_k(blocks: NDArray[np.float32]) -> NDArray[np.uint8]:
    parts = blocks.reshape(-1, 16, 16)
    steps = np.abs(parts).max(-1) / 31
    step, step_16 = _factor(steps.max(-1), 127)
    scales = np.rint(steps / step).clip(0, 127).astype(np.int8)
    wide = np.where(scales > 0, step * scales, 1.0)[..., None]
    values = (np.rint(parts / wide).clip(-32, 31) + 32).astype(np.uint8)
    # Each half of 128 weights: four runs of 32, whose low four bits and high two bits are interleaved.
    runs = values.reshape(-1, 2, 4, 32)
    low = np.concatenate([(runs[:, :, i] & 15) | (runs[:, :, i + 2] & 15) << 4 for i in (0, 1)], axis=-1)
    high = sum(((runs[:, :, i] >> 4) << (2 * i) for i in range(1, 4)), start=runs[:, :, 0] >> 4)
    return np.concatenate(
        [low.reshape(-1, 128), high.reshape(-1, 64), scales.view(np.uint8), step_16], axis=1
    )


def _factor(largest: NDArray[np.float32], levels: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A super-block's factor [blocks, 1], as float16 can say it, and its bytes."""
    half = (np.where(largest > 0, largest, 1.0) / levels).astype(np.float16)[:, None]
    return half.astype(np.float32), half.view(np.uint8)
