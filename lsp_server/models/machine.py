"""The memory that a model can be run in: a GPU's, as `nvidia-smi` tells it, or the machine's."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from .catalog import Device
from .store import ModelError

ASK = (
    "--query-gpu=index,name,uuid,memory.total,memory.free,compute_cap,driver_version",
    "--format=csv,noheader,nounits",
)
ASK_SECONDS = 20.0
"""The first question after a start of the machine wakes the driver, which takes a while."""
NO_DRIVER = "there is no nvidia-smi, which comes with NVIDIA's driver"
CUDA = "CUDA 13"
"""What the runtime for GPUs (`gpu_runtime`) is built with."""
DRIVER, CAPABILITY = 580, 7.5
"""The oldest driver and the least compute capability (Turing) for this CUDA (NVIDIA, CUDA 13.0 release notes)."""


@dataclass(frozen=True)
class Memory:
    """Memory on one device."""

    device: Device
    name: str
    total: int
    """Bytes."""
    free: int
    """Bytes that nothing uses now."""
    uuid: str = ""
    """What `CUDA_VISIBLE_DEVICES` calls a GPU."""
    index: str = ""
    """nvidia-smi's number of a GPU."""
    capability: str = ""
    """A GPU's compute capability, such as `8.6`."""
    driver: str = ""
    """Version of a GPU's driver."""

    @property
    def unusable(self) -> str:
        """Why models cannot run on it; empty if they can."""
        if self.driver and _number(self.driver) < DRIVER:
            return f"{self.name} has driver {self.driver}, and {CUDA} takes {DRIVER} or later: update it"
        if self.capability and _number(self.capability) < CAPABILITY:
            return f"{self.name} has compute capability {self.capability}, and {CUDA} takes {CAPABILITY} or later"
        return ""


def _number(version: str) -> float:
    """The first two parts of a version."""
    parts = version.split(".")[:2]
    return float(".".join(parts)) if all(part.isdigit() for part in parts) else float("inf")


@functools.cache
def multiplies_bytes() -> bool:
    """Whether models at int8 run well on this processor; asked in a process of its own, which loads the runtime."""
    command = [sys.executable, "-m", "lsp_server.models.byte_products"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def memories(device: Device | None = None) -> list[Memory]:
    """Return the memory of every GPU that models can run on, the largest first, or the machine's own where there is none.

    Args:
        device: ask only for this; None: GPUs if there are any.

    Raises:
        ModelError: `cuda` is asked for and there is no such NVIDIA GPU.
    """
    if device != "cpu":
        found, reason = gpus()
        if found:
            return found
        if device == "cuda":
            raise ModelError(f"no NVIDIA GPU that models can run on was found here ({reason})")
    main = psutil.virtual_memory()
    return [Memory("cpu", "main memory", main.total, main.available)]


def gpus() -> tuple[list[Memory], str]:
    """Return the GPUs that models can run on, the largest first, or why there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], NO_DRIVER
    try:
        done = subprocess.run(
            [program, *ASK], capture_output=True, text=True, timeout=ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], str(error)
    if "not a valid field" in done.stdout + done.stderr:
        return [], f"NVIDIA's driver is too old: {CUDA} takes {DRIVER} or later: update it"
    if done.returncode:
        return [], (done.stdout + done.stderr).strip() or f"nvidia-smi ended with status {done.returncode}"
    found = read_gpus(done.stdout)
    usable = [gpu for gpu in found if not gpu.unusable]
    reasons = [gpu.unusable for gpu in found] or [
        "nvidia-smi tells of none how much memory of its own it has"
    ]
    return usable, "" if usable else "; ".join(reasons)


def read_gpus(table: str) -> list[Memory]:
    """Return the GPUs of `nvidia-smi`'s answer to `ASK`, the largest first.

    Args:
        table: a line for each, in MiB; those that share the main memory say `[N/A]` and are left out.
    """
    found = []
    for line in table.splitlines():
        index, _, rest = line.partition(",")
        name, *fields = (field.strip() for field in rest.rsplit(",", 5))
        if len(fields) == 5 and all(size.isdigit() for size in fields[1:3]):
            uuid, total, free, capability, driver = fields
            sizes = int(total) << 20, int(free) << 20
            found.append(Memory("cuda", name, *sizes, uuid, index.strip(), capability, driver))
    return sorted(found, key=lambda gpu: -gpu.total)
