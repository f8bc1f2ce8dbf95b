"""Run by the export environment's python: a tiny model of a family as GGUF files, and what PyTorch makes of each.

Usage: tiny_gguf.py FAMILY WORK_FOLDER FORMAT…; writes `WORK_FOLDER/FORMAT.gguf` and `FORMAT.npz` for each format
(logits along two replies), and prints the replies and transformers' token ids of some texts as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

# The interpreter runs isolated: what lies beside this file is not on its path by itself.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import tiny_families  # noqa: E402
from awkward import TEXTS, TRAINING  # noqa: E402

from tests.quantised import quantise  # noqa: E402

ARCHITECTURES = {"ds": "llama", "cl": "llama", "gm": "gemma", "sc2": "starcoder2", "qwen": "qwen2"}
SPLITS = {"ds": "deepseek-coder", "sc2": "starcoder", "qwen": "qwen2"}
SIZES: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512}
CONTROL, USER_DEFINED, NORMAL, UNKNOWN, BYTE = 3, 4, 1, 2, 6
LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def main() -> None:
    """Write the files, and print what is expected of them."""
    family, work, formats = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    vocabulary = byte_level(family) if family in SPLITS else sentence_piece(family)
    found: dict[str, Any] = {"vocabulary": len(vocabulary["tokens"])}
    for name in formats:
        model = tiny(family, vocabulary)
        write(family, model, vocabulary, name, work / f"{name}.gguf")
        logits = {}
        found[name] = {}
        for distance, prompt in tiny_families.prompts(len(vocabulary["tokens"])).items():
            reply = tiny_families.greedy(model, prompt)
            found[name][distance] = reply
            with torch.inference_mode():
                ids = torch.tensor([[*reply["prompt"], *reply["tokens"]]])
                logits[distance] = model(input_ids=ids).logits[0].numpy()
        np.savez(work / f"{name}.npz", **logits)
    tokenizer = AutoTokenizer.from_pretrained(str(work), gguf_file=f"{formats[0]}.gguf")
    found["tokens"] = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    print(json.dumps(found))


def tiny(family: str, vocabulary: dict[str, Any]) -> Any:
    """The family's model, for a vocabulary of which no control token is ever the likeliest."""
    sizes = {**SIZES, "vocab_size": len(vocabulary["tokens"])}
    if family == "qwen":
        torch.manual_seed(5)
        config = Qwen2Config(**{**tiny_families.SIZES, **sizes, "tie_word_embeddings": True})
        model: Any = Qwen2ForCausalLM(config)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.normal_(1.0 if "norm" in name else 0.0, 0.3 if weight.ndim == 1 else 0.24)
    else:
        model = tiny_families.tiny(family, **sizes)
    with torch.no_grad():
        for weight in model.model.layers.parameters():
            if weight.ndim == 2:
                weight.mul_((64 / weight.shape[1]) ** 0.5)
        for i, kind in enumerate(vocabulary["token_type"]):
            if kind in (CONTROL, UNKNOWN):
                model.get_output_embeddings().weight[i] = 0.0
    return model.eval()


def write(family: str, model: Any, vocabulary: dict[str, Any], name: str, path: Path) -> None:
    """Write a model as llama.cpp's converter would, and give it the weights that can be read back from the file."""
    config, architecture = model.config, ARCHITECTURES[family]
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    if family == "gm":
        writer.add_key_length(head_size)
        writer.add_value_length(head_size)
    else:
        writer.add_rope_dimension_count(head_size)
    if family == "sc2":
        writer.add_layer_norm_eps(config.norm_epsilon)
        writer.add_sliding_window(config.sliding_window)
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if family == "ds":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_parameters["factor"])
    for key, value in vocabulary.items():
        kept = isinstance(value, list)
        (writer.add_array if kept else writer.add_string if isinstance(value, str) else _number(writer))(
            f"tokenizer.ggml.{key}", value
        )
    state = model.state_dict()
    tied = config.tie_word_embeddings
    with torch.no_grad():
        for name_there, tensor in state.items():
            if tied and name_there == "lm_head.weight":
                continue
            ours = _name(name_there)
            layout = _Layout(family, ours, config)
            array = layout.to_file(tensor.numpy())
            kind = _kind(name, ours, array)
            data = array if kind == Type.F32 else quantise(array, kind)
            writer.add_tensor(ours, data, raw_dtype=kind)
            read_back = np.asarray(gguf.quants.dequantize(data, kind), dtype=np.float32)
            tensor.copy_(torch.from_numpy(layout.from_file(read_back.reshape(array.shape)).copy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _number(writer: gguf.GGUFWriter) -> Any:
    def add(key: str, value: int | bool) -> None:
        (writer.add_bool if isinstance(value, bool) else writer.add_uint32)(key, value)

    return add


def _kind(name: str, tensor: str, array: np.ndarray[Any, Any]) -> Type:
    """The format of one tensor in a file of a format: `Q4_K_M` mixes two, as llama.cpp's does."""
    if array.ndim == 1:
        return Type.F32
    if name == "Q4_K_M":
        wide = tensor == "output.weight" or tensor.startswith(("blk.0.attn_v", "blk.0.ffn_down"))
        return Type.Q6_K if wide else Type.Q4_K
    return Type[name]


def _name(name: str) -> str:
    """The GGUF name of one of PyTorch's parameters."""
    whole = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem, _, kind = name.rpartition(".")
    if stem in whole:
        return f"{whole[stem]}.{kind}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{LAYER[part]}.{kind}"


class _Layout:
    """How the file's form of a tensor differs from PyTorch's."""

    def __init__(self, family: str, name: str, config: Any) -> None:
        self._gemma_norm = family == "gm" and name.endswith("norm.weight")
        self._heads = 0
        if ARCHITECTURES[family] == "llama" and ".attn_q." in name:
            self._heads = config.num_attention_heads
        if ARCHITECTURES[family] == "llama" and ".attn_k." in name:
            self._heads = config.num_key_value_heads

    def to_file(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Rows of llama's queries and keys so that neighbouring channels are rotated; one added to gemma's norms."""
        if self._heads:
            halves = array.reshape(self._heads, 2, -1, array.shape[1])
            array = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)
        return array + np.float32(1) if self._gemma_norm else array

    def from_file(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The other way round."""
        if self._heads:
            pairs = array.reshape(self._heads, -1, 2, array.shape[1])
            array = np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(array.shape)
        return array - np.float32(1) if self._gemma_norm else array


def byte_level(family: str) -> dict[str, Any]:
    """A byte-level BPE vocabulary whose merges cross every boundary that text could be split at."""
    control = {
        "ds": ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|EOT|>"],
        "sc2": ["<|endoftext|>", "<fim_prefix>"],
        "qwen": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    }[family]
    user = ["<tool_call>"]
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    own.train_from_iterator(TRAINING, trainers.BpeTrainer(vocab_size=640, initial_alphabet=alphabet))
    trained = json.loads(own.to_str())["model"]
    plain = sorted(trained["vocab"], key=trained["vocab"].get)
    tokens = [*plain, *control, *user]
    kinds = [NORMAL] * len(plain) + [CONTROL] * len(control) + [USER_DEFINED] * len(user)
    return {
        "model": "gpt2",
        "pre": SPLITS[family],
        "tokens": tokens,
        "token_type": kinds,
        "merges": [" ".join(merge) for merge in trained["merges"]],
        "bos_token_id": len(plain),
        "eos_token_id": tokens.index({"ds": "<|EOT|>", "qwen": "<|im_end|>"}.get(family, "<|endoftext|>")),
        "add_bos_token": False,
    }


def sentence_piece(family: str) -> dict[str, Any]:
    """A SentencePiece vocabulary with scores: merges are made on whole lines, in the order of their tokens."""
    own = Tokenizer(models.BPE())
    own.normalizer = normalizers.Replace(" ", "▁")
    own.pre_tokenizer = pre_tokenizers.Split(Regex("[\r\n]"), "removed")
    own.train_from_iterator(TRAINING, trainers.BpeTrainer(vocab_size=400, limit_alphabet=110))
    trained = json.loads(own.to_str())["model"]
    made = ["".join(merge) for merge in trained["merges"]]
    letters = sorted(set(trained["vocab"]) - set(made))
    head = ["<pad>", "<eos>", "<bos>", "<unk>"] if family == "gm" else ["<unk>", "<s>", "</s>"]
    kinds = [UNKNOWN if token == "<unk>" else CONTROL for token in head]
    # Gemma's file has its runs of spaces and its turn marks as tokens that are matched whole.
    user = ["  ", "   ", "    ", "<start_of_turn>", "<end_of_turn>"] if family == "gm" else []
    made = [token for token in made if token.replace("▁", " ") not in user]
    every_byte = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = [*head, *every_byte, *user, *made, *letters]
    kinds += [BYTE] * 256 + [CONTROL if "turn" in token else USER_DEFINED for token in user]
    scores = [0.0] * len(kinds) + [-float(i) for i in range(len(made) + len(letters))]
    kinds += [NORMAL] * (len(made) + len(letters))
    ends = {"eos": "<eos>", "bos": "<bos>"} if family == "gm" else {"eos": "</s>", "bos": "<s>"}
    return {
        "model": "llama",
        "pre": "default",
        "tokens": tokens,
        "scores": scores,
        "token_type": kinds,
        **{f"{name}_token_id": tokens.index(token) for name, token in ends.items()},
        "unknown_token_id": tokens.index("<unk>"),
        "add_space_prefix": family != "gm",
        "add_bos_token": False,
    }


if __name__ == "__main__":
    main()
