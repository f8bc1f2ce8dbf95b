"""Build the ONNX folder of a loaded model with optimum's exporter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optimum.exporters.onnx import (  # type: ignore[import-not-found,unused-ignore]
    onnx_export_from_model,
)
from optimum.exporters.onnx.model_configs import (  # type: ignore[import-not-found,unused-ignore]
    LlamaOnnxConfig,
)
from optimum.exporters.tasks import TasksManager  # type: ignore[import-not-found,unused-ignore]
from optimum.utils import NormalizedTextConfigWithGQA  # type: ignore[import-not-found,unused-ignore]

from .optimum_folder import write_genai_config

TASK = "text-generation-with-past"
ARCHITECTURES = ("GemmaForCausalLM", "LlamaForCausalLM", "Qwen2ForCausalLM", "Starcoder2ForCausalLM")


@TasksManager.create_register("onnx")("starcoder2", TASK)  # type: ignore[misc,unused-ignore]
class StarCoder2OnnxConfig(LlamaOnnxConfig):  # type: ignore[misc,unused-ignore]
    """StarCoder2, which optimum does not know: its inputs are Llama's, its query heads share keys and values."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfigWithGQA


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
        precision: `fp32`.
        device: `cpu`.
        layers: build only the first so many decoder layers.

    Raises:
        ValueError: the architecture is none that is proven here, or another form was asked for.
    """
    architecture = type(model).__name__
    if architecture not in ARCHITECTURES:
        raise ValueError(f"no proven export for {architecture}; known are {', '.join(ARCHITECTURES)}")
    if (precision, device) != ("fp32", "cpu"):
        raise ValueError(f"optimum makes fp32 for cpu, not {precision} for {device}")
    whole, count, name = model.model.layers, model.config.num_hidden_layers, model.config._name_or_path
    if layers is not None:
        model.model.layers, model.config.num_hidden_layers = whole[:layers], layers
    # Where it looks for the tokenizer, which it copies.
    model.config._name_or_path = str(staged)
    try:
        onnx_export_from_model(model=model, output=output, task=TASK, do_validation=False)
    finally:
        model.model.layers, model.config.num_hidden_layers = whole, count
        model.config._name_or_path = name
    write_genai_config(output, ())
