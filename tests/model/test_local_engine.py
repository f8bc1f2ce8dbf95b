"""The server process with the real default model: found, shared, killed, left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from lsp_server.engine import runfile
from lsp_server.engine.client import HttpEngine, Refused
from lsp_server.engine.protocol import Message, Sampling
from lsp_server.engine.supervise import LocalEngine
from lsp_server.models import catalog

COUNT = [Message("user", "Count from one to forty in words, separated by commas.")]


LIMIT_SECONDS = 40.0
"""Far more than any of it takes on a busy machine, far less than what is broken off would take on a quiet one."""


def wait_for(engine: LocalEngine, state: str) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while engine.status().state != state:
        assert time.monotonic() < deadline, f"{engine.status().state}, not {state}"
        time.sleep(0.05)


def test_the_server_is_started_once_shared_and_for_this_user_only(own_home: Path) -> None:
    engines = [LocalEngine(catalog.DEFAULT) for _ in range(3)]
    assert engines[0].status().state == "stopped"
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda engine: engine.ensure(), engines))
    assert len({running.pid for running in found}) == 1
    running = found[0]
    path = own_home / "run" / f"{catalog.DEFAULT}.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for token in ("", "wrong"):
        with pytest.raises(Refused, match="token"):
            list(HttpEngine(running.endpoint, token).stream(COUNT, Sampling(), threading.Event()))
    health = httpx.get(f"http://127.0.0.1:{running.port}/health", trust_env=False)
    assert health.status_code == 401
    assert engines[0].stop()
    assert engines[0].status().state == "stopped"
    assert not path.exists()


def test_a_server_killed_in_mid_request_is_replaced_and_the_reply_goes_on(own_home: Path) -> None:
    notices: list[str] = []
    engine = LocalEngine(catalog.DEFAULT, notice=notices.append)
    short = Sampling(max_tokens=24)
    expected = "".join(engine.stream(COUNT, short, threading.Event()))
    before = engine.status().pid
    got = ""
    for number, piece in enumerate(engine.stream(COUNT, short, threading.Event())):
        got += piece
        if number == 3:
            assert before is not None
            os.kill(before, signal.SIGKILL)
    assert got == expected
    assert engine.status().pid != before
    assert any("ended unexpectedly" in notice for notice in notices)


def test_leaving_stops_the_decoding(own_home: Path) -> None:
    engine = LocalEngine(catalog.DEFAULT)
    engine.ensure()
    cancel = threading.Event()
    pieces = engine.stream(COUNT, Sampling(max_tokens=4000), cancel)
    next(pieces)
    wait_for(engine, "busy")
    cancel.set()
    assert list(pieces) == []
    wait_for(engine, "ready")

    long = [Message("user", "x = 1\n" * 1500)]
    cancel = threading.Event()
    threading.Timer(1.0, cancel.set).start()
    assert list(engine.stream(long, Sampling(), cancel)) == []
    wait_for(engine, "ready")


def test_an_idle_server_ends_and_gives_its_memory_back(own_home: Path) -> None:
    engine = LocalEngine(catalog.DEFAULT, idle_seconds=1.0)
    engine.ensure()
    wait_for(engine, "stopped")
    deadline = time.monotonic() + LIMIT_SECONDS
    while runfile.read(catalog.DEFAULT) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_health_answers_while_the_model_loads(own_home: Path) -> None:
    server = subprocess.Popen([sys.executable, "-m", "lsp_server.engine.serve", "--model", catalog.DEFAULT])
    try:
        engine = LocalEngine(catalog.DEFAULT)
        wait_for(engine, "loading")
        engine.ensure()
        assert engine.status().pid == server.pid
    finally:
        server.terminate()
        server.wait(LIMIT_SECONDS)
