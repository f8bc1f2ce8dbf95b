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

ASK = ("--query-gpu=name,uuid,memory.total,memory.free", "--format=csv,noheader,nounits")
ASK_SECONDS = 20.0
"""The first question after a start of the machine wakes the driver, which takes a while."""


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


@functools.cache
def multiplies_bytes() -> bool:
    """Whether models at int8 run well on this processor; asked in a process of its own, which loads the runtime."""
    command = [sys.executable, "-m", "lsp_server.models.byte_products"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def memories(device: Device | None = None) -> list[Memory]:
    """Return the memory of every GPU, the largest first, or the machine's own where there is none.

    Args:
        device: ask only for this; None: GPUs if there are any.

    Raises:
        ModelError: `cuda` is asked for and there is no NVIDIA GPU.
    """
    if device != "cpu":
        found, reason = _gpus()
        if found:
            return found
        if device == "cuda":
            raise ModelError(
                f"no NVIDIA GPU was found here ({reason}): install its driver, or say how much memory "
                "one has (--memory GB)"
            )
    main = psutil.virtual_memory()
    return [Memory("cpu", "main memory", main.total, main.available)]


def _gpus() -> tuple[list[Memory], str]:
    """The GPUs, or why none is known."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], "there is no nvidia-smi"
    try:
        done = subprocess.run(
            [program, *ASK], capture_output=True, text=True, timeout=ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], str(error)
    if done.returncode:
        return [], (done.stdout + done.stderr).strip() or f"nvidia-smi ended with status {done.returncode}"
    found = read_gpus(done.stdout)
    return found, "" if found else "nvidia-smi lists none with a memory of its own"


def read_gpus(table: str) -> list[Memory]:
    """Return the GPUs of `nvidia-smi`'s answer to `ASK`, the largest first.

    Args:
        table: a line for each, in MiB; those that share the main memory say `[N/A]` and are left out.
    """
    found = []
    for line in table.splitlines():
        name, uuid, *sizes = (field.strip() for field in line.rsplit(",", 3))
        if len(sizes) == 2 and all(size.isdigit() for size in sizes):
            total, free = (int(size) << 20 for size in sizes)
            found.append(Memory("cuda", name, total, free, uuid))
    return sorted(found, key=lambda gpu: -gpu.total)
