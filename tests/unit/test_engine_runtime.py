"""Which form of a model is run, on machines with and without a GPU; nvidia-smi is a stand-in, nothing is loaded."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from lsp_server import doctor
from lsp_server.engine import runtime
from lsp_server.engine.protocol import EngineError
from lsp_server.models import export_env, gpu_runtime, store
from lsp_server.models.catalog import Device

MODEL = "oci-ds-6.7b"
GPUS = (
    "NVIDIA GeForce RTX 3060, GPU-1111, 12288, 11800, 8.6, 580.65.06\n"
    "NVIDIA H200, GPU-6666, 143771, 143167, 9.0, 580.65.06\n"
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without models, whose nvidia-smi, if any, lies in this folder."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv(store.HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.delenv(runtime.VISIBLE, raising=False)
    return tmp_path


def gpus(machine: Path, table: str = GPUS) -> None:
    program = machine / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{table}END\n")
    program.chmod(0o755)


def runtime_here() -> None:
    folder = export_env._folder(gpu_runtime.RUNTIME)
    folder.mkdir(parents=True)
    (folder / export_env.MARKER).write_text("{}")


def exported(device: Device) -> store.Installed:
    folder = store.onnx_dir(MODEL, "int4", device)
    folder.mkdir(parents=True)
    manifest = {"precision": "int4", "device": device}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = store.find(MODEL)
    assert found is not None
    return found


def test_with_a_gpu_and_its_runtime_the_largest_gpu_is_taken(machine: Path) -> None:
    gpus(machine)
    runtime_here()
    exported("cpu")
    choice = runtime.choose(exported("cuda"))
    assert (choice.form.device, choice.memory.name, choice.passed_over) == ("cuda", "NVIDIA H200", "")


def test_the_gpu_that_the_user_names_is_taken(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(machine)
    runtime_here()
    monkeypatch.setenv(runtime.VISIBLE, "GPU-1111")
    assert runtime.choose(exported("cuda")).memory.name == "NVIDIA GeForce RTX 3060"


@pytest.mark.parametrize(
    ("table", "installed", "visible", "reason"),
    [
        (None, True, None, "there is no nvidia-smi, which comes with NVIDIA's driver"),
        (GPUS, False, None, f"run `oci-companion model export {MODEL} --device cuda`"),
        (GPUS, True, "-1", "CUDA_VISIBLE_DEVICES hides every GPU"),
        ("GTX 1080, GPU-2, 8192, 8000, 6.1, 580.1\n", True, None, "compute capability 6.1"),
    ],
)
def test_without_one_the_form_for_the_cpu_is_taken_and_it_is_said_why(
    machine: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: str | None,
    installed: bool,
    visible: str | None,
    reason: str,
) -> None:
    if table is not None:
        gpus(machine, table)
    if installed:
        runtime_here()
    if visible is not None:
        monkeypatch.setenv(runtime.VISIBLE, visible)
    preferred = exported("cuda")
    with pytest.raises(EngineError) as caught:
        runtime.choose(preferred)
    assert reason in str(caught.value)
    assert str(caught.value).endswith(f"`oci-companion model export {MODEL}`")

    exported("cpu")
    choice = runtime.choose(preferred)
    assert (choice.form.device, choice.memory.device) == ("cpu", "cpu")
    assert reason in choice.passed_over

    finding = next(each for each in doctor.examine(machine, MODEL) if each.what.startswith("model:"))
    assert not finding.ok
    assert "int4 on cpu" in finding.what
    assert reason in finding.remedy


def test_only_a_gpus_form_has_another_in_its_place(machine: Path) -> None:
    gpus(machine)
    runtime_here()
    on_gpu = runtime.choose(exported("cuda"))
    assert runtime.instead(on_gpu, "broken") is None
    exported("cpu")
    on_cpu = runtime.instead(on_gpu, "broken")
    assert on_cpu is not None
    assert (on_cpu.form.device, on_cpu.passed_over) == ("cpu", "broken")
    assert runtime.instead(on_cpu, "broken") is None


def test_the_gpus_runtime_is_of_the_versions_of_the_companions_own() -> None:
    """It is laid over the CPU's, whose dependencies it uses."""
    pins = dict(pin.split("==") for pin in gpu_runtime.RUNTIME.pins)
    for gpus_package, own in (
        ("onnxruntime-gpu", "onnxruntime"),
        ("onnxruntime-genai-cuda", "onnxruntime-genai"),
    ):
        assert pins[gpus_package] == importlib.metadata.version(own)
