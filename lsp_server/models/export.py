"""Turn a pulled model into the ONNX folder that the engine loads, proven against PyTorch before it counts."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Any

import psutil  # type: ignore[import-untyped]

from . import export_env
from .catalog import Device, ModelEntry, Precision, entry
from .export_env import Step
from .store import ModelError, home, lock, model_dir, need_disk, onnx_dir, pulled, source_dir
from .transfer import check_cancel

# Makes the exporter a package of its own in the other environment, without the rest of this one on its path.
BOOT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location(
    "exporter", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]]
)
sys.modules["exporter"] = importlib.util.module_from_spec(spec)
from exporter.worker import main
sys.exit(main(sys.argv[2]))
"""
EXPORTER = Path(__file__).parent / "exporter"
SPARE = 5 << 30
"""Bytes of disk for the two-layer graph and other passing things."""


class ExportFailed(ModelError):
    """The export broke, or what it made does not compute what PyTorch computes."""


def export(
    model_id: str,
    precision: Precision = "int4",
    device: Device = "cpu",
    progress: Step | None = None,
    cancel: threading.Event | None = None,
) -> Path:
    """Export a pulled model; does nothing when that form is there.

    Args:
        model_id: id in the catalog.
        precision: of the weights.
        device: what the folder is built to run on.
        progress: told each step as it begins.
        cancel: kills the export within a second; nothing of it is kept.

    Returns:
        The ONNX folder.

    Raises:
        UnknownModel: no such id.
        NotEnoughDisk, ModelError: not pulled, too little memory, or `cancel` was set (`Cancelled`).
        ExportFailed: with the reason and the log's place; the folder is not kept.
    """
    known = entry(model_id)
    step = progress or (lambda text: None)
    stop = cancel or threading.Event()
    final = onnx_dir(model_id, precision, device)
    with lock(model_id):
        if (final / "manifest.json").is_file():
            return final
        if not pulled(model_id):
            raise ModelError(f"{model_id} is not here yet: run `oci-companion model pull {model_id}`")
        need_disk(final, 2 * known.weight_bytes(precision) + SPARE, f"exporting {model_id}")
        _need_memory(known)
        python = export_env.ensure(step, stop)
        work = model_dir(model_id) / "export.partial"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            started = time.monotonic()
            figures = _run(python, known, work, precision, device, step, stop)
            manifest = _manifest(known, precision, device, figures, time.monotonic() - started)
            (work / "onnx" / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)
            (work / "onnx").rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def _need_memory(known: ModelEntry) -> None:
    # The reference is PyTorch in float32; a quarter more covers the graph that is built from it.
    needed = known.weight_bytes("fp32") * 1.25
    available = psutil.virtual_memory().available
    if available < needed:
        raise ModelError(
            f"exporting {known.id} needs {needed / 1e9:.0f} GB of memory and {available / 1e9:.0f} GB are free: "
            "close other programs, take a smaller model, or export on a larger machine and copy "
            f"{model_dir(known.id)}"
        )


def _run(
    python: Path,
    known: ModelEntry,
    work: Path,
    precision: Precision,
    device: Device,
    step: Step,
    cancel: threading.Event,
) -> dict[str, Any]:
    """Run the exporter in its environment; return the parity figures."""
    job = work / "job.json"
    job.write_text(
        json.dumps(
            {
                "source": str(source_dir(known.id)),
                "work": str(work),
                "precision": precision,
                "device": device,
                "stop_ids": known.stop_ids,
            }
        ),
        encoding="utf-8",
    )
    logs = home() / "logs"
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = logs / f"export-{known.id}.log"
    with log.open("wb") as log_stream:
        worker = subprocess.Popen(
            [str(python), "-I", "-c", BOOT, str(EXPORTER), str(job)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log_stream,
            text=True,
            env={**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"},
            start_new_session=True,
        )
    try:
        last = _follow(worker, step, cancel)
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    if "done" not in last:
        reason = last.get("error") or f"the exporter ended with status {worker.returncode}"
        raise ExportFailed(f"{known.id} could not be exported: {reason}. Log: {log}")
    figures: dict[str, Any] = last["done"]
    return figures


def _follow(worker: subprocess.Popen[str], step: Step, cancel: threading.Event) -> dict[str, Any]:
    """Pass the worker's steps on until it ends; return the last line it said."""
    assert worker.stdout is not None
    lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(worker.stdout, lines), daemon=True).start()
    last: dict[str, Any] = {}
    while True:
        check_cancel(cancel)
        try:
            line = lines.get(timeout=0.2)
        except queue.Empty:
            continue
        if line is None:
            worker.wait()
            return last
        last = line
        if "step" in line:
            step(line["step"])


def _read_lines(stream: IO[str], lines: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    with stream:
        for line in stream:
            lines.put(json.loads(line))
    lines.put(None)


def _manifest(
    known: ModelEntry, precision: Precision, device: Device, figures: dict[str, Any], seconds: float
) -> dict[str, Any]:
    source = json.loads((source_dir(known.id) / "source.json").read_text(encoding="utf-8"))
    return {
        "model": known.id,
        "family": known.family,
        "precision": precision,
        "device": device,
        "source": source,
        "versions": [export_env.TORCH, *export_env.PACKAGES],
        "parity": figures,
        "seconds": round(seconds, 1),
    }
