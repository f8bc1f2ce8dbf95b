"""How near is a model on an NVIDIA GPU to what the GPU could do, and what do drafts, CUDA graphs and batches give?

The model has the shape of OpenCodeInterpreter-DS-6.7B and random weights, exported by our own exporter at fp16 and int4;
transformers, with the same weights at fp16, takes its turn beside it. The limits are measured on the same GPU: decoding
can be no faster than the weights and the cache can be read, prefill no faster than matrices can be multiplied. What
drafts give on real replies, `session.py` measures with a real model; here stands what a pass over several tokens costs.

    python benchmarks/gpu.py --work FOLDER

The interpreter needs torch with CUDA, transformers, onnxruntime-gpu and onnxruntime-genai-cuda, besides the companion's
own packages; FOLDER takes 40 GB, and main memory 60 GB. `--device cpu --shape tiny` is for trying the script itself.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime_genai  # type: ignore[import-untyped]
import torch  # type: ignore[import-not-found]
from transformers import (  # type: ignore[import-not-found]
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from lsp_server.engine import tuning
from lsp_server.models.export import EXPORTER

SHAPES: dict[str, dict[str, Any]] = {
    "ds-6.7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32256,
    },
    "tiny": {
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": 1024,
    },
}
POSITIONS = 4096
PROMPT = 1024
"""Tokens: a repair's question with its context."""
REPLY = 64
"""Tokens decoded for a figure."""
AT_ONCE = 8
"""Samples of one prompt."""
TRIES = 3


def main() -> int:
    """Make and export the model, measure everything in turn, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="a folder; what was exported is used again")
    parser.add_argument("--shape", default="ds-6.7b", choices=SHAPES)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    options = parser.parse_args()
    logging.disable(logging.INFO)  # the quantiser tells of every matrix
    # The runtime's own word says only what it was built for.
    if options.device == "cuda" and not (torch.cuda.is_available() and onnxruntime_genai.is_cuda_available()):
        sys.exit("No CUDA device, or onnxruntime-genai-cuda is not installed: nothing is measured.")
    precisions = ("fp16", "int4") if options.device == "cuda" else ("fp32", "int4")
    config = LlamaConfig(
        **SHAPES[options.shape],
        max_position_embeddings=POSITIONS * 4,
        rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 100_000.0},
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    source = options.work / "source"
    if not (source / "config.json").exists():
        _make(config, source)
    folders = {precision: _export(source, options, precision) for precision in precisions}
    limits = Limits(config, options.device)
    print(
        f"{limits.name}: copies {limits.copied / 1e9:.0f} GB/s, multiplies {limits.multiplied / 1e12:.1f} TFLOP/s"
    )
    print(f"\n{'':28}{'decode tok/s':>14}{'of limit':>10}{'prefill tok/s':>15}{'of limit':>10}")
    theirs = _transformers(source, options.device)
    bytes_of = {"fp16": 2.0, "fp32": 4.0, "int4": 4.5 / 8}
    half = "fp16" if options.device == "cuda" else "fp32"
    _row(f"transformers, {half}", theirs, limits, bytes_of[half])
    for precision, folder in folders.items():
        plain = Runtime(folder)
        ours = plain.speeds()
        _row(f"ours, {precision}", ours, limits, bytes_of[precision])
        print(f"{'':4}decoding beside transformers at {half}: x {ours[0] / theirs[0]:.2f}")
        if options.device == "cuda":
            with_graph = Runtime(folder, cuda_graph=True)
            _row(f"ours, {precision}, CUDA graph", with_graph.speeds(), limits, bytes_of[precision])
            del with_graph
        seconds = tuning.measure(plain.generator(tuning.PROMPT + max(tuning.WIDTHS) + 2))
        passes = ", ".join(f"{w} drafts {s * 1e3:.1f} ms" for w, s in seconds.items())
        width = tuning.best(seconds)
        right = tuning.ACCEPTANCE
        gain = (1 - right ** (width + 1)) / (1 - right) * seconds[0] / seconds[width]
        print(f"{'':4}a pass: {passes}; with {right:.0%} of drafts right, {width} give x {gain:.2f}")
        one, many = plain.batch(1), plain.batch(AT_ONCE)
        print(
            f"{'':4}{AT_ONCE} samples of one prompt: {many:.2f} s, one: {one:.2f} s (x {many / one:.2f})",
            flush=True,
        )
        del plain
    return 0


class Limits:
    """What the device could do, measured: bytes a second from its memory, and multiplications of matrices.

    Args:
        config: the model's.
        device: `cuda` or `cpu`.
    """

    def __init__(self, config: Any, device: str) -> None:
        self.name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
        kind = torch.float16 if device == "cuda" else torch.float32
        size = (1 << 30) if device == "cuda" else (1 << 26)
        left = torch.empty(size, dtype=torch.uint8, device=device)
        right = torch.empty_like(left)
        self.copied = 2 * size / _fastest(lambda: right.copy_(left), device)
        side = 8192 if device == "cuda" else 1024
        matrix = torch.randn(side, side, dtype=kind, device=device)
        self.multiplied = 2 * side**3 / _fastest(lambda: matrix @ matrix, device)
        layer = 4 * config.hidden_size**2 + 3 * config.hidden_size * config.intermediate_size
        self.head = config.hidden_size * config.vocab_size
        self.weights = config.num_hidden_layers * layer + self.head
        """Read for a token; of the embedding only a row is."""
        self.cache = 2 * config.num_hidden_layers * config.hidden_size
        """Numbers of keys and values a token."""

    def decode(self, weight_bytes: float, cache_bytes: int, context: int) -> float:
        """Return the most tokens a second, if every weight and all of the cache is read once for each."""
        return self.copied / (self.weights * weight_bytes + self.cache * cache_bytes * context)

    def prefill(self) -> float:
        """Return the most tokens a second, if every weight but the head's is multiplied once for each."""
        return self.multiplied / (2 * (self.weights - self.head))


class Runtime:
    """A model in the runtime, as the engine's session has it.

    Args:
        folder: exported.
        cuda_graph: whether passes are recorded and replayed.
    """

    def __init__(self, folder: Path, *, cuda_graph: bool = False) -> None:
        configuration = onnxruntime_genai.Config(str(folder))
        if cuda_graph:
            provider = [{"cuda": {"enable_cuda_graph": "1"}}]
            options = {"model": {"decoder": {"session_options": {"provider_options": provider}}}}
            configuration.overlay(json.dumps(options))
        self._model = onnxruntime_genai.Model(configuration)
        vocabulary = json.loads((folder / "genai_config.json").read_text())["model"]["vocab_size"]
        self._prompt = np.random.default_rng(5).integers(2, vocabulary, PROMPT, dtype=np.int32)

    def generator(self, capacity: int, batch: int = 1) -> Any:
        """Make a generator for so many tokens of so many sequences."""
        parameters = onnxruntime_genai.GeneratorParams(self._model)
        parameters.set_search_options(max_length=capacity, batch_size=batch, do_sample=False)
        return onnxruntime_genai.Generator(self._model, parameters)

    def speeds(self) -> tuple[float, float]:
        """Return tokens a second of decoding after `PROMPT` tokens, and of prefill; the best of some tries."""
        decoded, filled = [], []
        for _ in range(TRIES):
            generator = self.generator(PROMPT + REPLY + 8)
            began = time.perf_counter()
            generator.append_tokens(self._prompt)
            generator.get_logits()
            filled.append(PROMPT / (time.perf_counter() - began))
            self._steps(generator, 4)
            began = time.perf_counter()
            self._steps(generator, REPLY)
            decoded.append(REPLY / (time.perf_counter() - began))
        return max(decoded), max(filled)

    def batch(self, count: int) -> float:
        """Return seconds for so many samples of the prompt, from its beginning; the best of some tries."""
        seconds = []
        for _ in range(TRIES):
            began = time.perf_counter()
            generator = self.generator(PROMPT + REPLY + 8, count)
            generator.append_tokens(np.tile(self._prompt, (count, 1)) if count > 1 else self._prompt)
            self._steps(generator, REPLY)
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    def _steps(self, generator: Any, count: int) -> None:
        for _ in range(count):
            generator.generate_next_token()


def _make(config: Any, folder: Path) -> None:
    """Write a model with random weights and a byte-level tokenizer made on the spot."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    torch.manual_seed(3)
    torch.set_default_dtype(torch.float16)
    LlamaForCausalLM(config).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=["<|begin|>", "<|end|>"], initial_alphabet=alphabet
    )
    own.train_from_iterator([Path(__file__).read_text(encoding="utf-8")], trainer)
    PreTrainedTokenizerFast(tokenizer_object=own, bos_token="<|begin|>", eos_token="<|end|>").save_pretrained(
        folder
    )


def _export(source: Path, options: argparse.Namespace, precision: str) -> Path:
    """Build the ONNX folder by our exporter, without the comparison with PyTorch, which `tests/model` makes."""
    folder: Path = options.work / f"{precision}-{options.device}" / "onnx"
    if (folder / "genai_config.json").exists():
        return folder
    spec = importlib.util.spec_from_file_location(
        "exporter", str(EXPORTER / "__init__.py"), submodule_search_locations=[str(EXPORTER)]
    )
    assert spec is not None
    sys.modules["exporter"] = importlib.util.module_from_spec(spec)
    from exporter import build  # type: ignore[import-not-found]
    from exporter import source as weights

    print(f"exporting {precision} for {options.device}", flush=True)
    model, tokenizer = weights.load(source)
    staged = folder.parent / "staged"
    weights.stage(model, tokenizer, staged, [1])
    build.build(model, staged, folder, precision, options.device)
    return folder


def _transformers(source: Path, device: str) -> tuple[float, float]:
    """Return transformers' tokens a second, decoding and prefill."""
    kind = torch.float16 if device == "cuda" else torch.float32
    model = LlamaForCausalLM.from_pretrained(source, dtype=kind).to(device).eval()
    prompt = torch.randint(2, model.config.vocab_size, (1, PROMPT), device=device)
    decoded, filled = [], []
    with torch.inference_mode():
        for _ in range(TRIES):
            began = _now(device)
            out = model(prompt, use_cache=True, logits_to_keep=1)
            filled.append(PROMPT / (_now(device) - began))
            cache = out.past_key_values
            began = _now(device)
            for _ in range(REPLY):
                token = out.logits[:, -1:].argmax(-1)
                out = model(token, past_key_values=cache, use_cache=True)
            decoded.append(REPLY / (_now(device) - began))
    del model
    if device == "cuda":
        torch.cuda.empty_cache()
    return max(decoded), max(filled)


def _row(name: str, speeds: tuple[float, float], limits: Limits, weight_bytes: float) -> None:
    decode, prefill = speeds
    cache_bytes = 4 if weight_bytes == 4 else 2
    most = limits.decode(weight_bytes, cache_bytes, PROMPT + REPLY // 2), limits.prefill()
    print(
        f"{name:28}{decode:14.1f}{decode / most[0]:10.0%}{prefill:15.0f}{prefill / most[1]:10.0%}", flush=True
    )


def _fastest(work: Callable[[], object], device: str) -> float:
    """Return the seconds of the median of some repetitions, after two to warm up."""
    seconds = []
    for _ in range(10):
        began = _now(device)
        work()
        seconds.append(_now(device) - began)
    return statistics.median(seconds[2:])


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    sys.exit(main())
