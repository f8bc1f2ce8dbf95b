"""Run by the optimum environment's python: tiny models as optimum's transformers has them, and what they reply.

Usage: tiny_optimum.py make FOLDER                    writes `FOLDER/FAMILY` each, prints PyTorch's replies as JSON
       tiny_optimum.py unscaled EXPORTER FOLDER WORK  exports one without its rotary factor, prints what is said of it
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

sys.path.insert(0, str(Path(__file__).parent))
from tiny_families import tokenizer

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "vocab_size": 512,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "tie_word_embeddings": False,
}
FAMILIES = ("ds", "cl", "gm", "sc2")
FACTOR = 4.0
LINEAR = {"rope_type": "linear", "factor": FACTOR}
WINDOW = 256
REPLY = 64
PROMPTS = {"near": 24, "far": 300}
"""Tokens of the prompts; the longer one begins past the window, and past the reach before scaling."""


def tiny(family: str) -> Any:
    """A model of the family's shape with random weights, norms and biases."""
    torch.manual_seed(3)
    model: Any = {
        "ds": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_theta=100_000.0, rope_scaling=LINEAR)),
        "cl": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_theta=1_000_000.0)),
        # Gemma ties its head to its embedding, and its heads are wider than the hidden size over their number.
        "gm": lambda: GemmaForCausalLM(GemmaConfig(**{**SIZES, "tie_word_embeddings": True}, head_dim=32)),
        "sc2": lambda: Starcoder2ForCausalLM(
            Starcoder2Config(**SIZES, use_bias=True, sliding_window=WINDOW, norm_epsilon=1e-5)
        ),
    }[family]()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.3)
            else:
                # A small embedding leaves the next token to the layers: otherwise replies soon repeat themselves.
                weight.normal_(0.0, 0.15 if "embed" in name else 0.3)
        # The end of the text is never the likeliest token, so that replies have their full length.
        model.get_output_embeddings().weight[SIZES["eos_token_id"]] = 0.0
    return model.eval()


def greedy(model: Any, prompt: list[int]) -> list[int]:
    """PyTorch's reply, computed anew for each token."""
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(REPLY):
            tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


def make(folder: Path) -> dict[str, Any]:
    """Write the models and their tokenizers; return, by family, prompts and PyTorch's replies to them."""
    random = torch.Generator().manual_seed(11)
    prompts = {
        name: torch.randint(1, SIZES["vocab_size"], (length,), generator=random).tolist()
        for name, length in PROMPTS.items()
    }
    found = {}
    for family in FAMILIES:
        tiny(family).save_pretrained(folder / family)
        tokenizer(folder / family)
        model = AutoModelForCausalLM.from_pretrained(folder / family)
        found[family] = {
            name: {"prompt": prompt, "tokens": greedy(model, prompt)} for name, prompt in prompts.items()
        }
    return found


def unscaled(exporter: str, folder: Path, work: Path) -> dict[str, Any]:
    """Export with positions that are not divided by the factor; return the figures, or the error."""
    spec = importlib.util.spec_from_file_location(
        "exporter", f"{exporter}/__init__.py", submodule_search_locations=[exporter]
    )
    assert spec is not None
    sys.modules["exporter"] = importlib.util.module_from_spec(spec)
    from exporter import optimum_build, worker  # type: ignore[import-not-found]

    whole = optimum_build.build

    def build(model: Any, *arguments: Any, **options: Any) -> None:
        rotary = model.model.rotary_emb
        right = rotary.inv_freq.clone()
        rotary.inv_freq.mul_(FACTOR)
        whole(model, *arguments, **options)
        rotary.inv_freq.copy_(right)

    optimum_build.build = build
    job = {
        "exporter": "optimum",
        "source": str(folder),
        "work": str(work),
        "precision": "fp32",
        "device": "cpu",
        "stop_ids": [],
    }
    try:
        found: dict[str, Any] = worker.run(job, lambda step: None)
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    return found


if __name__ == "__main__":
    # Models as small as these are slower on several threads.
    torch.set_num_threads(1)
    what, *rest = sys.argv[1:]
    if what == "make":
        print(json.dumps(make(Path(rest[0]))))
    else:
        print(json.dumps(unscaled(rest[0], Path(rest[1]), Path(rest[2]))))
