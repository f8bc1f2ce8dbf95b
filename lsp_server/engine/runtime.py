"""Which of a model's forms this machine runs, in which memory, and the runtime that it takes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from lsp_server.models import gpu_runtime, machine, store
from lsp_server.models.store import ModelError

from .protocol import EngineError

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Choice:
    """An exported form of a model, and where it is to run."""

    form: store.Installed
    memory: machine.Memory
    passed_over: str = ""
    """Why it is not the form for the GPU, though there is one."""


def choose(preferred: store.Installed) -> Choice:
    """Return the form that can run here: the preferred one, or the one for the CPU where there is no GPU for it.

    Args:
        preferred: as `store.find` has it.

    Raises:
        EngineError: it is for a GPU, none can be used, and there is no form for the CPU; with what mends it.
    """
    if preferred.device == "cpu":
        return Choice(preferred, machine.memories("cpu")[0])
    try:
        return Choice(preferred, _gpu(preferred.model_id))
    except ModelError as error:
        reason = str(error)
    found = _on_cpu(preferred.model_id, reason)
    if found is None:
        raise EngineError(
            f"{preferred.model_id} is here for an NVIDIA GPU only, and {reason}. What the CPU takes is made by "
            f"`oci-companion model export {preferred.model_id}`"
        )
    return found


def instead(failed: Choice, reason: str) -> Choice | None:
    """Return the form for the CPU in place of one for a GPU; None: there is none, or it is that which failed.

    Args:
        failed: what could not be run.
        reason: why.
    """
    return _on_cpu(failed.form.model_id, reason) if failed.form.device == "cuda" else None


def _on_cpu(model_id: str, reason: str) -> Choice | None:
    form = store.find(model_id, "cpu")
    return Choice(form, machine.memories("cpu")[0], reason) if form else None


def _gpu(model_id: str) -> machine.Memory:
    """The GPU to use.

    Raises:
        ModelError: there is none, or the runtime for it is not here.
    """
    named = os.environ.get(VISIBLE)
    if named is not None and named.strip() in ("", "-1"):
        raise ModelError(f"{VISIBLE} hides every GPU: take it out of the environment")
    found = machine.memories("cuda")
    if named is not None:
        first = named.split(",")[0].strip()
        found = [gpu for gpu in found if first == gpu.index or gpu.uuid.startswith(first)]
    if not found:
        raise ModelError(
            f"{VISIBLE} is {named}, which names no GPU that models can run on: `nvidia-smi -L` lists numbers and ids"
        )
    if gpu_runtime.folder() is None:
        raise ModelError(
            f"the runtime for NVIDIA GPUs is not installed: run `oci-companion model export {model_id} --device cuda`, "
            "which does that, and keeps what is exported already"
        )
    return found[0]


def prepare(choice: Choice) -> None:
    """Have this process load the runtime that a form takes; called before anything of it is imported.

    Args:
        choice: of the only model that this process will run.

    Raises:
        EngineError: another runtime is loaded already, or this one cannot be.
    """
    if choice.form.device != "cuda":
        return
    folder = gpu_runtime.folder()
    if "onnxruntime" in sys.modules or folder is None:
        raise EngineError(
            "the runtime for CPUs is loaded in this process already: run the model in another one"
        )
    sys.path.insert(0, str(folder))
    # The GPU whose memory was asked about: CUDA numbers them otherwise than nvidia-smi.
    os.environ[VISIBLE] = choice.memory.uuid
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime  # type: ignore[import-untyped]

        # CUDA's libraries lie where the dynamic linker does not look.
        onnxruntime.preload_dlls()
    except (ImportError, OSError, RuntimeError) as error:
        # The form for the CPU may be run instead, by the companion's own.
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == "onnxruntime"]:
            del sys.modules[name]
        raise EngineError(f"the runtime for NVIDIA GPUs cannot be loaded: {error}") from error
