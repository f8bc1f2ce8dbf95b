"""Run by the export environment's python: tiny models of each family, exported, and PyTorch's own replies.

Usage: tiny_families.py EXPORTER_FOLDER FAMILY WORK_FOLDER [--as-builder-is | --bfloat16]; prints what was found as JSON.
The folders are then `WORK_FOLDER/PRECISION-DEVICE/onnx`.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import textwrap
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

FORMS = (("fp32", "cpu"), ("int4", "cpu"), ("fp16", "cuda"), ("int4", "cuda"))
CONTEXT = 1024
FACTOR = 4.0
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "vocab_size": 512,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "tie_word_embeddings": False,
}
LINEAR = {"rope_type": "linear", "factor": FACTOR, "rope_theta": 100_000.0}
PLAIN = {"rope_type": "default", "rope_theta": 1_000_000.0}
GAINS = {"ds": 1.0, "cl": 1.0, "gm": 1.2, "sc2": 2.0}
"""Of the layers' matrices: with less, replies soon repeat themselves; with more, they hang on every rounding."""
WINDOW = 256
"""Of starcoder2, where the real one has 4096 of 16384."""
REPLY = 64
PROMPTS = {"near": 24, "far": 300}
"""Tokens of random prompts; the longer one begins past the window and past the original reach, context / factor."""


def tiny(family: str, **sizes: Any) -> Any:
    """A model of the family's shape; its matrices can be written at four bits without loss, all else is random."""
    torch.manual_seed(3)
    sized = {**SIZES, **sizes}
    model: Any = {
        "ds": lambda: LlamaForCausalLM(LlamaConfig(**sized, rope_parameters=LINEAR)),
        "cl": lambda: LlamaForCausalLM(LlamaConfig(**sized, rope_parameters=PLAIN)),
        # Gemma ties its head to its embedding, and its heads are wider than the hidden size over their number.
        "gm": lambda: GemmaForCausalLM(
            GemmaConfig(**{**sized, "tie_word_embeddings": True}, head_dim=sized["hidden_size"] // 2)
        ),
        "sc2": lambda: Starcoder2ForCausalLM(
            Starcoder2Config(
                **sized, use_bias=True, sliding_window=WINDOW, norm_epsilon=1e-5, rope_parameters=PLAIN
            )
        ),
    }[family]()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.3)
            else:
                gain = 1.0 if "embed" in name or "lm_head" in name else GAINS[family]
                weight.copy_(random_four_bits(*weight.shape) * gain / 32)
        # The end of the text is never the likeliest token, so that replies have their full length.
        model.get_output_embeddings().weight[SIZES["eos_token_id"]] = 0.0
    return model.eval()


def save_at_bfloat16(model: Any, folder: Path) -> None:
    """Save a model in the numbers that most are published in, and round its own weights to these."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())
    model.save_pretrained(
        folder, state_dict={name: weight.bfloat16() for name, weight in model.state_dict().items()}
    )
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(config | {"dtype": "bfloat16"}), encoding="utf-8")


def random_four_bits(rows: int, columns: int) -> torch.Tensor:
    """Blocks of 32 whole numbers from -8 to 7, -8 among them, times a scale of either sign: int4 can say them exactly."""
    blocks = torch.randint(-8, 8, (rows, columns // 32, 32))
    place = torch.randint(0, 32, (rows, columns // 32, 1))
    blocks.scatter_(2, place, -8)
    scales = (torch.rand(rows, columns // 32, 1) + 0.5) * (
        2 * torch.randint(0, 2, (rows, columns // 32, 1)) - 1
    )
    return (blocks * scales).reshape(rows, columns)


def tokenizer(folder: Path) -> None:
    """Write a byte-level tokenizer made on the spot."""
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZES["vocab_size"],
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    own.train_from_iterator([inspect.getsource(textwrap)], trainer)
    PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<|end|>", bos_token="<|end|>").save_pretrained(
        folder
    )


def greedy(model: Any, prompt: list[int]) -> dict[str, list[int]]:
    """PyTorch's `tokens` after a `prompt`."""
    tokens, step, cache = [], prompt, None
    with torch.inference_mode():
        for _ in range(REPLY):
            out = model(input_ids=torch.tensor([step]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            step = [int(out.logits[0, -1].argmax())]
            tokens += step
    return {"prompt": prompt, "tokens": tokens}


def prompts(vocabulary: int) -> dict[str, list[int]]:
    """Random token ids, none of them the end of the text."""
    random = torch.Generator().manual_seed(11)
    return {
        name: torch.randint(1, vocabulary, (length,), generator=random).tolist()
        for name, length in PROMPTS.items()
    }


def main() -> None:
    """Make the model, run the exporter's jobs on it, print what they found and what PyTorch replies."""
    exporter, family, work = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    spec = importlib.util.spec_from_file_location(
        "exporter", f"{exporter}/__init__.py", submodule_search_locations=[exporter]
    )
    assert spec is not None
    sys.modules["exporter"] = importlib.util.module_from_spec(spec)
    from exporter import build, worker  # type: ignore[import-not-found]

    source = work / "source"
    model = tiny(family)
    halved = "--bfloat16" in sys.argv
    if halved:
        save_at_bfloat16(model, source)
    else:
        model.save_pretrained(source)
    tokenizer(source)
    found: dict[str, Any] = {
        "greedy": {name: greedy(model, prompt) for name, prompt in prompts(model.config.vocab_size).items()}
    }
    broken = "--as-builder-is" in sys.argv
    if broken:
        build.BUILDERS["LlamaForCausalLM"] = build.LlamaModel
    for precision, device in FORMS[:1] if broken or halved else FORMS:
        folder = work / f"{precision}-{device}"
        folder.mkdir()
        job = {
            "source": str(source),
            "work": str(folder),
            "precision": precision,
            "device": device,
            "stop_ids": [0],
        }
        try:
            found[folder.name] = worker.run(job, lambda step: None)
        except Exception as error:
            found[folder.name] = {"error": f"{type(error).__name__}: {error}"}
        if broken:
            # What the check refuses, for the comparison of replies to refuse as well.
            build.build(model, folder / "staged", folder / "onnx", precision, device)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
