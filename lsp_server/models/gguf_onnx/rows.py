"""Matrices at 8 bits with one scale a row, and activations to match: whole products of bytes, without a scale in between.

Both sides are rotated before they are rounded, so that no channel stands out that would make the steps of all others
coarse. A rotation of both leaves their product as it is (QuaRot, Ashkboos et al., 2024); Hadamard's, block by block,
is the usual one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROTATED = 128
"""Channels that are rotated together, where their number allows."""
LARGEST = 127


@dataclass(frozen=True)
class Rows:
    """A quantised matrix [rows, columns]."""

    values: NDArray[np.int8]
    """[columns, rows]: as the runtime multiplies by it."""
    scales: NDArray[np.float32]
    """[rows]."""

    @classmethod
    def join(cls, parts: list[Rows]) -> Rows:
        """Put matrices of the same columns below each other."""
        return cls(
            np.concatenate([part.values for part in parts], axis=1),
            np.concatenate([part.scales for part in parts]),
        )


def rotated_together(channels: int) -> int:
    """How many neighbouring channels are rotated together: the largest power of two up to `ROTATED` that divides all."""
    return math.gcd(channels, ROTATED)


def rotation(size: int) -> NDArray[np.float32]:
    """Hadamard's matrix of a power of two, made orthogonal (Sylvester's construction)."""
    matrix = np.ones((1, 1), dtype=np.float32)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.float32(math.sqrt(size))


def quantise(weights: NDArray[np.float32]) -> Rows:
    """Rotate and round rows of a matrix.

    Args:
        weights: [rows, columns].
    """
    count, channels = weights.shape
    turn = rotation(rotated_together(channels))
    turned = (weights.reshape(-1, len(turn)) @ turn).reshape(count, channels)
    scales = np.maximum(turned.max(axis=1), -turned.min(axis=1)) / np.float32(LARGEST)
    # A row of zeros, or of next to nothing, has no step.
    scales = np.where(scales >= np.finfo(np.float32).tiny, scales, np.float32(1))
    turned /= scales[:, None]
    np.rint(turned, out=turned)
    return Rows(np.ascontiguousarray(turned.astype(np.int8).T), scales)
