"""What the builder's exporter makes of each family equals PyTorch, and both checks notice when it does not."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_replies
import onnx
import pytest
from replies import for_the_cpu, logits_along, reply, shortfalls

from lsp_server.models import export, export_env, gpu_runtime, machine, store

SCRIPT = Path(__file__).with_name("tiny_families.py")
FAMILIES = ["ds", "cl", "gm", "sc2"]
CONTEXT, ORIGINAL_REACH, WINDOW, REPLY = 1024, 256, 256, 64
FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


@dataclass(frozen=True)
class Exports:
    """A tiny model of one family in every form."""

    family: str
    work: Path
    found: dict[str, Any]
    """The exporter's figures of each form, and `greedy`: PyTorch's replies to two prompts."""

    def folder(self, form: str) -> Path:
        return self.work / form / "onnx"

    def graph(self, form: str) -> onnx.GraphProto:
        return onnx.load(self.folder(form) / "model.onnx", load_external_data=False).graph


@pytest.fixture(scope="module")
def python() -> Path:
    """The export environment's python; made if it is not there (a minute)."""
    return export_env.ensure(export_env.BUILDER, lambda step: None, threading.Event())


def run(python: Path, family: str, work: Path, *options: str) -> Exports:
    command = [str(python), "-I", str(SCRIPT), str(export.EXPORTER), family, str(work), *options]
    env = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return Exports(family, work, json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module", params=FAMILIES)
def exports(
    request: pytest.FixtureRequest, python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Exports:
    return run(python, request.param, tmp_path_factory.mktemp(request.param))


def assert_near(exports: Exports, theirs: dict[str, list[int]], ours: list[int]) -> None:
    """Each of 64 tokens is PyTorch's choice at that place, or nearly as likely; the fp32 form stands in for PyTorch."""
    assert len(ours) == REPLY
    behind = shortfalls(logits_along(exports.folder("fp32-cpu"), theirs["prompt"], ours), ours)
    assert behind.max() < 0.1
    assert (behind == 0).mean() > 0.75


def test_every_family_equals_pytorch(exports: Exports) -> None:
    found = exports.found["fp32-cpu"]
    assert "error" not in found, found
    assert found["structure"]["near"] < 1e-4
    assert found["structure"]["far"] < 1e-4
    assert found["structure"]["far_position"] > max(ORIGINAL_REACH, WINDOW)
    assert found["agreement"]["top1"] > 0.99
    assert found["agreement"]["kl"] < 1e-5


def test_at_four_bits_only_the_rounding_of_activations_is_left(exports: Exports) -> None:
    # The tiny models' weights lose nothing at four bits; the kernels take activations as int8.
    found = exports.found["int4-cpu"]
    assert "error" not in found, found
    assert found["agreement"]["top1"] > 0.85
    assert found["agreement"]["kl"] < 0.05


@pytest.mark.parametrize("prompt", ["near", "far"])
def test_greedy_replies_are_pytorchs_token_for_token(exports: Exports, prompt: str) -> None:
    theirs = exports.found["greedy"][prompt]
    assert len(theirs["tokens"]) == REPLY
    assert prompt == "near" or len(theirs["prompt"]) > max(ORIGINAL_REACH, WINDOW)
    assert reply(exports.folder("fp32-cpu"), theirs["prompt"], REPLY, CONTEXT) == theirs["tokens"]


@pytest.mark.parametrize("prompt", ["near", "far"])
def test_greedy_replies_at_four_bits_are_pytorchs_but_for_near_ties(exports: Exports, prompt: str) -> None:
    theirs = exports.found["greedy"][prompt]
    ours = reply(exports.folder("int4-cpu"), theirs["prompt"], REPLY, CONTEXT)
    assert_near(exports, theirs, ours)


@pytest.mark.parametrize("form", ["fp16-cuda", "int4-cuda"])
def test_the_forms_for_cuda_are_built_and_compared_without_a_gpu(exports: Exports, form: str) -> None:
    found = exports.found[form]
    assert "error" not in found, found
    assert found["agreement"]["top1"] > 0.98
    assert found["agreement"]["kl"] < 2e-3
    graph, reference = exports.graph(form), exports.graph("fp32-cpu")
    kinds, plain = (Counter(node.op_type for node in each.node) for each in (graph, reference))
    if form == "int4-cuda":
        assert kinds["MatMulNBits"] == plain["MatMul"]
        assert kinds["MatMul"] == 0
    else:
        assert kinds == plain
    assert kinds["GroupQueryAttention"] == 3
    types = {each.name: each.type.tensor_type.elem_type for each in [*graph.input, *graph.output]}
    assert types.pop("input_ids") == types.pop("attention_mask") == onnx.TensorProto.INT64
    assert set(types.values()) == {FLOAT16}
    assert {name.partition(".")[0] for name in types} == {"past_key_values", "present", "logits"}
    config = json.loads((exports.folder(form) / "genai_config.json").read_text(encoding="utf-8"))["model"]
    assert [list(each) for each in config["decoder"]["session_options"]["provider_options"]] == [["cuda"]]
    assert config["type"] in ("llama", "gemma")


def test_the_window_and_the_heads_are_in_the_graph(exports: Exports) -> None:
    for form in ("fp32-cpu", "int4-cpu", "fp16-cuda", "int4-cuda"):
        nodes = [node for node in exports.graph(form).node if node.op_type == "GroupQueryAttention"]
        for node in nodes:
            attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            assert (attributes["num_heads"], attributes["kv_num_heads"]) == (4, 2)
            window = WINDOW if exports.family == "sc2" else -1
            assert attributes.get("local_window_size", -1) == window


@pytest.mark.parametrize("prompt", ["near", "far"])
@pytest.mark.parametrize("form", ["fp16-cuda", "int4-cuda"])
def test_the_forms_for_cuda_reply_as_pytorch_does_on_the_cpus_kernels(
    exports: Exports, form: str, prompt: str, tmp_path: Path
) -> None:
    theirs = exports.found["greedy"][prompt]
    ours = reply(for_the_cpu(exports.folder(form), tmp_path), theirs["prompt"], REPLY, CONTEXT)
    assert_near(exports, theirs, ours)


@pytest.mark.parametrize("prompt", ["near", "far"])
@pytest.mark.parametrize("form", ["fp16-cuda", "int4-cuda"])
def test_the_forms_for_cuda_reply_as_pytorch_does_on_a_gpu(exports: Exports, form: str, prompt: str) -> None:
    try:
        machine.memories("cuda")
    except store.ModelError as error:
        pytest.skip(f"the forms for CUDA are not run on a GPU: {error}")
    export_env.ensure(gpu_runtime.RUNTIME, lambda step: None, threading.Event())
    theirs = exports.found["greedy"][prompt]
    ours = gpu_replies.reply(exports.folder(form), theirs["prompt"], REPLY, CONTEXT)
    assert_near(exports, theirs, ours)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_at_half_the_size_are_compared_as_exactly(python: Path, family: str, tmp_path: Path) -> None:
    """They are widened for the comparison only, a layer at a time."""
    exports = run(python, family, tmp_path, "--bfloat16")
    found = exports.found["fp32-cpu"]
    assert "error" not in found, found
    assert max(found["structure"]["near"], found["structure"]["far"]) < 1e-5
    assert found["agreement"]["top1"] > 0.99
    assert found["agreement"]["kl"] < 1e-6
    far = exports.found["greedy"]["far"]
    assert reply(exports.folder("fp32-cpu"), far["prompt"], REPLY, CONTEXT) == far["tokens"]


def test_a_dropped_rotary_factor_is_noticed(python: Path, tmp_path: Path) -> None:
    broken = run(python, "ds", tmp_path, "--as-builder-is")
    error = broken.found["fp32-cpu"]["error"]
    assert error.startswith("ParityError: the exported graph differs from PyTorch")
    far = broken.found["greedy"]["far"]
    assert reply(broken.folder("fp32-cpu"), far["prompt"], REPLY, CONTEXT) != far["tokens"]


def test_the_default_model_came_with_its_figures(default_model: store.Installed) -> None:
    parity = default_model.manifest["parity"]
    assert parity["structure"]["near"] < 5e-4
    assert parity["structure"]["far"] < 5e-4
    assert parity["agreement"]["top1"] >= 0.85
