"""The smallest GGUF file that is a model, made without PyTorch, with anything about it changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from tokenizers import pre_tokenizers

HIDDEN, HEADS = 64, 2


def write(path: Path, architecture: str = "llama", kind: Type = Type.Q8_0, **changed: Any) -> Path:
    """Write the file; return its path.

    Args:
        path: of the file.
        architecture: its network's.
        kind: format of its matrices.
        changed: metadata by key, with `__` for `.`, and tensors (arrays) by name; None leaves one out.
    """
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "abc", "<|im_start|>", "<|im_end|>"]
    random = np.random.default_rng(4)
    fields: dict[str, Any] = {
        f"{architecture}.context_length": 2048,
        f"{architecture}.embedding_length": HIDDEN,
        f"{architecture}.block_count": 1,
        f"{architecture}.attention.head_count": HEADS,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * (len(tokens) - 2) + [3, 3],
        "tokenizer.ggml.merges": ["a b", "ab c"],
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
    }
    shapes = {
        "token_embd": (len(tokens), HIDDEN),
        **{f"blk.0.attn_{part}": (HIDDEN, HIDDEN) for part in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{part}": (HIDDEN, HIDDEN) for part in ("gate", "up", "down")},
        **dict.fromkeys(("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"), (HIDDEN,)),
    }
    tensors: dict[str, Any] = {
        f"{name}.weight": (random.standard_normal(shape) * 0.2).astype(np.float32)
        for name, shape in shapes.items()
    }
    for name, value in changed.items():
        key = name.replace("__", ".")
        (tensors if key.endswith(".weight") else fields)[key] = value
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in fields.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif value is not None:
            writer.add_uint32(key, value)
    for name, array in tensors.items():
        if array is not None:
            used = Type.F32 if array.ndim == 1 else kind
            writer.add_tensor(name, gguf.quants.quantize(array, used), raw_dtype=used)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
