"""Servers that are not ours, running while a test needs them."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest


def free_port() -> int:
    """Return a TCP port of loopback that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(
    command: Sequence[str],
    endpoint: str,
    log: Path,
    seconds: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a server from when it answers until it is not needed; the test fails if it does not answer.

    Args:
        command: that starts it in the foreground.
        endpoint: its address, up to and with `/v1`.
        log: gets what it prints.
        seconds: that it may take.
        cwd, env: of the process.
    """
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=cwd, env=env
        )
    try:
        deadline = time.monotonic() + seconds
        while not _answers(endpoint):
            if time.monotonic() > deadline or process.poll() is not None:
                pytest.fail(f"{command[0]} does not answer:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(endpoint: str) -> bool:
    try:
        httpx.get(f"{endpoint}/models", trust_env=False)
    except httpx.TransportError:
        return False
    return True
