"""Run by the export environment's python: a model of DS-33B's shape, only small, as its repository would have it.

Usage: tiny_deepseek.py FOLDER; prints PyTorch's greedy replies to some prompts as JSON.
"""

from __future__ import annotations

import inspect
import json
import sys
import textwrap
from pathlib import Path

import torch
from tiny_families import LINEAR, greedy, random_four_bits
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CONTEXT = 16_384
VOCABULARY = 32_256
BEGIN, END, END_OF_TURN = 32_013, 32_014, 32_021
LENGTHS = (24, 300, 3000)
"""Tokens of the prompts; the head's width makes a forgotten rotary factor show at once, and more so further on."""


def tiny() -> LlamaForCausalLM:
    """Eight key/value heads, as the 33B has, to be split over processes."""
    torch.manual_seed(3)
    config = LlamaConfig(
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=3,
        num_attention_heads=16,
        num_key_value_heads=8,
        max_position_embeddings=CONTEXT,
        vocab_size=VOCABULARY,
        bos_token_id=BEGIN,
        eos_token_id=END,
        tie_word_embeddings=False,
        rope_parameters=LINEAR,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.normal_(1.0 if "norm" in name else 0.0, 0.3)
            else:
                weight.copy_(random_four_bits(*weight.shape) / 90)
    return model.eval()


def tokenizer(folder: Path) -> None:
    """Write a byte-level tokenizer that has the family's control tokens where the family has them."""
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    own.train_from_iterator(
        [inspect.getsource(textwrap)], trainers.BpeTrainer(vocab_size=512, initial_alphabet=alphabet)
    )
    unused = range(own.get_vocab_size(), BEGIN)
    own.add_tokens([AddedToken(f"<unused{number}>", normalized=False) for number in unused])
    own.add_special_tokens(["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"])
    own.add_special_tokens([f"<special{number}>" for number in range(END + 1, END_OF_TURN)])
    own.add_special_tokens(["<|EOT|>"])
    PreTrainedTokenizerFast(
        tokenizer_object=own, bos_token="<｜begin▁of▁sentence｜>", eos_token="<｜end▁of▁sentence｜>"
    ).save_pretrained(folder)


def main() -> None:
    """Write the folder; reply."""
    folder = Path(sys.argv[1])
    model = tiny()
    model.save_pretrained(folder)
    tokenizer(folder)
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    # As the family's configurations have it, which were written for an older transformers.
    del config["rope_parameters"]
    config |= {
        "rope_theta": LINEAR["rope_theta"],
        "rope_scaling": {"factor": LINEAR["factor"], "type": "linear"},
    }
    file.write_text(json.dumps(config), encoding="utf-8")
    random = torch.Generator().manual_seed(5)
    prompts = [torch.randint(1, 32_000, (length,), generator=random).tolist() for length in LENGTHS]
    print(json.dumps([greedy(model, prompt) for prompt in prompts]))


if __name__ == "__main__":
    main()
