"""One export by way of PyTorch, from source folder to proven ONNX folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]

from .job import Step, perform

STRUCTURE_LAYERS = 2
WIDENED = 2.5
"""Memory that running a form for a GPU on the CPU takes, in sizes of its files: the CPU's kernels widen its numbers as
they load them (2 measured at fp16)."""


def main(job_file: str) -> int:
    """Run the job that `job_file` (JSON) describes; return the exit status.

    The job: `exporter`, `source`, `work` (an empty folder on the store's disk), `precision`, `device`, `stop_ids`.
    On success `work/onnx` is the finished folder and the last line is `{"done": {…figures…}}`, else
    `{"error": "…"}`.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return perform(job_file, run)


def run(job: dict[str, Any], step: Step) -> dict[str, Any]:
    """Load, build two layers, compare, build all, compare; return the parity figures."""
    step("starting PyTorch")
    from . import parity, source

    # Each is installed in its own environment only.
    if job.get("exporter") == "optimum":
        from .optimum_build import build
    else:
        from .build import build
    work = Path(job["work"])
    step("reading the weights")
    # optimum traces the model as it is.
    model, tokenizer = source.load(Path(job["source"]), widened=job.get("exporter") == "optimum")
    staged = work / "staged"
    source.stage(model, tokenizer, staged, job["stop_ids"])

    step("building two layers at fp32")
    two = work / "two-layers"
    layers = min(STRUCTURE_LAYERS, model.config.num_hidden_layers)
    build(model, staged, two, "fp32", "cpu", layers=layers)
    step("comparing two layers with PyTorch")
    near_and_far = parity.structure(model, two, layers)

    precision, device = job["precision"], job["device"]
    step(f"building the {precision} model for {device}")
    build(model, staged, work / "onnx", precision, device)
    whole = None
    if device == "cpu" or _room(work / "onnx"):
        step(f"comparing the {precision} model with PyTorch")
        whole = parity.agreement(model, tokenizer, work / "onnx", precision)
    else:
        step(
            f"the whole {precision} model is not compared with PyTorch: it does not fit beside it into memory"
        )
    return parity.figures(near_and_far, whole)


def _room(folder: Path) -> bool:
    """Whether what was built for a GPU can be run on the CPU, beside PyTorch's model."""
    size = sum(file.stat().st_size for file in folder.glob("*.onnx*"))
    return bool(psutil.virtual_memory().available > WIDENED * size)
