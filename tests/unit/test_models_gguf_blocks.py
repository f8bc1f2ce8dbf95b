"""Converted blocks mean what ggml's own mean: exactly where the formats agree, within the stated step elsewhere."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lsp_server.models.gguf_onnx.blocks import BLOCK, Bits, Blocks, convert, own_bits
from tests.quantised import quantise

ROWS, COLUMNS = 3, 512
OTHERS = [Type.F32, Type.F16, Type.BF16, Type.Q5_0, Type.Q5_1, Type.Q6_K]
seeds = st.integers(0, 2**32 - 1)


def dequantised(blocks: Blocks) -> NDArray[np.float32]:
    """What `MatMulNBits` takes them for: `scale * (value - zero)`."""
    values, zeros = blocks.values, blocks.zeros
    if blocks.bits == 4:
        values = np.stack([values & 15, values >> 4], axis=-1).reshape(*values.shape[:2], BLOCK)
        zeros = np.stack([zeros & 15, zeros >> 4], axis=-1).reshape(len(zeros), -1)
    zeros = zeros[:, : blocks.scales.shape[1]]
    steps = values.astype(np.float32) - zeros[..., None].astype(np.float32)
    return (steps * blocks.scales[..., None]).reshape(len(values), -1)


def theirs(data: NDArray[np.uint8], kind: Type) -> NDArray[np.float32]:
    return np.asarray(gguf.quants.dequantize(data, kind), dtype=np.float32)


def by_block(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    return weights.reshape(len(weights), -1, BLOCK)


def weights_of(seed: int) -> NDArray[np.float32]:
    """Blocks of every sort: ordinary, tiny, huge, zero, constant, and of one sign."""
    random = np.random.default_rng(seed)
    blocks = random.standard_normal((ROWS, COLUMNS // BLOCK, BLOCK)).astype(np.float32)
    blocks *= random.choice([1e-4, 1.0, 30.0], (ROWS, COLUMNS // BLOCK, 1)).astype(np.float32)
    blocks += random.choice([-20.0, 0.0, 0.0, 20.0], (ROWS, COLUMNS // BLOCK, 1)).astype(np.float32)
    blocks[random.random((ROWS, COLUMNS // BLOCK)) < 0.1] = 0.0
    blocks[random.random((ROWS, COLUMNS // BLOCK)) < 0.1] = -3.0
    return blocks.reshape(ROWS, COLUMNS)


def any_q4_k(seed: int) -> NDArray[np.uint8]:
    """Q4_K rows of any bytes, but for the two factors, which are not negative in any file."""
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, (ROWS * COLUMNS // 256, 144), dtype=np.uint8)
    factors = random.choice([0.0, 1e-3, 0.5, 2.0], (len(data), 2)).astype(np.float16)
    data[:, :4] = factors.view(np.uint8)
    return data.reshape(ROWS, -1)


@pytest.mark.parametrize(("kind", "bits"), [(Type.Q4_0, 4), (Type.Q4_0, 8), (Type.Q8_0, 8)])
@given(seed=seeds)
def test_formats_that_agree_are_kept_exactly(kind: Type, bits: Bits, seed: int) -> None:
    data = quantise(weights_of(seed), kind)
    converted = convert(data, kind, bits)
    assert converted.bits == bits
    np.testing.assert_array_equal(dequantised(converted), theirs(data, kind))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", [Type.Q4_1, Type.Q4_K])
@given(seed=seeds)
def test_affine_formats_are_off_by_the_zero_points_rounding(kind: Type, bits: Bits, seed: int) -> None:
    check_affine(quantise(weights_of(seed), kind), kind, bits)


@pytest.mark.parametrize("bits", [4, 8])
@given(seed=seeds)
def test_any_q4_k_bytes_are_converted(bits: Bits, seed: int) -> None:
    check_affine(any_q4_k(seed), Type.Q4_K, bits)


def check_affine(data: NDArray[np.uint8], kind: Type, bits: Bits) -> None:
    converted = convert(data, kind, bits)
    expected = by_block(theirs(data, kind))
    error = np.abs(by_block(dequantised(converted)) - expected).max(-1)
    # A block whose zero point is in range is off by half a step; any other is requantised, zero included.
    span = np.maximum(expected.max(-1), 0) - np.minimum(expected.min(-1), 0)
    step = np.maximum(converted.scales, span / ((1 << bits) - 1))
    assert (error <= step * 0.5001 + 1e-6 * np.abs(expected).max(-1)).all()


@pytest.mark.parametrize("kind", OTHERS)
@given(seed=seeds)
@settings(max_examples=30)
def test_other_formats_are_requantised_to_within_half_a_step(kind: Type, seed: int) -> None:
    data = quantise(weights_of(seed), kind)
    converted = convert(data, kind, own_bits(kind))
    expected = by_block(theirs(data, kind))
    error = np.abs(by_block(dequantised(converted)) - expected).max(-1)
    assert converted.bits == 8
    # 127 steps to either side of zero.
    assert (error <= np.abs(expected).max(-1) / 127 * 0.5001 + 1e-37).all()


def test_a_block_whose_zero_point_is_out_of_range_is_not_cut_off() -> None:
    weights = np.full((1, 256), -20.0, dtype=np.float32)
    weights[0, ::2] = -21.0
    data = quantise(weights, Type.Q4_1)
    found = dequantised(convert(data, Type.Q4_1, 4))
    # At four bits a block from -21 to 0 has steps of 1.4.
    assert np.abs(found - theirs(data, Type.Q4_1)).max() <= 0.71


def test_an_odd_number_of_blocks_has_its_zero_points_padded() -> None:
    weights = np.random.default_rng(1).standard_normal((4, 96)).astype(np.float32)
    data = quantise(weights, Type.Q4_0)
    converted = convert(data, Type.Q4_0, 4)
    assert converted.zeros.shape == (4, 2)
    np.testing.assert_array_equal(dequantised(converted), theirs(data, Type.Q4_0))


def test_joined_matrices_are_below_each_other() -> None:
    random = np.random.default_rng(2)
    parts = [quantise(random.standard_normal((rows, 64)).astype(np.float32), Type.Q4_0) for rows in (2, 3)]
    joined = Blocks.join([convert(part, Type.Q4_0, 8) for part in parts])
    expected = np.concatenate([theirs(part, Type.Q4_0) for part in parts])
    np.testing.assert_array_equal(dequantised(joined), expected)


@pytest.mark.parametrize(
    ("kind", "bits"), [(Type.Q4_0, 4), (Type.Q4_1, 8), (Type.Q4_K, 4), (Type.Q5_0, 8), (Type.Q6_K, 8)]
)
def test_precision_is_not_lost_to_the_format(kind: Type, bits: int) -> None:
    assert own_bits(kind) == bits
