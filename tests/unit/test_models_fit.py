"""What fits a memory, by the published table of the family; and how the memory is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from lsp_server.cli import main
from lsp_server.models import export, machine, store
from lsp_server.models.catalog import CATALOG, DEFAULT, Device, Precision, entry
from lsp_server.models.fit import RESERVE, Fit, export_memory, fit, recommend

GB = 1_000_000_000


def everything(memory: int, device: Device) -> list[Fit]:
    return [fit(each, memory, device) for each in CATALOG]


@pytest.mark.parametrize(
    ("model_id", "int4", "fp16", "token_bytes"),
    [
        ("oci-ds-1.3b", 0.76, 2.69, 196_608),
        ("oci-ds-6.7b", 3.79, 13.48, 524_288),
        ("oci-ds-33b", 18.76, 66.69, 253_952),
        ("oci-cl-7b", 3.79, 13.48, 524_288),
        ("oci-cl-13b", 7.32, 26.03, 819_200),
        ("oci-cl-34b", 18.98, 67.49, 196_608),
        ("oci-cl-70b", 38.80, 137.95, 327_680),
        ("oci-gm-7b", 4.80, 17.08, 458_752),
        ("oci-sc2-3b", 1.79, 6.36, 30_720),
        ("oci-sc2-7b", 4.17, 14.80, 65_536),
        ("oci-sc2-15b", 8.98, 31.92, 81_920),
    ],
)
@pytest.mark.parametrize("precision", ["int4", "fp16"])
def test_weights_and_cache_are_those_of_the_table(
    model_id: str, int4: float, fp16: float, token_bytes: int, precision: str
) -> None:
    """With room for just so many tokens beside the table's weights, so many tokens is the answer."""
    weights = int4 if precision == "int4" else fp16
    # The table is rounded to 10 MB, a few dozen tokens of the largest cache.
    memory = RESERVE["cuda"] + int(weights * GB) + 3000 * token_bytes
    found = fit(entry(model_id), memory, "cuda")
    form = next(form for form in found.forms if form.precision == precision)
    assert found.token_bytes == token_bytes
    assert form.weights / GB == pytest.approx(weights, abs=0.01)
    assert form.context == pytest.approx(3000, abs=0.01 * GB / token_bytes + 1)


def test_a_context_is_never_longer_than_the_model_s() -> None:
    assert {each.entry.id: each.form("int4").context for each in everything(1000 * GB, "cuda")} == {
        each.id: each.context for each in CATALOG
    }


def test_weights_that_do_not_fit_leave_no_token_and_say_what_is_missing() -> None:
    form = fit(entry("oci-ds-6.7b"), 5 * GB, "cuda").form("int4")
    assert form.context == 0
    assert form.room == 5 * GB - RESERVE["cuda"] - form.weights < 0


def test_on_a_cpu_a_token_costs_twice_as_much_and_fp32_is_offered() -> None:
    known = entry("oci-ds-6.7b")
    gpu, cpu = (fit(known, 12 * GB, device) for device in ("cuda", "cpu"))
    assert cpu.token_bytes == 2 * gpu.token_bytes
    assert [form.precision for form in gpu.forms] == ["int4", "fp16"]
    assert [form.precision for form in cpu.forms] == ["int4", "int8", "fp32"]
    form = cpu.form("int4")
    assert form.context == (12 * GB - RESERVE["cpu"] - form.weights) // 1_048_576


def test_the_size_of_an_exported_model_is_truer_than_its_parameters() -> None:
    known = entry(DEFAULT)
    found = fit(known, 8 * GB, "cpu", {(DEFAULT, "int4"): 1_915_806_236})
    assert found.form("int4").weights == 1_915_806_236
    assert found.form("fp32").weights == known.weight_bytes("fp32")


@pytest.mark.parametrize(
    ("memory", "least", "chosen"),
    [
        (8, 4096, "oci-sc2-7b"),
        (12, 4096, "oci-sc2-15b"),
        (12, 12_496, "oci-sc2-7b"),
        (24, 4096, "oci-cl-34b"),
        (80, 4096, "oci-cl-70b"),
    ],
)
def test_on_a_gpu_the_largest_with_room_is_recommended(memory: int, least: int, chosen: str) -> None:
    best = recommend(everything(memory * GB, "cuda"), "cuda", least)
    assert best is not None
    assert (best.fit.entry.id, best.form.precision) == (chosen, "int4")
    assert best.form.context >= least
    assert str(least) in best.reason


def test_on_a_cpu_the_default_is_recommended_while_it_fits() -> None:
    assert [
        best and best.fit.entry.id
        for best in (
            recommend(everything(memory, "cpu"), "cpu") for memory in (64 * GB, int(3.7 * GB), 3 * GB)
        )
    ] == [DEFAULT, "qwen2.5-coder-0.5b-instruct", None]


def test_on_a_cpu_that_is_good_at_bytes_int8_is_recommended_where_it_has_room() -> None:
    roomy, tight = (recommend(everything(memory, "cpu"), "cpu", 4096, "int8") for memory in (8 * GB, 4 * GB))
    assert roomy is not None and tight is not None
    assert (roomy.form.precision, tight.form.precision) == ("int8", "int4")


def test_a_model_of_the_user_s_own_is_not_recommended() -> None:
    own = replace(entry("oci-sc2-3b"), id="mine", parameters=3.5e9, path="mine.gguf")
    best = recommend([fit(each, 6 * GB, "cuda") for each in (own, entry("oci-sc2-3b"))], "cuda")
    assert best is not None
    assert best.fit.entry.id == "oci-sc2-3b"


SMI = """\
0, NVIDIA GeForce RTX 3060, GPU-11111111-2222-3333-4444-555555555555, 12288, 11800, 8.6, 580.65.06
1, NVIDIA H200, GPU-66666666-7777-8888-9999-000000000000, 143771, 143167, 9.0, 580.65.06
2, NVIDIA GB10, GPU-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee, [N/A], [N/A], 12.1, 580.65.06
"""


def test_gpus_are_listed_the_largest_first_and_shared_memory_is_none() -> None:
    gpus = machine.read_gpus(SMI)
    assert [(gpu.name, gpu.total >> 20) for gpu in gpus] == [
        ("NVIDIA H200", 143_771),
        ("NVIDIA GeForce RTX 3060", 12_288),
    ]
    assert gpus[0].uuid == "GPU-66666666-7777-8888-9999-000000000000"


def program(folder: Path, text: str, status: int = 0) -> None:
    """Put an nvidia-smi into a folder, for machines that have none."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\nexit {status}\n")
    path.chmod(0o755)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on PATH, on a machine without models."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv(store.HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path


def main_memory(monkeypatch: pytest.MonkeyPatch, gigabytes: int) -> None:
    size = SimpleNamespace(total=gigabytes * GB, available=gigabytes * GB)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: size)


def test_a_model_that_cannot_be_exported_here_is_not_recommended(
    bare: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program(bare, "0, NVIDIA RTX 4090, GPU-1, 24564, 24000, 8.9, 580.65.06\n")
    main_memory(monkeypatch, 32)
    assert main(["model", "fit"]) == 0
    said = capsys.readouterr().out
    assert "Recommended: oci-sc2-7b at int4" in said
    assert "and can be exported in this machine's main memory" in said
    assert main(["model", "fit", "--json"]) == 0
    models = {each["id"]: each for each in json.loads(capsys.readouterr().out)["models"]}
    assert not models["oci-cl-34b"]["exportable"]
    assert models["oci-ds-6.7b"]["exportable"]
    # What is exported already can be run.
    folder = store.onnx_dir("oci-cl-34b", "int4", "cuda")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"precision": "int4", "device": "cuda"}')
    assert main(["model", "fit"]) == 0
    assert "Recommended: oci-cl-34b at int4" in capsys.readouterr().out
    main_memory(monkeypatch, 1)
    store.remove("oci-cl-34b")
    assert main(["model", "fit"]) == 0
    assert "None has room for 4096 tokens and can be exported in" in capsys.readouterr().out


def test_the_command_takes_the_largest_gpu_and_says_how_to_name_it(
    bare: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program(bare, SMI)
    main_memory(monkeypatch, 512)
    assert main(["model", "fit"]) == 0
    said = capsys.readouterr().out
    assert "NVIDIA GeForce RTX 3060: 12.9 GB" in said
    assert "CUDA_VISIBLE_DEVICES=GPU-66666666-7777-8888-9999-000000000000" in said
    assert "Recommended: oci-cl-70b at int4, 16384 tokens" in said
    assert "oci-companion model export oci-cl-70b --device cuda" in said


def test_a_driver_that_does_not_answer_leaves_the_cpu(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(bare, "Failed to initialize NVML: Driver/library version mismatch\n", status=18)
    assert main(["model", "fit", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["device"] == "cpu"
    assert main(["model", "fit", "--device", "cuda"]) == 2
    assert "Driver/library version mismatch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("capability", "driver", "said"),
    [
        ("6.1", "580.65.06", "compute capability 6.1, and CUDA 13 takes 7.5 or later"),
        ("8.6", "550.120", "driver 550.120, and CUDA 13 takes 580 or later: update it"),
    ],
)
def test_a_gpu_that_the_runtime_cannot_use_leaves_the_cpu(
    bare: Path, capsys: pytest.CaptureFixture[str], capability: str, driver: str, said: str
) -> None:
    program(bare, f"0, NVIDIA GeForce, GPU-1, 12288, 11800, {capability}, {driver}\n")
    assert main(["model", "fit", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "cpu"
    assert said in found["no_gpu"]
    assert main(["model", "fit"]) == 0
    assert capsys.readouterr().out.startswith(f"No GPU is used: NVIDIA GeForce has {said}")
    assert main(["model", "fit", "--device", "cuda"]) == 2
    assert said in capsys.readouterr().err


def test_a_driver_that_is_too_old_for_the_question_is_told_to_be(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(bare, 'Field "compute_cap" is not a valid field to query.\n', status=2)
    assert main(["model", "fit"]) == 0
    assert "NVIDIA's driver is too old: CUDA 13 takes 580 or later" in capsys.readouterr().out


def test_a_given_memory_asks_nothing_of_the_machine(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "fit", "--memory", "12", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["device"], found["memory"], found["reserve"]) == ("cuda", 12 * GB, RESERVE["cuda"])
    assert len(found["models"]) == len(CATALOG)
    assert found["recommended"]["id"] == "oci-sc2-15b"
    assert main(["model", "fit", "--memory", "1"]) == 0
    assert "None has room for 4096 tokens" in capsys.readouterr().out
    assert main(["model", "fit", "--memory", "-1"]) == 2


@pytest.mark.parametrize("device", get_args(Device))
@pytest.mark.parametrize("precision", get_args(Precision))
def test_every_form_that_is_made_by_way_of_pytorch_says_what_memory_it_takes(
    precision: Precision, device: Device
) -> None:
    known = entry("oci-ds-6.7b")
    try:
        export._need_form("builder", Path("weights"), False, precision, device)
    except store.ModelError as error:
        assert (precision, device) in {("int8", "cpu"), ("int8", "cuda"), ("fp32", "cuda")}, error
    else:
        assert export_memory(known, precision, device) > known.weight_bytes("fp16")
