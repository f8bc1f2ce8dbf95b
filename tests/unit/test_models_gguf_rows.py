"""Rows at 8 bits: the rotation is one, rounding stays within a step, and no outlier makes the others coarse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lsp_server.models.gguf_onnx.rows import Rows, quantise, rotated_together, rotation

sizes = st.sampled_from([32, 96, 128, 256, 384, 1536])


def weights(seed: int, rows: int, columns: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def turned(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    size = rotated_together(matrix.shape[1])
    return (matrix.reshape(-1, size) @ rotation(size)).reshape(matrix.shape)


def meant(rows: Rows) -> NDArray[np.float32]:
    """The matrix that quantised rows stand for, rotated."""
    return (rows.values.astype(np.float32) * rows.scales).T


@pytest.mark.parametrize("size", [1, 2, 32, 128])
def test_a_rotation_leaves_products_as_they_are(size: int) -> None:
    turn = rotation(size)
    assert np.allclose(turn @ turn.T, np.eye(size), atol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), columns=sizes, scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e4]))
def test_each_weight_is_rounded_to_the_nearest_step(seed: int, columns: int, scale: float) -> None:
    matrix = weights(seed, 5, columns) * np.float32(scale)
    rows = quantise(matrix)
    assert rows.values.shape == (columns, 5)
    off = np.abs(meant(rows) - turned(matrix))
    assert (off <= rows.scales[:, None] * 0.501).all()
    assert np.abs(rows.values.astype(int)).max() == 127


def test_rows_of_nothing_stay_nothing() -> None:
    matrix = weights(1, 3, 128)
    matrix[1] = 0
    matrix[2] = 1e-42
    rows = quantise(matrix)
    assert np.isfinite(rows.scales).all()
    assert not rows.values[:, 1:].any()


@given(seed=st.integers(0, 2**32 - 1))
def test_an_outlier_does_not_make_the_rest_coarse(seed: int) -> None:
    matrix = weights(seed, 4, 512)
    matrix[:, 77] *= 100
    rows = quantise(matrix)
    plain = np.abs(matrix).max(axis=1, keepdims=True) / 127
    unturned = np.abs(np.rint(matrix / plain) * plain - matrix)
    assert np.abs(meant(rows) - turned(matrix)).mean() < unturned.mean() / 2


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 9))
def test_rows_are_quantised_on_their_own(seed: int, cut: int) -> None:
    matrix = weights(seed, 10, 128)
    joined = Rows.join([quantise(matrix[:cut]), quantise(matrix[cut:])])
    whole = quantise(matrix)
    assert np.allclose(joined.scales, whole.scales, rtol=1e-6)
    # A matrix product of another size may round otherwise, and so a weight half way between two steps.
    assert np.abs(joined.values.astype(int) - whole.values).max() <= 1
