"""A GGUF file of the user's own as a model: what the catalog would say of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lsp_server.models.catalog import FAMILIES, Family, ModelEntry

from . import architecture, tokenizer


def identify(path: Path, name: str = "", family: Family | None = None) -> ModelEntry:
    """Describe the model in a GGUF file.

    Args:
        path: the file.
        name: id that the model is to have; empty: made from the file's name.
        family: chat format where the file has no template; None: guessed from its architecture and vocabulary.

    Raises:
        UnsupportedFile: no GGUF file, or one that is not converted here, or a name that cannot be a folder's.
    """
    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise architecture.UnsupportedFile(
            f"'{name}' cannot be its name: write letters, digits, '.', '-' and '_'"
        )
    file = architecture.GgufFile(path)
    shape = architecture.read(file)
    return ModelEntry(
        id=name or re.sub(r"[^a-z0-9.]+", "-", path.stem.lower()).strip("-."),
        family=family or FAMILIES.get(shape.name) or _llama_family(file),
        repo="",
        licence=str(file.field("general.license", "see the file's source")),
        parameters=float(sum(int(np.prod(tensor.shape)) for tensor in file.tensors.values())),
        kv_bytes=2 * 2 * shape.layers * shape.kv_heads * shape.head_size,
        context=shape.context,
        stop_ids=tuple(tokenizer.stop_ids(file)),
        path=str(path.resolve()),
    )


def _llama_family(file: architecture.GgufFile) -> Family:
    """DeepSeek's models split text by bytes, Code Llama's by SentencePiece."""
    return "cl" if file.field("tokenizer.ggml.model") == "llama" else "ds"
