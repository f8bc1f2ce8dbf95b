"""The process that converts a GGUF file: a job's path comes in, JSON lines come out."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from lsp_server.models.exporter.acceptance import ParityError
from lsp_server.models.exporter.job import Step, perform
from lsp_server.models.exporter.runtime_config import genai_config
from lsp_server.models.exporter.stop import producible

from . import architecture, check, graph, tokenizer


def main(job_file: str) -> int:
    """Run the job that `job_file` (JSON) describes; return the exit status."""
    return perform(job_file, run, (architecture.UnsupportedFile, ParityError))


def run(job: dict[str, Any], step: Step) -> dict[str, Any]:
    """Convert, and compare with the file; return the figures of that.

    Args:
        job: `file` (the GGUF), `work` (a folder that exists), `precision`, `stop_ids` (besides the file's own).
        step: told what is done next.

    Raises:
        UnsupportedFile: a file that is not converted here.
        ParityError: the graph does not compute what the file says.
    """
    step("reading the file")
    file = architecture.GgufFile(Path(job["file"]))
    shape = architecture.read(file)
    work = Path(job["work"])
    step("comparing two layers with the file's")
    two = work / "two-layers"
    two.mkdir()
    near_and_far = check.structure(file, shape, two)
    shutil.rmtree(two)
    step("writing the tokenizer")
    folder = work / "onnx"
    folder.mkdir()
    tokenizer.write(file, folder)
    ends = producible([*tokenizer.stop_ids(file), *job["stop_ids"]], shape.vocabulary)
    if not ends:
        raise architecture.UnsupportedFile("it names no token that ends a reply")
    beginning = file.field("tokenizer.ggml.bos_token_id")
    (folder / "genai_config.json").write_text(genai_config(shape, ends, beginning), encoding="utf-8")
    step("converting the weights")
    graph.write(file, shape, folder, job["precision"])
    step("comparing the whole model with the file's")
    return {"structure": near_and_far, "agreement": check.agreement(file, shape, folder, job["precision"])}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
