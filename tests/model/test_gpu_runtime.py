"""The real runtime for NVIDIA GPUs in the engine's process; where there is a GPU, `test_parity` runs models on it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lsp_server.engine import runtime, supervise
from lsp_server.engine.protocol import EngineError, Message, Sampling
from lsp_server.models import catalog, export_env, gpu_runtime, store

ASK = [Message("user", "Count from one to forty in words, separated by commas.")]
SHORT = Sampling(max_tokens=24)
GPU = "0, NVIDIA Stand-in, GPU-0000, 24576, 24000, 8.6, 580.65.06"


@pytest.fixture(scope="module")
def packages() -> Path:
    """Where the runtime's own packages lie: without NVIDIA's libraries, gigabytes that take a GPU to do anything."""
    needed = tuple(pin for pin in gpu_runtime.RUNTIME.alone if pin.startswith("onnxruntime"))
    part = dataclasses.replace(gpu_runtime.RUNTIME, folder="cuda-env-part", disk=2 << 30, alone=needed)
    return export_env.ensure(part, print, threading.Event()).parent.parent


@pytest.fixture
def on_a_gpu(
    packages: Path,
    default_model: store.Installed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """A home with the runtime, and the default model exported for a GPU that only nvidia-smi knows of."""
    home = tmp_path / "home"
    monkeypatch.setenv(store.HOME_VARIABLE, str(home))
    there = export_env._folder(gpu_runtime.RUNTIME)
    there.parent.mkdir(parents=True)
    there.symlink_to(packages)
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{GPU}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in (
        runtime.VISIBLE,
        "ORT_DISABLE_TELEMETRY",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    user = tmp_path / "user"
    user.mkdir()
    monkeypatch.setenv("HOME", str(user))
    folder = store.onnx_dir(catalog.DEFAULT, default_model.precision, "cuda")
    folder.mkdir(parents=True)
    for file in default_model.path.iterdir():
        (folder / file.name).symlink_to(file)
    change(folder / "manifest.json", lambda manifest: manifest.update(device="cuda"))
    change(
        folder / "genai_config.json",
        lambda config: config["model"]["decoder"]["session_options"].update(provider_options=[{"cuda": {}}]),
    )
    yield home
    supervise.stop(catalog.DEFAULT)


def change(file: Path, how: Callable[[dict[str, Any]], object]) -> None:
    """Put a changed file in the place of a link to it."""
    content = json.loads(file.read_text(encoding="utf-8"))
    how(content)
    file.unlink()
    file.write_text(json.dumps(content), encoding="utf-8")


def reply(engine: supervise.LocalEngine) -> str:
    return "".join(engine.stream(ASK, SHORT, threading.Event()))


def loaded(engine: supervise.LocalEngine) -> set[str]:
    """The environments whose runtime the engine's process has in memory."""
    files = [line.split()[-1] for line in Path(f"/proc/{engine.status().pid}/maps").read_text().splitlines()]
    return {file.partition("/lib/python")[0] for file in files if "/onnxruntime" in file}


def test_a_gpu_that_cannot_be_used_is_told_of_with_what_to_do(on_a_gpu: Path) -> None:
    """CUDA's own word for it: its libraries, or the driver, are not there."""
    engine = supervise.LocalEngine(catalog.DEFAULT)
    with pytest.raises(EngineError, match=r"could not be loaded: (Cuda|CUDA)") as caught:
        reply(engine)
    assert "Log:" in str(caught.value)


def test_then_the_form_for_the_cpu_is_run_and_it_is_said_why(
    on_a_gpu: Path, packages: Path, default_model: store.Installed
) -> None:
    models = store.model_dir(catalog.DEFAULT)
    (models / default_model.path.name).symlink_to(default_model.path)
    notices: list[str] = []
    engine = supervise.LocalEngine(catalog.DEFAULT, notice=notices.append)
    on_gpus_runtime = reply(engine)
    assert engine.status().device == "cpu"
    assert any(f"{catalog.DEFAULT} runs on the CPU: " in notice and "uda" in notice for notice in notices)
    # Nothing of the companion's own was loaded beside it.
    assert loaded(engine) == {str(packages)}
    supervise.stop(catalog.DEFAULT)

    shutil.rmtree(store.onnx_dir(catalog.DEFAULT, default_model.precision, "cuda"))
    assert reply(engine) == on_gpus_runtime
    assert loaded(engine) == {sys.prefix}
    # Neither has left a device id or a database.
    assert not list((on_a_gpu.parent / "user").iterdir())
