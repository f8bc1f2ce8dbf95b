"""What a folder made by optimum holds: its graph's inputs and the model's own configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx

from .runtime_config import Decoder, genai_config
from .stop import producible

GRAPH = "model.onnx"
WITH_CACHE = "export it with `optimum-cli export onnx --task text-generation-with-past`"


class UnsupportedFolder(Exception):
    """The folder's graph is none that the engine runs; the message says why."""


def decoder(folder: Path) -> Decoder:
    """The shape of a folder's decoder.

    Args:
        folder: holds `model.onnx` and `config.json`.

    Raises:
        UnsupportedFolder: no graph of a decoder with a float32 key/value cache.
    """
    graph = onnx.load(folder / GRAPH, load_external_data=False).graph
    inputs = {value.name: value.type.tensor_type for value in graph.input}
    outputs = {value.name for value in graph.output}
    layers = sum(name.startswith("past_key_values.") and name.endswith(".key") for name in inputs)
    cache = [f".{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    known = {"input_ids", "attention_mask", *("past_key_values" + name for name in cache)}
    if not layers or not known <= inputs.keys() <= {*known, "position_ids"}:
        raise UnsupportedFolder(
            f"its graph takes {_few(inputs)}, and not what a decoder with a key/value cache does: {WITH_CACHE}"
        )
    if missing := {"logits", *("present" + name for name in cache)} - outputs:
        raise UnsupportedFolder(f"its graph does not give {_few(missing)}: {WITH_CACHE}")
    first = inputs["past_key_values.0.key"]
    if first.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(first.elem_type).lower()
        raise UnsupportedFolder(
            f"its cache is {kind}, and only float32 is run as it is: export it with --dtype fp32"
        )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # [batch, head, position, channel]
    shape = [dimension.dim_value for dimension in first.shape.dim]
    return Decoder(
        layers=layers,
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        kv_heads=shape[1],
        head_size=shape[3],
        context=config["max_position_embeddings"],
        vocabulary=config["vocab_size"],
        position_ids="position_ids" in inputs,
        shared_cache=False,
    )


def write_genai_config(folder: Path, stop_ids: Iterable[int]) -> None:
    """Make an optimum folder one that onnxruntime_genai loads.

    Args:
        folder: holds `model.onnx`, `config.json` and perhaps `generation_config.json`.
        stop_ids: ids that end a reply, besides the folder's own.

    Raises:
        UnsupportedFolder: no graph that the engine runs, or nothing is known to end a reply.
    """
    shape = decoder(folder)
    ends = producible([*own_stop_ids(folder), *stop_ids], shape.vocabulary)
    if not ends:
        raise UnsupportedFolder("neither config.json nor generation_config.json names an eos_token_id")
    beginning = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("bos_token_id")
    (folder / "genai_config.json").write_text(genai_config(shape, ends, beginning), encoding="utf-8")


def own_stop_ids(folder: Path) -> list[int]:
    """Ids that a folder's `generation_config.json` and `config.json` name as ends."""
    found: list[int] = []
    for name in ("generation_config.json", "config.json"):
        file = folder / name
        ends: Any = (
            json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file.is_file() else None
        )
        found += ends if isinstance(ends, list) else [ends] if ends is not None else []
    return found


def _few(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:4])
