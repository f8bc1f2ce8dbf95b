"""What a GGUF file says of its network: one record for the four families' shapes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from gguf import GGUFValueType
from numpy.typing import NDArray

from lsp_server.models.exporter.runtime_config import Decoder

from .blocks import dequantise

KNOWN = ("gemma", "llama", "qwen2", "starcoder2")


class UnsupportedFile(Exception):
    """The GGUF file cannot be converted; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Architecture(Decoder):
    """The shape of a decoder, and what else its GGUF keys say of the network."""

    name: str
    """`general.architecture`."""
    epsilon: float
    """Of the normalisations."""
    rope_base: float
    rope_factor: float
    """Positions are divided by it (linear scaling)."""
    rope_interleaved: bool
    """Channels are rotated in neighbouring pairs, not in halves."""
    window: int
    """Tokens that attention looks back; 0: all."""

    @property
    def layer_norm(self) -> bool:
        """LayerNorm with bias instead of RMSNorm."""
        return self.name == "starcoder2"

    @property
    def gated(self) -> bool:
        """The MLP multiplies by an activated gate."""
        return self.name != "starcoder2"

    @property
    def gelu(self) -> bool:
        """The MLP's activation is GELU (tanh form) instead of SiLU."""
        return self.name in ("gemma", "starcoder2")

    @property
    def embedding_scale(self) -> float:
        """Factor on the embedding."""
        return float(self.hidden) ** 0.5 if self.name == "gemma" else 1.0


class _Reader(gguf.GGUFReader):
    """The library's reader, but for arrays, which it takes apart into NumPy views: seconds for a large vocabulary."""

    def _get_field_parts(
        self, orig_offs: int, raw_type: int
    ) -> tuple[int, list[NDArray[Any]], list[int], list[GGUFValueType]]:
        """Bytes that a field takes, its parts, which of them are its data, and its types (of an array and its items)."""
        if raw_type != GGUFValueType.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)
        kind = GGUFValueType(int(self._get(orig_offs, np.uint32)[0]))
        count = int(self._get(orig_offs + 4, np.uint64)[0])
        begin = end = orig_offs + 12
        if kind == GGUFValueType.STRING:
            whole: Any = self.data
            order = "<" if self.endianess == gguf.GGUFEndian.LITTLE else ">"
            length = struct.Struct(f"{order}Q")
            for _ in range(count):
                end += 8 + length.unpack_from(whole, end)[0]
            items: NDArray[Any] = self._get(begin, np.uint8, end - begin)
        elif kind in self.gguf_scalar_to_np:
            items = self._get(begin, self.gguf_scalar_to_np[kind], count)
            end += items.nbytes
        else:
            raise ValueError(f"an array of {kind.name}")
        return end - orig_offs, [items], [0], [GGUFValueType.ARRAY, kind]

    def value(self, key: str) -> Any:
        """The value of a metadata key, or None."""
        field = self.fields.get(key)
        if field is None or field.types[0] != GGUFValueType.ARRAY:
            return None if field is None else field.contents()
        items = field.parts[field.data[0]]
        if field.types[1] != GGUFValueType.STRING:
            return items.tolist()
        found, at, whole = [], 0, items.tobytes()
        order: Literal["little", "big"] = "little" if self.endianess == gguf.GGUFEndian.LITTLE else "big"
        while at < len(whole):
            begin = at + 8
            at = begin + int.from_bytes(whole[at:begin], order)
            found.append(whole[begin:at].decode("utf-8"))
        return found


class GgufFile:
    """A GGUF file, mapped into memory.

    Args:
        path: the file.

    Raises:
        UnsupportedFile: it is no GGUF file, or is cut short.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as stream:
                if stream.read(4) != b"GGUF":
                    raise UnsupportedFile(f"{path} is no GGUF file")
            self._reader = _Reader(path)
        except (ValueError, IndexError, KeyError, struct.error) as error:
            # The library finds the end of a file only when a piece of it is missing.
            raise UnsupportedFile(
                f"{path} is cut short, damaged, or of a newer format than is known here ({error})"
            ) from error
        except OSError as error:
            raise UnsupportedFile(f"{path} cannot be read: {error}") from error
        self.tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def field(self, key: str, default: Any = None) -> Any:
        """The value of a metadata key, or `default`."""
        found = self._reader.value(key)
        return default if found is None else found

    def need(self, key: str) -> Any:
        """The value of a metadata key.

        Raises:
            UnsupportedFile: it is not there.
        """
        found = self.field(key)
        if found is None:
            raise UnsupportedFile(f"the GGUF file has no '{key}'")
        return found

    def rows(self, name: str, begin: int = 0, end: int | None = None) -> NDArray[np.float32]:
        """Dequantised rows of a matrix [rows, columns], or a whole vector [columns].

        Args:
            name: of the tensor.
            begin, end: rows.
        """
        tensor = self.tensors[name]
        # A plain view: each of a mapped array's own costs something, and there are very many.
        return dequantise(np.asarray(tensor.data[begin:end]), tensor.tensor_type)


def read(file: GgufFile) -> Architecture:
    """Read the network's shape.

    Raises:
        UnsupportedFile: an architecture, or a variant of one, that is not converted here.
    """
    name = file.need("general.architecture")
    if name not in KNOWN:
        raise UnsupportedFile(f"no conversion for the architecture '{name}'; known are {', '.join(KNOWN)}")

    def value(key: str, default: Any = None) -> Any:
        return file.need(f"{name}.{key}") if default is None else file.field(f"{name}.{key}", default)

    hidden, heads = int(value("embedding_length")), int(value("attention.head_count"))
    head_size = int(value("attention.key_length", hidden // heads))
    rotated = int(value("rope.dimension_count", head_size))
    if rotated != head_size:
        raise UnsupportedFile(
            f"only {rotated} of {head_size} channels are rotated, which is not converted here"
        )
    if "token_embd.weight" not in file.tensors:
        raise UnsupportedFile("it has no weights: it is a vocabulary alone, or one of several parts")
    epsilon = "attention.layer_norm_epsilon" if name == "starcoder2" else "attention.layer_norm_rms_epsilon"
    shape = Architecture(
        name=name,
        layers=int(value("block_count")),
        hidden=hidden,
        heads=heads,
        kv_heads=int(value("attention.head_count_kv", heads)),
        head_size=head_size,
        context=int(value("context_length")),
        vocabulary=int(file.tensors["token_embd.weight"].shape[1]),
        epsilon=float(value(epsilon)),
        rope_base=float(value("rope.freq_base", 10_000.0)),
        rope_factor=_rope_factor(file, name),
        # llama.cpp permutes the query and key rows of llama files so that neighbours are rotated.
        rope_interleaved=name == "llama",
        window=int(value("attention.sliding_window", 0)),
    )
    _check_tensors(file, shape)
    return shape


def _rope_factor(file: GgufFile, name: str) -> float:
    # A factor without a type is linear, as it is to llama.cpp.
    kind = file.field(f"{name}.rope.scaling.type", "linear")
    if "rope_freqs.weight" in file.tensors:
        kind = "llama3"
    if kind not in ("none", "linear"):
        raise UnsupportedFile(f"its rotary scaling ('{kind}') is not converted here; linear scaling is")
    factor = file.field(f"{name}.rope.scaling.factor", file.field(f"{name}.rope.scale_linear", 1.0))
    return float(factor) or 1.0 if kind == "linear" else 1.0


def _check_tensors(file: GgufFile, shape: Architecture) -> None:
    """Refuse a network that has parts which the conversion would leave out, or lacks some that it needs."""
    parts = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_up", "ffn_down"]
    if shape.gated:
        parts.append("ffn_gate")
    stems = {f"blk.{layer}.{part}" for layer in range(shape.layers) for part in parts} | {"output_norm"}
    if missing := {f"{stem}.weight" for stem in stems} - file.tensors.keys():
        raise UnsupportedFile(
            f"it has no tensor '{min(missing)}': it is another kind of {shape.name}, or one of several parts"
        )
    known = {f"{stem}.{kind}" for stem in [*stems, "output"] for kind in ("weight", "bias")}
    if unknown := file.tensors.keys() - known - {"token_embd.weight"}:
        raise UnsupportedFile(
            f"it has a tensor '{min(unknown)}', which a {shape.name} that is converted here has not"
        )
    for stem in [*stems, "token_embd", "output"]:
        tensor = file.tensors.get(f"{stem}.weight")
        if tensor is not None and len(tensor.shape) > 1 and tensor.shape[0] % 32:
            raise UnsupportedFile(f"'{tensor.name}' has rows of {tensor.shape[0]} weights, no multiple of 32")
