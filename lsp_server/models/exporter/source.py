"""Load a model from its source folder with PyTorch: a GGUF file or a Hugging Face folder of safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch  # type: ignore[import-not-found,unused-ignore]
from safetensors import safe_open  # type: ignore[import-not-found,unused-ignore]
from transformers import (  # type: ignore[import-not-found,unused-ignore]
    AutoModelForCausalLM,
    AutoTokenizer,
)

from .stop import producible


def load(source: Path, widened: bool = False) -> tuple[Any, Any]:
    """Return (model on the CPU, tokenizer).

    Args:
        source: folder with exactly one `.gguf` file, or with `config.json` and safetensors.
        widened: in float32; otherwise matrices stay in the numbers of their files, which are mapped and not read, where
            these all have 16 bits. What a GGUF file holds is float32 in any case, once its blocks are undone.

    Raises:
        ValueError: the folder holds several GGUF files.
    """
    ggufs = sorted(source.glob("*.gguf"))
    if len(ggufs) > 1:
        raise ValueError(f"{source} holds {len(ggufs)} GGUF files; keep the one to export")
    extra: dict[str, Any] = {"local_files_only": True}
    if ggufs:
        extra["gguf_file"] = ggufs[0].name
    tokenizer = AutoTokenizer.from_pretrained(str(source), **extra)
    model = AutoModelForCausalLM.from_pretrained(
        str(source),
        dtype=torch.float32 if widened or ggufs else kept_in(source),
        attn_implementation="eager",
        **extra,
    )
    for weight in model.parameters():
        if weight.ndim == 1:
            # Norms and biases, which take no room; the builder computes with Gemma's, and would round the result.
            weight.data = weight.data.float()
    return model.eval(), tokenizer


def kept_in(source: Path) -> Any:
    """Return what a folder's weights are to be loaded in: the numbers of all its files, of 16 bits; else float32.

    The configuration may say otherwise, and would have them rounded.

    Args:
        source: holds safetensors, or older files, of which nothing can be told beforehand.
    """
    kinds = set()
    for file in source.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            kinds |= {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118, no mapping
    return {"BF16": torch.bfloat16, "F16": torch.float16}.get(
        kinds.pop() if len(kinds) == 1 else "", torch.float32
    )


def stage(model: Any, tokenizer: Any, folder: Path, stop_ids: list[int]) -> None:
    """Write configuration and tokenizer, without weights, where the builder looks for them.

    Args:
        model, tokenizer: as `load` returned them.
        folder: is created.
        stop_ids: ids that end a reply; they go into `generation_config.json` beside the model's own.
    """
    folder.mkdir(parents=True)
    # GGUF carries no architectures list, which is what the builder dispatches on.
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    own = model.generation_config.eos_token_id
    own_ids = own if isinstance(own, list) else [own] if own is not None else []
    ids = producible([*own_ids, *stop_ids], model.config.vocab_size)
    model.generation_config.eos_token_id = ids or None
    # A shipped sampling default would make "greedy" depend on the file it came from.
    for name, neutral in (("do_sample", False), ("temperature", None), ("top_p", None), ("top_k", None)):
        setattr(model.generation_config, name, neutral)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
