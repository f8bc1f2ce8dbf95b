"""Build the ONNX folder of a loaded model with onnxruntime-genai's model builder, mended where it falls short."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import onnxruntime_genai.models as genai_models  # type: ignore[import-untyped,unused-ignore]

# The builder's own modules import each other as top-level names, as if run as a script.
sys.path.insert(0, str(Path(genai_models.__file__).parent))

from builder import (  # type: ignore[import-not-found,unused-ignore]
    parse_extra_options,
    set_io_dtype,
    set_onnx_dtype,
)
from builders import (  # type: ignore[import-not-found,unused-ignore]
    GemmaModel,
    LlamaModel,
    Model,
    QwenModel,
)


class RopeScaledLlama(LlamaModel):  # type: ignore[misc,unused-ignore]
    """Llama whose linear rotary scaling is kept: the builder's class drops it without a word."""

    def make_rope_init(self, config: Any) -> None:
        """Fall back to the base class, which knows `linear`, for all that LlamaModel does not handle."""
        if config.rope_parameters["rope_type"] == "llama3":
            super().make_rope_init(config)
        else:
            Model.make_rope_init(self, config)


class StarCoder2(Model):  # type: ignore[misc,unused-ignore]
    """StarCoder2: LayerNorm with bias, and an MLP of two layers without a gate."""

    def __init__(self, config: Any, *arguments: Any) -> None:
        super().__init__(config, *arguments)
        self.layernorm_attrs["simple"] = False
        self.layernorm_attrs["epsilon"] = config.norm_epsilon
        self.mlp_attrs["use_proj"], self.mlp_attrs["use_fc"] = False, True
        if config.sliding_window:
            # Its configuration lists no layer types, and unlisted layers get no window.
            self.layer_types = ["sliding_attention"] * self.num_layers

    def make_mlp(self, layer_id: int, mlp: Any, root_input: str) -> None:
        """Name the two layers as the builder expects them."""
        mlp.fc1, mlp.fc2 = mlp.c_fc, mlp.c_proj
        super().make_mlp(layer_id, mlp, root_input)
        del mlp.fc1, mlp.fc2

    def update_genai_config(self, genai_config: dict[str, Any]) -> None:
        """Give the runtime a plain decoder-only type: it refuses `starcoder2`."""
        genai_config["model"]["type"] = "llama"


BUILDERS: dict[str, type] = {
    "GemmaForCausalLM": GemmaModel,
    "LlamaForCausalLM": RopeScaledLlama,
    "Qwen2ForCausalLM": QwenModel,
    "Starcoder2ForCausalLM": StarCoder2,
}


def build(
    model: Any,
    staged: Path,
    output: Path,
    precision: str,
    device: str,
    layers: int | None = None,
) -> None:
    """Write `model.onnx`, its data, `genai_config.json` and the tokenizer to `output`.

    Args:
        model: the loaded PyTorch model; its weights are read, not changed.
        staged: folder with its configuration and tokenizer.
        output: folder to write, created.
        precision: `fp32`, `fp16` or `int4`.
        device: `cpu` or `cuda`.
        layers: build only the first so many decoder layers.

    Raises:
        ValueError: the architecture is none that is proven here.
    """
    architecture = type(model).__name__
    if architecture not in BUILDERS:
        raise ValueError(f"no proven export for {architecture}; known are {', '.join(sorted(BUILDERS))}")
    # A windowed cache forgets what a rewind needs; the window itself stays in the attention mask.
    pairs = {"windowed_kv_cache": "false", "hf_token": "false"}
    if layers is not None:
        pairs["num_hidden_layers"] = str(layers)
    cache = output.parent / "builder-cache"
    output.mkdir(parents=True, exist_ok=True)
    cache.mkdir(exist_ok=True)
    extra = parse_extra_options(
        None, str(staged), str(output), precision, device, str(cache), [f"{k}={v}" for k, v in pairs.items()]
    )
    extra.pop("_effective_builder_config")
    details = extra.pop("hf_details")
    config, keywords = details["hf_config"], details["extra_kwargs"]
    io_dtype = set_io_dtype(precision, device, extra)
    onnx_dtype = set_onnx_dtype(precision, extra)
    base = BUILDERS[architecture]

    def load_weights(self: Any, _path: str) -> Any:
        return model

    graph = type(base.__name__, (base,), {"load_weights": load_weights})(
        config, io_dtype, onnx_dtype, device, str(cache), extra
    )
    graph.make_model(str(staged))
    graph.save_model(str(output))
    graph.make_genai_config(config, keywords, str(output))
    graph.save_processing(str(staged), keywords, str(output))
    # It refers to itself, and holds every weight in the new numbers: as much again as the model.
    del graph
    gc.collect()
