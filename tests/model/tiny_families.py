"""Run by the export environment's python: tiny models of each family, exported and compared with PyTorch.

Usage: tiny_families.py EXPORTER_FOLDER FAMILY WORK_FOLDER [--as-builder-is]; prints the figures as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16_384,
    "vocab_size": 512,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 100_000.0}


def tiny(family: str) -> Any:
    """A model of the family's shape with random weights, norms and biases."""
    torch.manual_seed(3)
    plain = {"rope_type": "default", "rope_theta": 1_000_000.0}
    model: Any = {
        "ds": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=LINEAR)),
        "cl": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=plain)),
        "gm": lambda: GemmaForCausalLM(GemmaConfig(**SIZES, head_dim=32)),
        "sc2": lambda: Starcoder2ForCausalLM(
            Starcoder2Config(
                **SIZES, use_bias=True, sliding_window=4096, norm_epsilon=1e-5, rope_parameters=plain
            )
        ),
    }[family]()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.3)
            else:
                weight.normal_(0.0, 0.15)
    return model


def tokenizer(folder: Path) -> None:
    """A byte-level tokenizer made on the spot."""
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    own.train_from_iterator(["def main():\n    return 1\n" * 20], trainer)
    PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<|end|>", bos_token="<|end|>").save_pretrained(
        folder
    )


def main() -> None:
    """Make the model, run the exporter's job on it, print what it found."""
    exporter, family, work = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    spec = importlib.util.spec_from_file_location(
        "exporter", f"{exporter}/__init__.py", submodule_search_locations=[exporter]
    )
    assert spec is not None
    sys.modules["exporter"] = importlib.util.module_from_spec(spec)
    from exporter import build, worker  # type: ignore[import-not-found]

    if "--as-builder-is" in sys.argv:
        build.BUILDERS["LlamaForCausalLM"] = build.LlamaModel
    source = work / "source"
    tiny(family).save_pretrained(source)
    tokenizer(source)
    (work / "job").mkdir()
    job = {
        "source": str(source),
        "work": str(work / "job"),
        "precision": "fp32",
        "device": "cpu",
        "stop_ids": [0],
    }
    try:
        found = worker.run(job, lambda step: None)
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
