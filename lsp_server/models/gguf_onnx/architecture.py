"""What a GGUF file says of its network: one record for the four families' shapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

KNOWN = ("gemma", "llama", "qwen2", "starcoder2")


class UnsupportedFile(Exception):
    """The GGUF file cannot be converted; the message says why."""


@dataclass(frozen=True)
class Architecture:
    """The shape of a decoder, in the terms of its GGUF keys."""

    name: str
    """`general.architecture`."""
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    context: int
    vocabulary: int
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


class GgufFile:
    """A GGUF file, mapped into memory.

    Args:
        path: the file.

    Raises:
        UnsupportedFile: it is no GGUF file, or is cut short.
    """

    def __init__(self, path: Path) -> None:
        try:
            reader = gguf.GGUFReader(path)
        except (ValueError, IndexError, KeyError, OSError) as error:
            raise UnsupportedFile(f"{path} cannot be read as a GGUF file: {error}") from error
        self._fields = reader.fields
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}

    def field(self, key: str, default: Any = None) -> Any:
        """The value of a metadata key, or `default`."""
        found = self._fields.get(key)
        return default if found is None else found.contents()

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
        return np.asarray(
            gguf.quants.dequantize(tensor.data[begin:end], tensor.tensor_type), dtype=np.float32
        )


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
    epsilon = "attention.layer_norm_epsilon" if name == "starcoder2" else "attention.layer_norm_rms_epsilon"
    return Architecture(
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


def _rope_factor(file: GgufFile, name: str) -> float:
    kind = file.field(f"{name}.rope.scaling.type", "none")
    factor = file.field(f"{name}.rope.scaling.factor", file.field(f"{name}.rope.scale_linear", 1.0))
    if kind not in ("none", "linear") or "rope_freqs.weight" in file.tensors:
        raise UnsupportedFile(f"its rotary scaling ('{kind}') is not converted here; linear scaling is")
    return float(factor) or 1.0
