"""One export, from source folder to proven ONNX folder: progress goes out as a line of JSON each."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

STRUCTURE_LAYERS = 2


def main(job_file: str) -> int:
    """Run the job that `job_file` (JSON) describes; return the exit status.

    The job: `source`, `work` (an empty folder on the store's disk), `precision`, `device`, `stop_ids`.
    On success `work/onnx` is the finished folder and the last line is `{"done": {…figures…}}`, else
    `{"error": "…"}`.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # The builder prints at will: its chatter goes to the log (stderr), the report keeps a stdout of its own.
    report = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def say(**fields: Any) -> None:
        report.write(json.dumps(fields) + "\n")

    try:
        say(done=run(json.loads(Path(job_file).read_text(encoding="utf-8")), lambda text: say(step=text)))
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        say(error=f"{type(error).__name__}: {error}")
        return 1
    return 0


def run(job: dict[str, Any], step: Any) -> dict[str, Any]:
    """Load, build two layers, compare, build all, compare; return the parity figures."""
    step("starting PyTorch")
    from . import build, parity, source

    work = Path(job["work"])
    step("reading the weights")
    model, tokenizer = source.load(Path(job["source"]))
    staged = work / "staged"
    source.stage(model, tokenizer, staged, job["stop_ids"])

    step("building two layers at fp32")
    two = work / "two-layers"
    layers = min(STRUCTURE_LAYERS, model.config.num_hidden_layers)
    build.build(model, staged, two, "fp32", "cpu", layers=layers)
    step("comparing two layers with PyTorch")
    near_and_far = parity.structure(model, two, layers)

    precision, device = job["precision"], job["device"]
    step(f"building the {precision} model for {device}")
    build.build(model, staged, work / "onnx", precision, device, options=job.get("options"))
    whole = None
    if device == "cpu":
        step(f"comparing the {precision} model with PyTorch")
        whole = parity.agreement(model, tokenizer, work / "onnx", precision)
    return parity.figures(near_and_far, whole)
