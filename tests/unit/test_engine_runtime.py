"""Which form of a model is run, on machines with and without a GPU; nvidia-smi is a stand-in, nothing is loaded."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest

from lsp_server import doctor
from lsp_server.engine import runtime
from lsp_server.engine.protocol import EngineError
from lsp_server.models import export_env, gpu_runtime, store
from lsp_server.models.catalog import Device

MODEL = "oci-ds-6.7b"
GPUS = (
    "0, NVIDIA GeForce RTX 3060, GPU-1111, 12288, 11800, 8.6, 580.65.06\n"
    "1, NVIDIA H200, GPU-6666, 143771, 143167, 9.0, 580.65.06\n"
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without models, whose nvidia-smi, if any, lies in this folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(store.HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.delenv(runtime.VISIBLE, raising=False)
    return tmp_path


def gpus(machine: Path, table: str = GPUS) -> None:
    program = machine / "nvidia-smi"
    program.write_text(f"#!{sys.executable} -I\nprint({table!r}, end='')\n")
    program.chmod(0o755)


def runtime_here() -> Path:
    """An environment with no packages."""
    folder = export_env._folder(gpu_runtime.RUNTIME)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / export_env.MARKER).write_text(json.dumps({"python": export_env.ABI}))
    found = gpu_runtime.folder()
    assert found is not None
    return found


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


@pytest.mark.parametrize(
    ("visible", "name"),
    [
        ("GPU-1111", "NVIDIA GeForce RTX 3060"),
        ("0", "NVIDIA GeForce RTX 3060"),
        ("0,1", "NVIDIA GeForce RTX 3060"),
        ("1", "NVIDIA H200"),
    ],
)
def test_the_gpu_that_the_user_names_is_taken(
    machine: Path, monkeypatch: pytest.MonkeyPatch, visible: str, name: str
) -> None:
    gpus(machine)
    runtime_here()
    monkeypatch.setenv(runtime.VISIBLE, visible)
    assert runtime.choose(exported("cuda")).memory.name == name


@pytest.mark.parametrize(
    ("table", "installed", "visible", "reason"),
    [
        (None, True, None, "there is no nvidia-smi, which comes with NVIDIA's driver"),
        (GPUS, False, None, f"run `oci-companion model export {MODEL} --device cuda`"),
        (GPUS, True, "-1", "CUDA_VISIBLE_DEVICES hides every GPU"),
        (GPUS, True, "MIG-abc", "CUDA_VISIBLE_DEVICES is MIG-abc, which names no GPU"),
        (GPUS, True, "7", "CUDA_VISIBLE_DEVICES is 7, which names no GPU"),
        ("0, GTX 1080, GPU-2, 8192, 8000, 6.1, 580.1\n", True, None, "compute capability 6.1"),
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
    finding = doctor._form(preferred)
    assert not finding.ok
    assert reason in finding.what
    assert finding.remedy == f"oci-companion model export {MODEL}"
    with pytest.raises(EngineError) as caught:
        runtime.choose(preferred)
    assert reason in str(caught.value)
    assert str(caught.value).endswith(f"`oci-companion model export {MODEL}`")

    exported("cpu")
    choice = runtime.choose(preferred)
    assert (choice.form.device, choice.memory.device) == ("cpu", "cpu")
    assert reason in choice.passed_over

    finding = doctor._form(preferred)
    assert finding.ok
    assert "int4 on cpu" in finding.what
    assert reason in finding.what


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


def test_packages_that_cannot_be_loaded_are_taken_off_the_path_again(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(machine)
    packages = runtime_here()
    (packages / "onnxruntime").mkdir(parents=True)
    (packages / "onnxruntime" / "__init__.py").write_text("import onnxruntime.missing")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv(runtime.VISIBLE, "GPU-6666")  # so that what is set is taken back
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnxruntime"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(EngineError, match=r"the runtime for NVIDIA GPUs cannot be loaded: .*missing"):
        runtime.prepare(runtime.choose(exported("cuda")))
    assert str(packages) not in sys.path
    assert "onnxruntime" not in sys.modules


def test_an_environment_of_another_python_is_kept_one_of_older_versions_is_not(machine: Path) -> None:
    """Two editors may have companions of their own."""
    here = runtime_here().parents[2]
    other, older, dangling = (here.with_name(name) for name in ("other", "older", "dangling"))
    for folder, kind in ((other, "another"), (older, export_env.ABI), (dangling, "another")):
        (folder / "bin").mkdir(parents=True)
        (folder / export_env.MARKER).write_text(json.dumps({"python": kind}))
        (folder / "bin" / "python").symlink_to("/nowhere" if folder == dangling else sys.executable)
    export_env._clear_out(here)
    assert [each.name for each in here.parent.iterdir()] == ["other"]


def test_the_gpus_runtime_is_of_the_versions_of_the_companions_own() -> None:
    """It is laid over the CPU's, whose dependencies it uses."""
    pins = dict(pin.split("==") for pin in gpu_runtime.RUNTIME.pins)
    for gpus_package, own in (
        ("onnxruntime-gpu", "onnxruntime"),
        ("onnxruntime-genai-cuda", "onnxruntime-genai"),
    ):
        assert pins[gpus_package] == importlib.metadata.version(own)
