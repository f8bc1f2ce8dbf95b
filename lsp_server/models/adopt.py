"""A folder that `optimum-cli export onnx` made elsewhere, used as it is: what it is, and a form of it in the store."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import onnx

from .catalog import FAMILIES, Family, ModelEntry
from .chat import END_OF_TURN
from .exporter.acceptance import PROMPTS, STRUCTURE_TOLERANCE, ParityError
from .exporter.job import Step, perform
from .exporter.optimum_folder import (
    GRAPH,
    UnsupportedFolder,
    decoder,
    own_stop_ids,
    write_genai_config,
)
from .store import ModelError, need_disk

NEEDED = (GRAPH, "config.json", "tokenizer.json", "tokenizer_config.json")
TAKEN = (*NEEDED[1:], "generation_config.json", "chat_template.jinja")
"""What is taken besides the graph and its data, where it is there."""
PIECE = 8
"""Tokens at a time when the graph is run as the engine runs it."""


def identify(folder: Path, name: str = "", family: Family | None = None) -> ModelEntry:
    """Describe the model in a folder.

    Args:
        folder: holds `NEEDED`.
        name: id that the model is to have; empty: made from the folder's name.
        family: chat format where the folder has no template; None: guessed from its configuration and vocabulary.

    Raises:
        UnsupportedFolder: a file is missing, or the graph is none that the engine runs.
    """
    if missing := [file for file in NEEDED if not (folder / file).is_file()]:
        raise UnsupportedFolder(f"it has no {', '.join(missing)}")
    shape = decoder(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    ends = {
        each["id"] for each in tokenizer["added_tokens"] if each["content"] in END_OF_TURN and each["special"]
    }
    path = folder.resolve()
    return ModelEntry(
        id=name or re.sub(r"[^a-z0-9.]+", "-", path.name.lower()).strip("-."),
        family=family or FAMILIES.get(config["model_type"]) or _llama_family(tokenizer),
        repo="",
        licence="see the folder's source",
        parameters=sum((folder / file).stat().st_size for file in _weights(folder)) / 4,
        kv_bytes=2 * 2 * shape.layers * shape.kv_heads * shape.head_size,
        context=shape.context,
        stop_ids=tuple(sorted(ends | set(own_stop_ids(folder)))),
        path=str(path),
    )


def _llama_family(tokenizer: dict[str, Any]) -> Family:
    """DeepSeek's models split text by bytes, Code Llama's by SentencePiece, which falls back to bytes."""
    return "cl" if tokenizer["model"].get("byte_fallback") else "ds"


def main(job_file: str) -> int:
    """Run the job that `job_file` (JSON) describes: `source`, `work`, `stop_ids`; return the exit status."""
    return perform(job_file, run, (UnsupportedFolder, ParityError, ModelError))


def run(job: dict[str, Any], step: Step) -> dict[str, Any]:
    """Make `work/onnx` from the folder, whose files are not changed, and run it; return how it did.

    Raises:
        UnsupportedFolder: the graph is none that the engine runs.
        NotEnoughDisk: the folder lies on another disk and has no room on the store's.
        ParityError: the graph, run in pieces, gives something else than run at once.
    """
    source, folder = Path(job["source"]), Path(job["work"]) / "onnx"
    folder.mkdir()
    step("taking the folder's files")
    for name in TAKEN:
        if (source / name).is_file():
            shutil.copy2(source / name, folder / name)
    for name in _weights(source):
        _link(source / name, folder / name)
    write_genai_config(folder, job["stop_ids"])
    step("running it at once and in pieces")
    return {"pieces": _pieces(folder)}


def _weights(folder: Path) -> list[str]:
    """The graph and the files beside it that hold its tensors."""
    graph = onnx.load(folder / GRAPH, load_external_data=False).graph
    constants = (attribute.t for node in graph.node for attribute in node.attribute)
    names = {
        pair.value
        for tensor in (*graph.initializer, *constants)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for pair in tensor.external_data
        if pair.key == "location"
    }
    if outside := [name for name in names if Path(name).name != name]:
        raise UnsupportedFolder(f"its graph keeps tensors outside the folder: {outside[0]}")
    return [GRAPH, *sorted(names)]


def _link(source: Path, target: Path) -> None:
    """Share a file's blocks, or copy it where that is not possible; either outlives the source."""
    source = source.resolve()
    try:
        # A symbolic link would not do: onnxruntime refuses tensors that lie outside the graph's folder.
        os.link(source, target)
    except OSError:
        need_disk(target, source.stat().st_size, f"copying {source}")
        shutil.copy2(source, target)


def _pieces(folder: Path) -> float:
    """Largest |Δlogit| ÷ largest |logit| between a text run at once and run in pieces, rewound on the way.

    Raises:
        ParityError: it exceeds `STRUCTURE_TOLERANCE`.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import numpy as np
    import onnxruntime_genai  # type: ignore[import-untyped]
    from tokenizers import Tokenizer

    text = (
        Tokenizer.from_file(str(folder / "tokenizer.json")).encode(PROMPTS[0], add_special_tokens=False).ids
    )
    ids = np.asarray(text, dtype=np.int32)
    model = onnxruntime_genai.Model(str(folder))
    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(ids) + 1, do_sample=False)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(ids)
    whole = np.array(generator.get_logits(), dtype=np.float32)
    half = len(ids) // 2
    generator.rewind_to(half)
    for begin in range(half, len(ids), PIECE):
        generator.append_tokens(ids[begin : begin + PIECE])
    difference = float(np.abs(generator.get_logits() - whole).max() / np.abs(whole).max())
    # `not <=` also refuses NaN.
    if not difference <= STRUCTURE_TOLERANCE:
        raise ParityError(
            f"run in pieces, the graph differs by {difference:.2g} of the largest logit from what it gives at once; at "
            f"most {STRUCTURE_TOLERANCE:g} is accepted"
        )
    return difference


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
