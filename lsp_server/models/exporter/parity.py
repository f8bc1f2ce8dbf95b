"""Compare what was exported with PyTorch: structure at fp32 on two layers, and the whole folder on fixed prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped,unused-ignore]
import onnxruntime_genai  # type: ignore[import-untyped,unused-ignore]
import torch  # type: ignore[import-not-found,unused-ignore]
from transformers import DynamicCache  # type: ignore[import-not-found,unused-ignore]

from .acceptance import ACCEPTED, PROMPTS, STRUCTURE_TOLERANCE, ParityError


@dataclass(frozen=True)
class Structure:
    """Two-layer comparison at fp32."""

    near: float
    """Largest |Δlogit| ÷ largest |logit|, positions 0 to 63."""
    far: float
    """The same at positions past the rotary scaling's original reach."""
    far_position: int


@dataclass(frozen=True)
class Agreement:
    """Whole-folder comparison on `PROMPTS`."""

    top1: float
    """Share of positions whose likeliest token is PyTorch's."""
    kl: float
    """Mean KL divergence from PyTorch's distribution, in nats."""
    tokens: int
    """Positions compared."""


def structure(model: Any, folder: Path, layers: int) -> Structure:
    """Compare the fp32 graph of the first `layers` layers with PyTorch's truncation.

    Args:
        model: the whole PyTorch model; truncated while this runs.
        folder: holds `model.onnx`, built with the same number of layers.
        layers: how many decoder layers both have.

    Raises:
        ParityError: they differ by more than `STRUCTURE_TOLERANCE`.
    """
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    whole = model.model.layers
    model.model.layers = whole[:layers]
    try:
        with _float32(model):
            reach = model.config.max_position_embeddings
            near = _difference(model, session, layers, past=0, new=64)
            # A cache of random entries puts the next tokens at far positions without computing the way there.
            far_position = max(0, min(reach - 16, 12_288))
            far = _difference(model, session, layers, past=far_position, new=8)
    finally:
        model.model.layers = whole
    found = Structure(near, far, far_position)
    if not max(near, far) <= STRUCTURE_TOLERANCE:
        raise ParityError(
            f"the exported graph differs from PyTorch: |Δlogit| {near:.2g} of the largest logit near the start, "
            f"{far:.2g} at position {far_position}; at most {STRUCTURE_TOLERANCE:g} is accepted"
        )
    return found


@contextmanager
def _float32(model: Any, layer_by_layer: bool = False) -> Iterator[None]:
    """Compute in float32 meanwhile, whatever the weights are kept in.

    Args:
        model: in PyTorch.
        layer_by_layer: only while a layer is computed, so that the whole is never in memory at twice its size.
    """
    layers = list(model.model.layers) if layer_by_layer else []
    one_by_one = {id(weight) for layer in layers for weight in layer.parameters()}
    with (
        _widened([weight for weight in model.parameters() if id(weight) not in one_by_one]),
        ExitStack() as hooks,
    ):
        for layer in layers:
            widening = hooks.enter_context(ExitStack())

            def before(module: Any, inputs: Any, widening: ExitStack = widening) -> None:
                widening.enter_context(_widened(list(module.parameters())))

            def after(module: Any, inputs: Any, outputs: Any, widening: ExitStack = widening) -> None:
                widening.close()

            hooks.callback(layer.register_forward_pre_hook(before).remove)
            hooks.callback(layer.register_forward_hook(after).remove)
        yield


@contextmanager
def _widened(weights: list[Any]) -> Iterator[None]:
    # Kept, not made again: they may lie in a mapped file, and take no memory there.
    kept = [weight.data for weight in weights]
    for weight in weights:
        weight.data = weight.data.float()
    try:
        yield
    finally:
        for weight, data in zip(weights, kept, strict=True):
            weight.data = data


def _difference(model: Any, session: Any, layers: int, past: int, new: int) -> float:
    """Largest |Δlogit| ÷ largest |logit| over `new` random tokens after `past` random cache entries."""
    config = model.config
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    random = np.random.default_rng(7)
    ids = random.integers(0, config.vocab_size, (1, new), dtype=np.int64)
    # [layer, key/value, batch, head, position, channel]
    cache = random.standard_normal((layers, 2, 1, kv_heads, past, head), dtype=np.float32) * 0.5
    feeds = {"input_ids": ids, "attention_mask": np.ones((1, past + new), dtype=np.int64)}
    if "position_ids" in {i.name for i in session.get_inputs()}:
        feeds["position_ids"] = np.arange(past, past + new, dtype=np.int64)[None]
    torch_cache = DynamicCache(config=config)
    for layer in range(layers):
        key, value = cache[layer]
        feeds[f"past_key_values.{layer}.key"], feeds[f"past_key_values.{layer}.value"] = key, value
        torch_cache.update(torch.from_numpy(key), torch.from_numpy(value), layer)
    ours = session.run(["logits"], feeds)[0][0]
    with torch.inference_mode():
        theirs = (
            model(
                input_ids=torch.from_numpy(ids),
                past_key_values=torch_cache,
                position_ids=torch.arange(past, past + new)[None],
                cache_position=torch.arange(past, past + new),
            )
            .logits[0]
            .numpy()
        )
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def agreement(model: Any, tokenizer: Any, folder: Path, precision: str) -> Agreement:
    """Compare the finished folder, run on the CPU, with PyTorch on `PROMPTS`.

    A folder for a GPU holds the same graph in other numbers, which the CPU's kernels take as well.

    Raises:
        ParityError: the tokenizers disagree, or the figures miss `ACCEPTED`.
    """
    configuration = onnxruntime_genai.Config(str(folder))
    configuration.clear_providers()
    runtime = onnxruntime_genai.Model(configuration)
    own_tokenizer = onnxruntime_genai.Tokenizer(runtime)
    same, total, divergence = 0, 0, 0.0
    for prompt in PROMPTS:
        ids = tokenizer.encode(prompt, add_special_tokens=False)
        own_ids = own_tokenizer.encode(prompt).tolist()
        if own_ids[-len(ids) :] != ids:
            raise ParityError(f"the runtime's tokenizer splits {prompt[:30]!r}… unlike the model's own")
        parameters = onnxruntime_genai.GeneratorParams(runtime)
        parameters.set_search_options(max_length=len(ids) + 1, do_sample=False)
        generator = onnxruntime_genai.Generator(runtime, parameters)
        generator.append_tokens(np.asarray(ids, dtype=np.int32))
        ours = torch.from_numpy(np.array(generator.get_output("logits"), dtype=np.float32)[0])
        with _float32(model, layer_by_layer=True), torch.inference_mode():
            theirs = model(input_ids=torch.tensor([ids])).logits[0]
        ours, theirs = ours.log_softmax(-1), theirs.log_softmax(-1)
        same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
        divergence += float((theirs.exp() * (theirs - ours)).sum())
        total += len(ids)
    found = Agreement(same / total, divergence / total, total)
    least, largest = ACCEPTED[precision]
    # `not (a and b)` also refuses NaN.
    if not (found.top1 >= least and found.kl <= largest):
        raise ParityError(
            f"the {precision} folder agrees with PyTorch on {found.top1:.1%} of {total} tokens (KL {found.kl:.3g}); "
            f"at least {least:.1%} (KL at most {largest:g}) is accepted"
        )
    return found


def figures(two_layers: Structure, whole: Agreement | None) -> dict[str, Any]:
    """What the manifest records."""
    return json.loads(  # type: ignore[no-any-return]
        json.dumps({"structure": asdict(two_layers), "agreement": asdict(whole) if whole else None})
    )
