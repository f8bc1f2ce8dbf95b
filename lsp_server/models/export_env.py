"""Environments of their own for exporters, evaluators and GPUs: what they need stays out of the companion's."""

from __future__ import annotations

import hashlib
import json
import shutil
import sysconfig
import threading
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .pip import PipFailed, run_pip
from .store import home, lock, need_disk

Step = Callable[[str], None]
"""Called with a line that says what is being done."""


@dataclass(frozen=True)
class Environment:
    """What is installed beside each other, apart from all else."""

    name: str
    """What users read of it."""
    folder: str
    """Its place in the store."""
    disk: int
    """Bytes that it takes, with room for pip to work."""
    packages: tuple[str, ...]
    torch: str = ""
    """A requirement of PyTorch, if it is needed."""
    alone: tuple[str, ...] = ()
    """Installed without what they ask for: what they really import is among the packages."""

    @property
    def pins(self) -> tuple[str, ...]:
        """Every requirement."""
        return (*filter(None, [self.torch]), *self.packages, *self.alone)


TORCH = "torch==2.13.0"
SHARED = (
    "accelerate==1.15.0",
    "gguf==0.19.0",
    "numpy==2.4.6",
    "onnx==1.23.2",
    "onnx-ir==1.1.0",
    "onnxruntime==1.31.1",
    "onnxruntime-genai==0.18.0",
    "psutil==7.2.2",
)
_EXPORTS = "the export environment"
_EXPORTS_DISK = 3 << 30
BUILDER = Environment(_EXPORTS, "export-env", _EXPORTS_DISK, (*SHARED, "transformers==5.23.0"), TORCH)
"""onnxruntime_genai's model builder, which needs transformers 5."""
OPTIMUM = Environment(
    _EXPORTS,
    "optimum-env",
    _EXPORTS_DISK,
    (*SHARED, "optimum==2.1.0", "optimum-onnx==0.1.0", "transformers==4.57.6"),
    TORCH,
)
"""optimum's exporter, which refuses transformers 5."""
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""Where PyTorch publishes builds without CUDA; on Linux the package index's own build drags in gigabytes of it."""
ABI = str(sysconfig.get_config_var("SOABI"))
"""What compiled packages have to be made for; a newer patch of the same Python has the same."""
MARKER = "complete.json"
"""Written last, instead of a rename at the end: environments do not survive being moved."""


def made(wanted: Environment) -> Path | None:
    """Return an environment's python if it is there, whole and of these versions."""
    folder = _folder(wanted)
    python = folder / "bin" / "python"
    # The Python that it was made with may be gone.
    return python if (folder / MARKER).is_file() and python.exists() else None


def _folder(wanted: Environment) -> Path:
    pins = "\n".join([ABI, *wanted.pins])
    return home() / wanted.folder / hashlib.sha256(pins.encode()).hexdigest()[:16]


def ensure(wanted: Environment, step: Step, cancel: threading.Event) -> Path:
    """Return an environment's python, making the environment if there is none of these versions.

    Args:
        wanted: the environment.
        step: told what is being installed.
        cancel: stops the installation; the next attempt begins it anew.

    Raises:
        NotEnoughDisk: no room.
        ModelError: pip failed, or `cancel` was set (`Cancelled`).
    """
    folder = _folder(wanted)
    python = folder / "bin" / "python"
    with lock(wanted.folder, wait=3600):
        if made(wanted):
            return python
        need_disk(folder, wanted.disk, wanted.name)
        _clear_out(folder)
        step(f"making {wanted.name}")
        venv.create(folder, with_pip=True)
        try:
            if wanted.torch:
                step("installing PyTorch into it")
                _install_torch(python, wanted.torch, step, cancel)
            step("installing its packages")
            if wanted.packages:
                run_pip(python, ["install", *wanted.packages], cancel)
            if wanted.alone:
                run_pip(python, ["install", "--no-deps", *wanted.alone], cancel)
        except PipFailed as error:
            raise PipFailed(
                f"pip could not install {wanted.name}: {error}\nConnect to the package index and run the same "
                "command again"
            ) from error
        marker = json.dumps({"python": ABI, "packages": wanted.pins})
        (folder / MARKER).write_text(marker, encoding="utf-8")
    return python


def _clear_out(folder: Path) -> None:
    """Delete what is left of an environment, and those of other versions; not those of another Python's companion."""
    for each in folder.parent.glob("*"):
        marker = each / MARKER
        kind = json.loads(marker.read_text(encoding="utf-8"))["python"] if marker.is_file() else ABI
        if kind == ABI or not (each / "bin" / "python").exists():
            shutil.rmtree(each, ignore_errors=True)


def _install_torch(python: Path, torch: str, step: Step, cancel: threading.Event) -> None:
    """Install a CPU build: the index's own if that is one, else PyTorch's, else whatever there is."""
    if _needs_cuda(run_pip(python, ["install", "--dry-run", "--no-deps", "--report", "-", torch], cancel)):
        try:
            # Found out fast when this index cannot be reached; its libraries come from there as well.
            options = ["--index-url", CPU_INDEX, "--retries", "0", "--timeout", "8"]
            run_pip(python, ["install", *options, torch], cancel)
            return
        except PipFailed:
            step("PyTorch's CPU builds cannot be reached: installing the one with CUDA, some gigabytes")
    run_pip(python, ["install", torch], cancel)


def _needs_cuda(report: str) -> bool:
    """Whether pip's installation report names a torch that depends on CUDA's libraries."""
    requires = json.loads(report)["install"][0]["metadata"].get("requires_dist", [])
    return any(name.startswith(("nvidia-", "cuda-", "triton")) for name in requires)
