"""Writes the ONNX graph of a GGUF file's network, in the form onnxruntime_genai runs.

The operators are ONNX Runtime's contributed ones (`GroupQueryAttention`, `MatMulNBits`, `GatherBlockQuantized`,
`SkipSimplifiedLayerNormalization`); inputs and outputs are named as the runtime's own model builder names them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from .architecture import Architecture, GgufFile
from .blocks import BLOCK, Blocks, convert, own_bits
from .rows import LARGEST, Rows, quantise, rotated_together, rotation

Weights = Literal["int8", "int4", "fp32"]
"""`int8`: one scale a row, and activations of one scale a token. `int4`: the file's own blocks of 32, at 4 bits where it
has these. `fp32`: dequantised."""

LOGIT_ROWS = 8
"""The head is computed for so many of a pass's last positions: a prompt needs one, and speculation its drafts and
one more. The logits of the positions before are zero."""
SLAB = 512
"""Rows that are converted at a time: what stays in a processor's own cache."""
ALIGNMENT = 1 << 16
"""Bytes; an array that begins at a multiple is mapped from the file instead of read, on every system."""
MICROSOFT = "com.microsoft"


def write(
    file: GgufFile,
    shape: Architecture,
    folder: Path,
    weights: Weights,
    layers: int | None = None,
    vocabulary: int | None = None,
) -> None:
    """Write `model.onnx` and `model.onnx.data`.

    Args:
        file: the weights.
        shape: as `architecture.read` found it.
        folder: exists.
        weights: how the matrices are kept.
        layers: only the first so many decoder layers.
        vocabulary: only the first so many tokens.
    """
    with (folder / "model.onnx.data").open("wb") as data, ThreadPoolExecutor(os.cpu_count()) as threads:
        writer = _Writer(file, shape, _Store(data), weights, vocabulary or shape.vocabulary, threads)
        model = writer.model(layers or shape.layers)
    onnx.save_model(model, folder / "model.onnx")


class _Store:
    """Constants of the graph; the data of large ones goes to a file beside it."""

    def __init__(self, data: Any) -> None:
        self.tensors: list[TensorProto] = []
        self._data = data

    def add(self, name: str, array: NDArray[Any]) -> str:
        """Store an array; return its name."""
        tensor = TensorProto(
            name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape
        )
        if array.nbytes < 1024:
            tensor.raw_data = array.tobytes()
        else:
            offset = -(-self._data.tell() // ALIGNMENT) * ALIGNMENT
            self._data.seek(offset)
            self._data.write(np.ascontiguousarray(array).data)
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": "model.onnx.data", "offset": offset, "length": array.nbytes}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
        self.tensors.append(tensor)
        return name


class _Writer:
    """Makes the nodes, from the embedding to the logits. A node's first output has the node's name."""

    def __init__(
        self,
        file: GgufFile,
        shape: Architecture,
        store: _Store,
        weights: Weights,
        vocabulary: int,
        threads: Executor,
    ) -> None:
        self._file, self._shape, self._store = file, shape, store
        self._weights, self._vocabulary, self._threads = weights, vocabulary, threads
        self._bytes: dict[str, tuple[str, str]] = {}
        """Activations that are rounded already, by their name: their bytes, and each token's largest."""
        self._shared: set[str] = set()
        self._nodes: list[onnx.NodeProto] = []

    def model(self, layers: int) -> onnx.ModelProto:
        """The whole graph with so many decoder layers."""
        shape = self._shape
        self._lengths()
        self._rotary()
        residual, step = self._embedding(), ""
        for layer in range(layers):
            block = f"blk.{layer}"
            source, residual = self._norm(f"{block}.attn_norm", residual, step)
            step = self._attention(layer, source)
            source, residual = self._norm(f"{block}.ffn_norm", residual, step)
            step = self._mlp(block, source)
        final, _ = self._norm("output_norm", residual, step)
        self._logits(final)
        inputs = [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
            helper.make_tensor_value_info(
                "attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]
            ),
        ]
        outputs = [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, ["batch_size", "sequence_length", self._vocabulary]
            )
        ]
        for layer in range(layers):
            for part in ("key", "value"):
                for name, length, group in (
                    (f"past_key_values.{layer}.{part}", "past_sequence_length", inputs),
                    (f"present.{layer}.{part}", "total_sequence_length", outputs),
                ):
                    dims: list[str | int | None] = [*("batch_size", shape.kv_heads, length, shape.head_size)]
                    group.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
        graph = helper.make_graph(self._nodes, shape.name, inputs, outputs, self._store.tensors)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="oci-companion")

    def _node(
        self,
        kind: str,
        name: str,
        inputs: Sequence[str],
        more: Sequence[str] = (),
        domain: str = "",
        **attributes: Any,
    ) -> str:
        self._nodes.append(
            helper.make_node(kind, list(inputs), [name, *more], name=name, domain=domain, **attributes)
        )
        return name

    def _constant(self, name: str, value: Any, kind: Any = np.int64) -> str:
        return self._store.add(name, np.asarray(value, dtype=kind))

    def _lengths(self) -> None:
        """What attention needs of the mask: each sequence's last position, and the length of the longest."""
        axis = self._constant("one", [1])
        total = self._node("ReduceSum", "mask/sum", ["attention_mask", axis], keepdims=0)
        last = self._node("Sub", "mask/last", [total, axis])
        self._node("Cast", "last_positions", [last], to=TensorProto.INT32)
        extent = self._node("Shape", "mask/shape", ["attention_mask"])
        longest = self._node("Gather", "mask/length", [extent, self._constant("at_1", 1)], axis=0)
        self._node("Cast", "total_length", [longest], to=TensorProto.INT32)

    def _rotary(self) -> None:
        """Tables of the rotary embedding, [context, half a head]."""
        shape = self._shape
        channels = np.arange(0, shape.head_size, 2, dtype=np.float64)
        speeds = shape.rope_base ** (-channels / shape.head_size)
        angles = np.outer(np.arange(shape.context) / shape.rope_factor, speeds)
        self._store.add("cos_cache", np.cos(angles).astype(np.float32))
        self._store.add("sin_cache", np.sin(angles).astype(np.float32))

    def _embedding(self) -> str:
        name, count = "token_embd.weight", self._vocabulary
        if self._weights != "fp32":
            # Eight bits cost nothing where single rows are looked up.
            blocks = self._blocks([name], 8, count)
            data = self._store.add(f"{name}/values", blocks.values.reshape(count, -1))
            scales = self._store.add(f"{name}/scales", blocks.scales)
            zeros = self._store.add(f"{name}/zeros", blocks.zeros)
            out = self._node(
                "GatherBlockQuantized",
                "embedding",
                [data, "input_ids", scales, zeros],
                domain=MICROSOFT,
                bits=8,
                block_size=BLOCK,
                gather_axis=0,
                quantize_axis=1,
            )
        else:
            table = self._store.add(name, self._file.rows(name, 0, count))
            out = self._node("Gather", "embedding", [table, "input_ids"])
        if self._shape.embedding_scale != 1.0:
            factor = self._constant("embedding_scale", self._shape.embedding_scale, np.float32)
            out = self._node("Mul", "embedding/scaled", [out, factor])
        return out

    def _norm(self, name: str, residual: str, step: str) -> tuple[str, str]:
        """Add `step` (none before the first layer) to the residual and normalise; return (normalised, residual)."""
        scale = self._store.add(f"{name}.weight", self._file.rows(f"{name}.weight"))
        parameters = [scale]
        if self._shape.layer_norm:
            parameters.append(self._store.add(f"{name}.bias", self._file.rows(f"{name}.bias")))
        kind = "LayerNormalization" if self._shape.layer_norm else "SimplifiedLayerNormalization"
        if not step:
            return self._node(kind, name, [residual, *parameters], epsilon=self._shape.epsilon), residual
        total = f"{name}/residual"
        inputs, outputs = [residual, step, *parameters], ["", "", total]
        out = self._node(f"Skip{kind}", name, inputs, outputs, domain=MICROSOFT, epsilon=self._shape.epsilon)
        return out, total

    def _attention(self, layer: int, source: str) -> str:
        shape, block = self._shape, f"blk.{layer}"
        qkv = self._linear(f"{block}.attn_qkv", source, [f"{block}.attn_{part}.weight" for part in "qkv"])
        attended = self._node(
            "GroupQueryAttention",
            f"{block}.attn",
            [
                *(qkv, "", ""),
                *(f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"),
                *("last_positions", "total_length", "cos_cache", "sin_cache"),
            ],
            [f"present.{layer}.key", f"present.{layer}.value"],
            domain=MICROSOFT,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            scale=shape.head_size**-0.5,
            local_window_size=shape.window or -1,
            do_rotary=1,
            rotary_interleaved=int(shape.rope_interleaved),
        )
        return self._linear(f"{block}.attn_output", attended, [f"{block}.attn_output.weight"])

    def _mlp(self, block: str, source: str) -> str:
        up = self._linear(f"{block}.ffn_up", source, [f"{block}.ffn_up.weight"])
        if self._shape.gated:
            gate = self._linear(f"{block}.ffn_gate", source, [f"{block}.ffn_gate.weight"])
            hidden = self._node("Mul", f"{block}.ffn", [self._activation(block, gate), up])
        else:
            hidden = self._activation(block, up)
        return self._linear(f"{block}.ffn_down", hidden, [f"{block}.ffn_down.weight"])

    def _activation(self, block: str, source: str) -> str:
        if self._shape.gelu:
            return self._node("Gelu", f"{block}.gelu", [source], approximate="tanh")
        # With a factor of 1 this is SiLU.
        return self._node("QuickGelu", f"{block}.silu", [source], domain=MICROSOFT, alpha=1.0)

    def _logits(self, source: str) -> None:
        """The head over the last positions, and zeros for those before, so that the runtime finds its shape."""
        axis = self._constant("axis_1", [1])
        kept = self._node(
            "Slice",
            "head/kept",
            [source, self._constant("from", [-LOGIT_ROWS]), self._constant("to", [2**31 - 1]), axis],
        )
        name = "output.weight" if "output.weight" in self._file.tensors else "token_embd.weight"
        rows = self._linear("output", kept, [name], self._vocabulary)
        before = self._node("Shape", "head/all_rows", [source], start=1, end=2)
        after = self._node("Shape", "head/kept_rows", [kept], start=1, end=2)
        missing = self._node("Sub", "head/missing", [before, after])
        pads = self._node("Concat", "head/pads", [missing, self._constant("nothing", [0])], axis=0)
        self._node("Pad", "logits", [rows, pads, "", axis], mode="constant")

    def _linear(self, name: str, source: str, parts: Sequence[str], rows: int | None = None) -> str:
        """Multiply by the file's matrices, stacked, or by their first rows; add their biases if they have any."""
        if self._weights == "int8":
            out = self._by_rows(name, source, parts, rows)
        elif self._weights == "int4":
            out = self._by_blocks(name, source, parts, rows)
        else:
            matrix = np.concatenate([self._file.rows(part, 0, rows) for part in parts])
            out = self._node("MatMul", name, [source, self._store.add(f"{name}/weight", matrix.T)])
        biases = [f"{part.removesuffix('weight')}bias" for part in parts]
        if biases[0] in self._file.tensors:
            stacked = np.concatenate([self._file.rows(bias, 0, rows) for bias in biases])
            out = self._node("Add", f"{name}/biased", [out, self._store.add(f"{name}.bias", stacked)])
        return out

    def _by_blocks(self, name: str, source: str, parts: Sequence[str], rows: int | None) -> str:
        kinds = [own_bits(self._file.tensors[part].tensor_type) for part in parts]
        blocks = self._blocks(parts, max(kinds), rows)
        inputs = [
            self._store.add(f"{name}/{field}", getattr(blocks, field))
            for field in ("values", "scales", "zeros")
        ]
        count, groups = blocks.scales.shape
        return self._node(
            "MatMulNBits",
            name,
            [source, *inputs],
            domain=MICROSOFT,
            K=groups * BLOCK,
            N=count,
            bits=blocks.bits,
            block_size=BLOCK,
            # 4: activations are quantised to int8, block by block, which the fast kernels are for.
            accuracy_level=4,
        )

    def _by_rows(self, name: str, source: str, parts: Sequence[str], rows: int | None) -> str:
        slabs = [
            (part, begin, min(begin + SLAB, count))
            for part in parts
            for count in [rows or len(self._file.tensors[part].data)]
            for begin in range(0, count, SLAB)
        ]
        matrix = Rows.join(list(self._threads.map(lambda slab: quantise(self._file.rows(*slab)), slabs)))
        taken, largest = self._rounded(source, len(matrix.values))
        product = self._node(
            "MatMulIntegerToFloat",
            f"{name}/product",
            [
                taken,
                self._store.add(f"{name}/values", matrix.values),
                "step",
                self._store.add(f"{name}/scales", matrix.scales),
                "middle",
            ],
            domain=MICROSOFT,
        )
        return self._node("Mul", name, [product, largest])

    def _rounded(self, source: str, channels: int) -> tuple[str, str]:
        """Rotate activations and round them to bytes, each token by its own largest, so that none depends on the
        company in which it is computed."""
        if source not in self._bytes:
            size = rotated_together(channels)
            turn = f"rotation_{size}"
            if not self._bytes:
                self._constant("step", 1 / LARGEST, np.float32)
                self._constant("middle", 128, np.uint8)
                self._constant("last_axis", [-1])
                self._constant("next_to_nothing", np.finfo(np.float32).tiny, np.float32)
            for constant, value in (
                (turn, rotation(size)),
                (f"apart_{channels}", np.array([0, 0, -1, size])),
                (f"together_{channels}", np.array([0, 0, channels])),
            ):
                if constant not in self._shared:
                    self._shared.add(self._store.add(constant, value))
            apart = self._node("Reshape", f"{source}/apart", [source, f"apart_{channels}"])
            turned = self._node("MatMul", f"{source}/turned", [apart, turn])
            turned = self._node("Reshape", f"{source}/rotated", [turned, f"together_{channels}"])
            sizes = self._node("Abs", f"{source}/sizes", [turned])
            largest = self._node("ReduceMax", f"{source}/largest", [sizes, "last_axis"], keepdims=1)
            largest = self._node("Max", f"{source}/divisor", [largest, "next_to_nothing"])
            parts = self._node("Div", f"{source}/parts", [turned, largest])
            taken = self._node("QuantizeLinear", f"{source}/bytes", [parts, "step", "middle"])
            self._bytes[source] = taken, largest
        return self._bytes[source]

    def _blocks(self, parts: Sequence[str], bits: Any, rows: int | None) -> Blocks:
        made = []
        for part in parts:
            tensor = self._file.tensors[part]
            count = rows or len(tensor.data)
            made += [
                convert(tensor.data[begin : min(begin + SLAB, count)], tensor.tensor_type, bits)
                for begin in range(0, count, SLAB)
            ]
        return Blocks.join(made)
