"""GGUF's quantised blocks in the form of ONNX Runtime's `MatMulNBits`: kept where the formats agree.

A weight is `scale * (q - zero)`, with one scale and one whole zero point for each 32 weights of a row. ggml's formats
are described in its `ggml-common.h`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

BLOCK = 32
"""Weights that share a scale."""
Bits = Literal[4, 8]


@dataclass(frozen=True)
class Blocks:
    """A quantised matrix [rows, columns]."""

    bits: Bits
    values: NDArray[np.uint8]
    """[rows, blocks, 32], or [rows, blocks, 16] with two to a byte, the first in the low half, at 4 bits."""
    scales: NDArray[np.float32]
    """[rows, blocks]."""
    zeros: NDArray[np.uint8]
    """[rows, blocks], two to a byte at 4 bits."""

    @classmethod
    def pack(
        cls, bits: Bits, values: NDArray[np.uint8], scales: NDArray[np.float32], zeros: NDArray[np.uint8]
    ) -> Blocks:
        """Make one of unpacked values [rows, blocks, 32], scales and zeros [rows, blocks]."""
        if bits == 4:
            values = values[..., 0::2] | (values[..., 1::2] << np.uint8(4))
            if zeros.shape[1] % 2:
                zeros = np.pad(zeros, ((0, 0), (0, 1)))
            zeros = zeros[:, 0::2] | (zeros[:, 1::2] << np.uint8(4))
        return cls(
            bits, np.ascontiguousarray(values), np.ascontiguousarray(scales), np.ascontiguousarray(zeros)
        )

    @classmethod
    def join(cls, parts: list[Blocks]) -> Blocks:
        """Put matrices of the same bits and columns below each other."""
        return cls(
            parts[0].bits,
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.scales for part in parts]),
            np.concatenate([part.zeros for part in parts]),
        )


def own_bits(kind: Type) -> Bits:
    """How many bits keep a format's precision: 4 for those whose zero points are whole, or nearly; 8 for all others."""
    return 4 if kind in (Type.Q4_0, Type.Q4_K) else 8


def convert(data: NDArray[np.uint8], kind: Type, bits: Bits) -> Blocks:
    """Convert rows of a quantised matrix.

    Args:
        data: [rows, bytes], as GGUF stores them.
        kind: their format.
        bits: of the result.

    Returns:
        Exactly the file's weights for Q4_0, and for Q8_0 at 8 bits; for Q4_1 and Q4_K their scales and values, with
        the zero point rounded to a whole step (4 bits) or to an eighth of one (8 bits); requantised for any other,
        and for a block whose zero point is out of range.
    """
    if kind == Type.Q8_0 and bits == 8:
        return Blocks.pack(8, *_q8_0(data))
    if kind in _AFFINE:
        return _affine(*_AFFINE[kind](data), bits)
    weights = dequantise(data, kind)
    return Blocks.pack(bits, *_nearest(weights.reshape(len(weights), -1, BLOCK), bits))


def dequantise(data: NDArray[np.uint8], kind: Type) -> NDArray[np.float32]:
    """The weights themselves, as ggml computes them.

    Args:
        data: [rows, bytes] as GGUF stores them, or a vector.
        kind: their format.
    """
    if kind not in _AFFINE:
        return np.asarray(gguf.quants.dequantize(data, kind), dtype=np.float32)
    # The library's own way takes twice as long.
    values, scales, lows = _AFFINE[kind](data)
    weights = scales[..., None] * values
    weights -= lows[..., None]
    return weights.reshape(len(data), -1)


def _nearest(
    blocks: NDArray[np.float32], bits: Bits
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """Values, scales and zeros of weights [..., 32].

    At 4 bits each block reaches from its smallest to its largest, zero included; at 8 bits evenly to both sides of
    zero, which loses nothing that counts and is faster to do.
    """
    if bits == 8:
        scales = np.abs(blocks).max(-1) / np.float32(127)
        low = np.full(scales.shape, -128, dtype=np.float32)
    else:
        low = np.minimum(blocks.min(-1), np.float32(0))
        scales = (np.maximum(blocks.max(-1), np.float32(0)) - low) / np.float32(15)
    # A step below the smallest normal number is none: dividing by it would not be exact to a step, or overflow.
    scales = np.where(scales >= np.finfo(np.float32).tiny, scales, np.float32(1))
    zeros = -low if bits == 8 else np.rint(-low / scales).clip(0, 15)
    steps = blocks / scales[..., None]
    steps += zeros[..., None]
    np.rint(steps, out=steps)
    np.clip(steps, 0, (1 << bits) - 1, out=steps)
    return steps.astype(np.uint8), scales, zeros.astype(np.uint8)


def _affine(
    values: NDArray[np.uint8], scales: NDArray[np.float32], lows: NDArray[np.float32], bits: Bits
) -> Blocks:
    """Blocks of `scale * value - low`, value from 0 to 15."""
    top = (1 << bits) - 1
    weights = scales[..., None] * values - lows[..., None]
    if bits == 8:
        # Eight steps for each of four bits leave room for a zero point to an eighth of one.
        values, scales = values * np.uint8(8), scales / np.float32(8)
    flat = scales == 0
    zeros = np.rint(np.divide(lows, scales, out=np.zeros_like(lows), where=~flat))
    # Such blocks are rare: all their weights are of one sign, or their scale's own rounding was coarse.
    out = flat | (zeros < 0) | (zeros > top)
    zeros = zeros.clip(0, top).astype(np.uint8)
    if out.any():
        values, scales = values.copy(), scales.copy()
        values[out], scales[out], zeros[out] = _nearest(weights[out], bits)
    return Blocks.pack(bits, values, scales, zeros)


def _q4_1(data: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Values [rows, blocks, 32], scales and lows [rows, blocks]: a scale, an offset, and values as Q4_0 has them."""
    rows = data.shape[0]
    blocks = data.reshape(-1, 20)
    parts = blocks[:, 0:4].copy().view(np.float16).astype(np.float32)
    packed = blocks[:, 4:]
    values = np.concatenate([packed & np.uint8(15), packed >> np.uint8(4)], axis=1).reshape(rows, -1, BLOCK)
    return values, parts[:, 0].reshape(rows, -1), -parts[:, 1].reshape(rows, -1)


def _q4_k(data: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Values [rows, blocks, 32], scales and lows [rows, blocks]: eight blocks of 32 in each 144 bytes."""
    rows = data.shape[0]
    super_blocks = data.reshape(-1, 144)
    factor = super_blocks[:, 0:2].copy().view(np.float16).astype(np.float32)
    low_factor = super_blocks[:, 2:4].copy().view(np.float16).astype(np.float32)
    scale, low = gguf.quants.Q4_K.get_scale_min(np.ascontiguousarray(super_blocks[:, 4:16]))
    packed = super_blocks[:, 16:].reshape(-1, 4, 32)
    values = np.empty((len(packed), 4, 2, 32), dtype=np.uint8)
    values[:, :, 0], values[:, :, 1] = packed & np.uint8(15), packed >> np.uint8(4)
    return (
        values.reshape(rows, -1, 32),
        (factor * scale).reshape(rows, -1),
        (low_factor * low).reshape(rows, -1),
    )


def _q4_0(data: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """The same for `scale * (value - 8)`: a scale and 16 bytes, the first half of the block in the low halves."""
    rows = data.shape[0]
    blocks = data.reshape(-1, 18)
    scales = blocks[:, 0:2].copy().view(np.float16).astype(np.float32).reshape(rows, -1)
    packed = blocks[:, 2:]
    values = np.concatenate([packed & np.uint8(15), packed >> np.uint8(4)], axis=1).reshape(rows, -1, BLOCK)
    return values, scales, 8 * scales


_AFFINE = {Type.Q4_0: _q4_0, Type.Q4_1: _q4_1, Type.Q4_K: _q4_k}


def _q8_0(data: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """Values, scales and zeros of `scale * value`: a scale and 32 signed bytes."""
    rows = data.shape[0]
    blocks = data.reshape(-1, 34)
    scales = blocks[:, 0:2].copy().view(np.float16).astype(np.float32).reshape(rows, -1)
    values = (blocks[:, 2:] ^ np.uint8(128)).reshape(rows, -1, BLOCK)
    return values, scales, np.full(scales.shape, 128, dtype=np.uint8)
