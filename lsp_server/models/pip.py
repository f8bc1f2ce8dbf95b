"""Run an interpreter's pip, which honours the user's index, proxy and certificates."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

from .store import ModelError
from .transfer import check_cancel


class PipFailed(ModelError):
    """pip ended with an error; the message is the end of what it said."""


def run_pip(python: Path, arguments: list[str], cancel: threading.Event) -> str:
    """Run pip to its end and return its standard output.

    Args:
        python: whose pip it is.
        arguments: pip's subcommand and what follows.
        cancel: when set, pip and its children are killed.

    Raises:
        PipFailed: it ended with an error.
        Cancelled: `cancel` was set.
    """
    command = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as pip:
        try:
            while True:
                try:
                    output, errors = pip.communicate(timeout=0.2)
                    break
                except subprocess.TimeoutExpired:
                    check_cancel(cancel)
        except BaseException:
            os.killpg(pip.pid, signal.SIGKILL)
            raise
    if pip.returncode != 0:
        raise PipFailed(
            "\n".join(errors.strip().splitlines()[-3:]) or f"pip ended with status {pip.returncode}"
        )
    return output
