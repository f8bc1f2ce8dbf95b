"""Turn a model's weights into the ONNX folder that the engine loads, proven against them before it counts."""

from __future__ import annotations

import importlib.metadata
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Literal

import psutil  # type: ignore[import-untyped]

from . import export_env, gpu_runtime
from .catalog import Device, ModelEntry, Precision
from .export_env import Step
from .fit import LEAST_CONTEXT, export_memory, fit
from .machine import memories, multiplies_bytes
from .store import ModelError, entry, find, home, lock, model_dir, need_disk, onnx_dir, pulled, source_dir
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
ENVIRONMENTS: dict[str, export_env.Environment] = {
    "builder": export_env.BUILDER,
    "optimum": export_env.OPTIMUM,
}
QUIET = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Environment of an export: nothing is told to anyone; and NumPy's threads, which spin while they wait, stay out."""
SPARE = 5 << 30
"""Bytes of disk for the two-layer graph and other passing things."""


Exporter = Literal["gguf", "builder", "optimum"]
"""`gguf`: the file's quantised blocks straight to ONNX. `builder`: PyTorch, and onnxruntime_genai's model builder.
`optimum`: PyTorch, and optimum's exporter; or a folder that it made elsewhere, as it is."""
OPTIMUM_MEMORY = 2.5
"""What optimum's exporter takes, in sizes of the float32 weights."""


class ExportFailed(ModelError):
    """The export broke, or what it made does not compute what its source computes."""


def export(
    model_id: str,
    precision: Precision | None = None,
    device: Device = "cpu",
    progress: Step | None = None,
    cancel: threading.Event | None = None,
    exporter: Exporter | None = None,
) -> Path:
    """Export a model that is here; does nothing when that form is there.

    For a GPU the runtime that it takes is installed, too, where there is one to run on.

    Args:
        model_id: id in the catalog, or of a model of the user's own.
        precision: of the weights; None: `usual_precision`.
        device: what the folder is built to run on.
        progress: told each step as it begins.
        cancel: kills the export within a second; nothing of it is kept.
        exporter: how; None: `usual_exporter`.

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
    ready = is_graph(known)
    if precision is None:
        # What is here for a GPU may have been exported elsewhere, and lack the runtime only.
        there = find(model_id, device) if device == "cuda" else None
        precision = there.precision if there else usual_precision(known, device, exporter)
    final = onnx_dir(model_id, precision, device)
    with lock(model_id):
        made_by = _made_by(final, known)
        if made_by and exporter in (None, made_by):
            _install_runtime(device, step, stop)
            return final
        source = source_of(known)
        how = exporter or ("optimum" if ready else usual_exporter(source, precision, device))
        _need_form(how, source, ready, precision, device)
        if ready:
            command = [sys.executable, "-m", "lsp_server.models.adopt"]
        else:
            need_disk(final, 2 * known.weight_bytes(precision) + SPARE, f"exporting {model_id}")
            if how == "gguf":
                command = [sys.executable, "-m", "lsp_server.models.gguf_onnx.worker"]
            else:
                _need_memory(known, how, precision, device)
                _install_runtime(device, step, stop)
                command = [
                    str(export_env.ensure(ENVIRONMENTS[how], step, stop)),
                    "-I",
                    "-c",
                    BOOT,
                    str(EXPORTER),
                ]
        work = model_dir(model_id) / "export.partial"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            started = time.monotonic()
            job = {
                "exporter": how,
                "source": str(source if source.is_dir() else source.parent),
                "file": str(source),
                "work": str(work),
                "precision": precision,
                "device": device,
                "stop_ids": known.stop_ids,
            }
            figures = _run(command, job, known, step, stop)
            manifest = _manifest(known, source, how, precision, device, figures)
            manifest["seconds"] = round(time.monotonic() - started, 1)
            (work / "onnx" / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)
            (work / "onnx").rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def _install_runtime(device: Device, step: Step, cancel: threading.Event) -> None:
    """Install what models run on on a GPU, unless this machine only exports for another."""
    if device != "cuda":
        return
    try:
        memories(device)
    except ModelError as error:
        step(
            f"{error}: the runtime for GPUs is not installed; once there is one, give the same command again"
        )
        return
    export_env.ensure(gpu_runtime.RUNTIME, step, cancel)


def source_of(known: ModelEntry) -> Path:
    """The GGUF file, or the folder of other weights, that a model is exported from.

    Raises:
        ModelError: it is not here.
    """
    if known.path:
        if not Path(known.path).exists():
            raise ModelError(f"{known.path}, which {known.id} is made from, is not there any more")
        return Path(known.path)
    if not pulled(known.id):
        raise ModelError(f"{known.id} is not here yet: run `oci-companion model pull {known.id}`")
    files = sorted(source_dir(known.id).glob("*.gguf"))
    return files[0] if files else source_dir(known.id)


def _made_by(folder: Path, known: ModelEntry) -> str:
    """The exporter that made a folder, or nothing if there is none, or it was made of another file of that name."""
    manifest_file = folder / "manifest.json"
    if not manifest_file.is_file():
        return ""
    manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
    file = Path(known.path)
    if known.path and file.exists() and manifest["source"] != _own_source(file):
        return ""
    return str(manifest.get("exporter", "builder"))


def _own_source(source: Path) -> dict[str, Any]:
    """What tells a file or folder of the user's own from another, or from itself before it was changed."""
    files = [each.stat() for each in (source.iterdir() if source.is_dir() else [source])]
    return {
        "path": str(source),
        "size": sum(each.st_size for each in files),
        "modified": max((each.st_mtime_ns for each in files), default=0),
    }


def is_graph(known: ModelEntry) -> bool:
    """Whether a model is a folder of the user's own with a finished graph in it."""
    return bool(known.path) and (Path(known.path) / "model.onnx").is_file()


def usual_precision(known: ModelEntry, device: Device, exporter: Exporter | None = None) -> Precision:
    """What a model is exported at unless told otherwise.

    int8 is faster and truer than int4 where it can be had: of a GGUF file, on a processor that is good at it, with memory
    for it. fp32 is all there is of optimum.

    Raises:
        ModelError: the model's source is not here.
    """
    if is_graph(known) or exporter == "optimum":
        return "fp32"
    # A GGUF file that is asked for at int8 goes the way that has it.
    if device == "cuda" or exporter == "builder" or source_of(known).suffix != ".gguf":
        return "int4"
    memory = psutil.virtual_memory().total
    roomy = fit(known, memory, device).form("int8").context >= min(LEAST_CONTEXT, known.context)
    return "int8" if roomy and multiplies_bytes() else "int4"


def usual_exporter(source: Path, precision: Precision, device: Device) -> Exporter:
    """A GGUF file goes straight to ONNX for the CPU; all else takes PyTorch and the runtime's model builder."""
    own = source.suffix == ".gguf" and device == "cpu" and precision in ("int8", "int4")
    return "gguf" if own else "builder"


def _need_form(how: Exporter, source: Path, ready: bool, precision: Precision, device: Device) -> None:
    """Refuse what an exporter does not make."""
    form = (precision, device)
    if ready and (how, *form) != ("optimum", "fp32", "cpu"):
        raise ModelError(
            f"{source} holds a finished graph, which is used as it is, at fp32 on the CPU: leave --exporter, "
            "--precision and --device out"
        )
    if how == "gguf" and usual_exporter(source, precision, device) != "gguf":
        raise ModelError(
            "a GGUF file goes straight to int8 or int4, for the CPU; for another form leave --exporter out"
        )
    if precision == "int8" and how != "gguf":
        raise ModelError("int8 is made of GGUF files only, for the CPU: take int4")
    if form == ("fp32", "cuda"):
        raise ModelError(
            "fp32 is for the CPU: on a GPU fp16 loses nothing that counts, and takes half the memory"
        )
    if how == "optimum" and form != ("fp32", "cpu"):
        raise ModelError(
            f"optimum has one form here, fp32 on the CPU, and not {precision} on {device}: leave --precision and "
            "--device out, or take `--exporter builder`"
        )


def _need_memory(known: ModelEntry, how: Exporter, precision: Precision, device: Device) -> None:
    if how == "optimum":
        needed = int(OPTIMUM_MEMORY * known.weight_bytes("fp32"))
    else:
        needed = export_memory(known, precision, device)
    available = psutil.virtual_memory().available
    if available < needed:
        raise ModelError(
            f"exporting {known.id} needs {needed / 1e9:.0f} GB of memory and {available / 1e9:.0f} GB are free: "
            "close other programs, take a smaller model, or export on a larger machine and copy "
            f"{onnx_dir(known.id, precision, device)}"
        )


def _run(
    command: list[str], job: dict[str, Any], known: ModelEntry, step: Step, cancel: threading.Event
) -> dict[str, Any]:
    """Run an exporter's process on a job; return the parity figures."""
    job_file = Path(job["work"]) / "job.json"
    job_file.write_text(json.dumps(job), encoding="utf-8")
    logs = home() / "logs"
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = logs / f"export-{known.id}.log"
    with log.open("wb") as log_stream:
        worker = subprocess.Popen(
            [*command, str(job_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log_stream,
            text=True,
            cwd=home(),
            env={**os.environ, **QUIET},
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
    known: ModelEntry,
    source: Path,
    exporter: Exporter,
    precision: Precision,
    device: Device,
    figures: dict[str, Any],
) -> dict[str, Any]:
    """What is to be remembered of an export."""
    if known.path:
        came_from = _own_source(source)
    else:
        came_from = json.loads((source_dir(known.id) / "source.json").read_text(encoding="utf-8"))
    packages = ("gguf", "numpy", "onnx", "onnxruntime", "onnxruntime-genai", "tokenizers")
    own = [f"{name}=={importlib.metadata.version(name)}" for name in packages]
    return {
        "model": known.id,
        "family": known.family,
        "exporter": exporter,
        "precision": precision,
        "device": device,
        "source": came_from,
        "versions": own if exporter == "gguf" or is_graph(known) else ENVIRONMENTS[exporter].pins,
        "parity": figures,
    }
