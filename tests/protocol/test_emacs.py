"""Emacs's own LSP client, eglot, in a batch: save, diagnostics, code action, edit; cancelled; changed meanwhile."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.endpoint import Endpoint
from tests.protocol.model import local_model

SCRIPT = Path(__file__).parent / "emacs" / "session.el"


INSTALL = "apt-get install --yes --no-install-recommends emacs-nox elpa-eglot"


@pytest.fixture(scope="module")
def emacs() -> str:
    """The program with eglot, which Debian has; it is installed where that can be done."""
    if not _has_eglot() and os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing Debian's Emacs.", flush=True)
        for command in ("apt-get update --quiet --quiet", f"{INSTALL} --quiet --quiet"):
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(shlex.split(command), check=False, env=quiet, stdout=subprocess.DEVNULL)
    if not _has_eglot():
        pytest.fail(f"Emacs with eglot is not installed: {INSTALL}")
    return "emacs"


def _has_eglot() -> bool:
    command = ["emacs", "--batch", "-q", "--eval", "(progn (package-initialize) (require 'eglot))"]
    return shutil.which("emacs") is not None and not subprocess.run(command, capture_output=True).returncode


def run(emacs: str, scenario: str, project: Path, settings: dict[str, Any]) -> None:
    """Run one scenario of the script, and show what it printed."""
    environment = {
        **os.environ,
        "OCI_PYTHON": sys.executable,
        "OCI_PROJECT": str(project),
        "OCI_SCENARIO": scenario,
        "OCI_SETTINGS": json.dumps(settings),
    }
    command = [emacs, "--batch", "-q", "-l", str(SCRIPT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok the server has ended" in done.stdout


def test_saved_shown_repaired_saved_and_no_longer_shown(
    emacs: str, project: Path, settings: dict[str, Any]
) -> None:
    run(emacs, "save", project, {**settings, "endpoint": "", "model": local_model()})


def test_cancelled_in_the_middle(
    emacs: str, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.replies, endpoint.pause = ["word " * 2000], 0.02
    run(emacs, "cancel", project, settings)
    assert endpoint.broken_off.wait(30)


def test_buffer_changed_in_the_middle(
    emacs: str, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.pause = 0.3
    run(emacs, "changed", project, settings)
