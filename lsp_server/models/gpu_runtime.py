"""The runtime for NVIDIA GPUs: laid over the companion's own, which is for CPUs, in the process that runs a model."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from . import export_env

RUNTIME = export_env.Environment(
    "the runtime for NVIDIA GPUs, 2.4 GB",
    "cuda-env",
    6 << 30,
    packages=(),
    # Without what they ask for: that is the companion's own, which goes on serving them.
    alone=(
        "onnxruntime-gpu==1.31.1",
        "onnxruntime-genai-cuda==0.18.0",
        "nvidia-cublas==13.10.0.20",
        "nvidia-cuda-nvrtc==13.5.37",
        "nvidia-cuda-runtime==13.5.37",
        "nvidia-cudnn-cu13==9.28.1.4",
        "nvidia-cufft==12.5.0.14",
        "nvidia-curand==10.4.5.25",
        "nvidia-nvjitlink==13.5.37",
    ),
)
"""The CPU's packages have the same files as the GPU's and cannot lie in one environment with them; and these take 2.4 GB,
which nobody without a GPU should have to download."""


def folder() -> Path | None:
    """Where the packages lie, to be put in front of Python's path; None: they are not here."""
    python = export_env.made(RUNTIME)
    return packages_of(python) if python else None


def packages_of(python: Path) -> Path:
    """Where an environment of `export_env` has its packages.

    Args:
        python: the environment's.
    """
    base = str(python.parent.parent)
    return Path(sysconfig.get_path("purelib", "venv", {"base": base, "platbase": base}))
