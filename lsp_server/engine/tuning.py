"""How many n-gram drafts a pass should verify on this machine: measured once, then remembered."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lsp_server.models import store

WIDTHS = (0, 2, 4, 7)
"""Drafts a pass that are tried; the head of our own graphs is computed for one more than the largest."""
ACCEPTANCE = 0.8
"""How often a draft is right in a repair, which mostly copies its input (0.87 to 0.95 measured; new code less)."""
TRIES = 5
PROMPT = 32
"""Tokens in front, so that attention has something to do."""


def drafts(form: store.Installed, threads: int, gpu: str, make_generator: Any) -> int:
    """The best number of drafts for an exported model on this machine; takes a few seconds the first time.

    Args:
        form: the exported model.
        threads: that it runs on, on a CPU.
        gpu: name of the GPU that it runs on; empty on a CPU.
        make_generator: makes a generator of the runtime for so many tokens.
    """
    record_file = store.home() / "tuning.json"
    built = (form.path / "manifest.json").stat().st_mtime_ns
    where = gpu or f"{_processor()}, {threads} threads"
    key = f"{form.model_id} {form.path.name} {built}: {where}"
    record = _read(record_file)
    if key not in record:
        seconds = measure(make_generator(PROMPT + max(WIDTHS) + 2))
        record[key] = {"drafts": best(seconds), "seconds": seconds}
        record_file.write_text(json.dumps(record, indent=2), encoding="utf-8")
    return int(record[key]["drafts"])


def measure(generator: Any) -> dict[int, float]:
    """Time one pass over so many drafts and one more token, for each of `WIDTHS`; seconds, the fastest of some tries.

    Args:
        generator: of the runtime, empty.
    """
    generator.append_tokens(np.arange(PROMPT, dtype=np.int32))
    seconds = dict.fromkeys(WIDTHS, float("inf"))
    for _ in range(TRIES):
        # Each width in each try, so that another program's moment of work does not fall on one alone.
        for width in WIDTHS:
            generator.rewind_to(PROMPT)
            started = time.perf_counter()
            # The session computes no token in a pass of its own.
            generator.append_tokens(np.arange(max(2, width + 1), dtype=np.int32))
            # The session reads them, too; and a GPU has them only once it is done.
            generator.get_output("logits")
            seconds[width] = min(seconds[width], time.perf_counter() - started)
    return seconds


def best(seconds: Mapping[int, float]) -> int:
    """The number of drafts that gives most tokens a second.

    Args:
        seconds: of a pass, by drafts (`measure`). With a share p of drafts right, a pass of w drafts gives
            (1 - p^(w+1)) / (1 - p) tokens (Leviathan et al., 2023).
    """
    return max(seconds, key=lambda w: (1 - ACCEPTANCE ** (w + 1)) / (1 - ACCEPTANCE) / seconds[w])


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
