"""What the exporter makes of each family equals PyTorch, and its check notices when it does not."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from lsp_server.models import export, export_env, store

SCRIPT = Path(__file__).with_name("tiny_families.py")


@pytest.fixture(scope="module")
def python() -> Path:
    """The export environment's python; made if it is not there (a minute)."""
    return export_env.ensure(lambda step: None, threading.Event())


def figures(python: Path, family: str, work: Path, *options: str) -> dict[str, Any]:
    command = [str(python), "-I", str(SCRIPT), str(export.EXPORTER), family, str(work), *options]
    env = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("family", ["ds", "cl", "gm", "sc2"])
def test_every_family_equals_pytorch(python: Path, tmp_path: Path, family: str) -> None:
    found = figures(python, family, tmp_path)
    assert "error" not in found, found
    assert found["structure"]["near"] < 1e-4
    assert found["structure"]["far"] < 1e-4
    assert found["agreement"]["top1"] > 0.99


def test_a_dropped_rotary_factor_is_noticed(python: Path, tmp_path: Path) -> None:
    found = figures(python, "ds", tmp_path, "--as-builder-is")
    assert found["error"].startswith("ParityError: the exported graph differs from PyTorch")


def test_the_default_model_came_with_its_figures(default_model: store.Installed) -> None:
    parity = default_model.manifest["parity"]
    assert parity["structure"]["near"] < 5e-4
    assert parity["structure"]["far"] < 5e-4
    assert parity["agreement"]["top1"] >= 0.85
