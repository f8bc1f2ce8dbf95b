"""GGUF files straight to ONNX: the folder computes what PyTorch does with the file's weights, or is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import minimal_gguf
import numpy as np
import onnx
import pytest
from awkward import TEXTS
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray
from replies import reply, shortfalls
from tokenizers import Tokenizer

import lsp_server
from lsp_server.engine import runfile
from lsp_server.engine.protocol import Message, Sampling
from lsp_server.engine.supervise import LocalEngine
from lsp_server.models import export_env, machine, store
from lsp_server.models.exporter.acceptance import ParityError
from lsp_server.models.gguf_onnx import architecture, check, graph, reference, tokenizer, worker
from tests.model.environments import LLAMA_CPP, python_of

SCRIPT = Path(__file__).with_name("tiny_gguf.py")
FAMILIES = ["ds", "cl", "gm", "sc2", "qwen"]
FORMATS = ["F32", "Q8_0", "Q4_0", "Q4_K_M"]
MORE_FORMATS = ["F16", "Q4_1", "Q5_0"]
EXACT = ["Q8_0", "Q4_0"]
"""Formats whose blocks are kept as they are."""
ORIGINAL_REACH, WINDOW, CONTEXT, REPLY = 256, 256, 1024, 64


@dataclass(frozen=True)
class Files:
    """One family's tiny model in several formats."""

    family: str
    work: Path
    found: dict[str, Any]
    """PyTorch's replies for each format, and `tokens`: transformers' ids of `TEXTS`."""

    def path(self, name: str) -> Path:
        return self.work / f"{name}.gguf"

    def read(self, name: str) -> tuple[architecture.GgufFile, architecture.Architecture]:
        file = architecture.GgufFile(self.path(name))
        return file, architecture.read(file)

    def logits(self, name: str, distance: str) -> NDArray[np.float32]:
        """PyTorch's, of a prompt and its reply."""
        with np.load(self.work / f"{name}.npz") as kept:
            found: NDArray[np.float32] = kept[distance]
            return found

    def text(self, name: str, distance: str) -> list[int]:
        """That prompt and reply."""
        said = self.found[name][distance]
        return [*said["prompt"], *said["tokens"]]

    def converted(self, name: str, precision: str = "int4") -> Path:
        """The ONNX folder, made by the worker at the first call."""
        work = self.work / f"work-{name}-{precision}"
        if not work.exists():
            work.mkdir()
            job = {"file": str(self.path(name)), "work": str(work), "precision": precision, "stop_ids": []}
            (work / "figures.json").write_text(json.dumps(worker.run(job, lambda step: None)))
        return work / "onnx"


@pytest.fixture(scope="module")
def python() -> Path:
    """The export environment's python; made if it is not there (a minute)."""
    return export_env.ensure(export_env.BUILDER, lambda step: None, threading.Event())


def run(python: Path, family: str, work: Path, formats: list[str]) -> Files:
    command = [str(python), "-I", str(SCRIPT), family, str(work), *formats]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return Files(family, work, json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module", params=FAMILIES)
def files(request: pytest.FixtureRequest, python: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return run(python, request.param, tmp_path_factory.mktemp(request.param), FORMATS)


@pytest.fixture(scope="module")
def llama(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A Code Llama in the formats that are not tried with every family."""
    return run(python, "cl", tmp_path_factory.mktemp("more"), MORE_FORMATS)


def largest_difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """As a part of the largest logit."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("name", FORMATS)
def test_the_numpy_reference_is_pytorch(files: Files, name: str) -> None:
    file, shape = files.read(name)
    for distance in ("near", "far"):
        ours = reference.logits(file, shape, [files.text(name, distance)])[0]
        assert largest_difference(ours, files.logits(name, distance)) < 2e-4


def test_the_files_shape_is_read(files: Files) -> None:
    _, shape = files.read("F32")
    assert shape.rope_factor == (4.0 if files.family == "ds" else 1.0)
    assert shape.rope_interleaved == (files.family in ("ds", "cl"))
    assert shape.window == (WINDOW if files.family == "sc2" else 0)
    assert (shape.layers, shape.heads, shape.kv_heads, shape.hidden) == (3, 4, 2, 256)
    assert shape.head_size == (128 if files.family == "gm" else 64)
    assert shape.vocabulary == files.found["vocabulary"]


@pytest.mark.parametrize("name", FORMATS)
def test_two_layers_have_the_files_structure(files: Files, name: str, tmp_path: Path) -> None:
    found = check.structure(*files.read(name), tmp_path)
    assert max(found["near"], found["far"]) < 1e-4
    assert found["far_position"] > max(ORIGINAL_REACH, WINDOW)


Damage = Callable[[architecture.Architecture], architecture.Architecture]


@pytest.mark.parametrize(
    ("family", "damage"),
    [
        pytest.param("ds", lambda shape: replace(shape, rope_factor=1.0), id="rotary factor"),
        pytest.param("ds", lambda shape: replace(shape, rope_interleaved=False), id="rotary pairs"),
        pytest.param("cl", lambda shape: replace(shape, rope_base=10_000.0), id="rotary base"),
        pytest.param("sc2", lambda shape: replace(shape, window=0), id="window"),
        pytest.param("gm", lambda shape: replace(shape, name="llama", rope_interleaved=False), id="gemma"),
    ],
)
def test_a_graph_of_another_structure_is_refused(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, damage: Damage
) -> None:
    file, shape = run(python, family, tmp_path, ["F32"]).read("F32")
    write = graph.write

    def damaged(file: Any, shape: Any, *rest: Any) -> None:
        write(file, damage(shape), *rest)

    monkeypatch.setattr(graph, "write", damaged)
    with pytest.raises(ParityError, match="differs from the file's network"):
        check.structure(file, shape, tmp_path)


@pytest.mark.parametrize("precision", ["int4", "int8"])
@pytest.mark.parametrize("name", FORMATS)
def test_the_folder_is_near_the_file(files: Files, name: str, precision: str) -> None:
    folder = files.converted(name, precision)
    found = json.loads((folder.parent / "figures.json").read_text())["agreement"]
    assert found["top1"] > 0.75
    assert found["kl"] < 0.15


@pytest.mark.parametrize("distance", ["near", "far"])
@pytest.mark.parametrize("precision", ["int4", "int8"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_reply_is_pytorchs_but_for_near_ties(
    files: Files, name: str, precision: str, distance: str
) -> None:
    prompt = files.found[name][distance]["prompt"]
    ours = reply(files.converted(name, precision), prompt, REPLY, CONTEXT)
    assert len(ours) == REPLY
    file, shape = files.read(name)
    along = reference.logits(file, shape, [[*prompt, *ours]])[0][len(prompt) - 1 : -1]
    behind = shortfalls(along, ours)
    assert behind.max() < (0.3 if precision == "int8" else 0.1)
    assert (behind == 0).mean() > (0.6 if precision == "int8" else 0.75)


@pytest.mark.parametrize("distance", ["near", "far"])
@pytest.mark.parametrize("name", EXACT)
def test_with_exact_activations_a_reply_is_pytorchs_token_for_token(
    files: Files, name: str, distance: str, tmp_path: Path
) -> None:
    # What is left between the folder and the file is that its kernels take activations as int8.
    for each in files.converted(name).iterdir():
        shutil.copy(each, tmp_path)
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 1
    onnx.save_model(model, tmp_path / "model.onnx")
    said = files.found[name][distance]
    assert reply(tmp_path, said["prompt"], REPLY, CONTEXT) == said["tokens"]


@pytest.mark.parametrize("name", MORE_FORMATS)
def test_other_formats_are_converted(llama: Files, name: str) -> None:
    file, shape = llama.read(name)
    ours = reference.logits(file, shape, [llama.text(name, "far")])[0]
    assert largest_difference(ours, llama.logits(name, "far")) < 2e-4
    figures = json.loads((llama.converted(name).parent / "figures.json").read_text())
    assert figures["agreement"]["top1"] > 0.85
    assert figures["agreement"]["kl"] < 0.05


def test_tokens_are_transformers(files: Files) -> None:
    if files.family in ("ds", "sc2"):
        pytest.skip(
            "transformers splits the text of such a file as GPT-2 did, which is not how it was trained"
        )
    written = Tokenizer.from_file(str(files.converted("F32") / "tokenizer.json"))
    for text, theirs in zip(TEXTS, files.found["tokens"], strict=True):
        if files.family == "qwen" and text != unicodedata.normalize("NFC", text):
            # The model's own tokenizer composes characters, as ours does; the one made of a GGUF file does not.
            continue
        if files.family == "gm" and "▁ " in text:
            # transformers takes a written ▁ for a part of a run of spaces, llama.cpp does not.
            continue
        if files.family == "cl" and (text.startswith((" ", "▁")) or "<s>" in text):
            # transformers puts no space before a space, nor after a control token; llama.cpp does both.
            continue
        assert written.encode(text, add_special_tokens=False).ids == theirs, text


def test_tokens_are_llama_cpps(files: Files) -> None:
    script = (
        "import json, sys, llama_cpp\n"
        "model = llama_cpp.Llama(sys.argv[1], n_ctx=256, verbose=False)\n"
        "texts = json.load(sys.stdin)\n"
        "ids = [model.tokenize(text.encode(), add_bos=False, special=True) for text in texts]\n"
        "print(json.dumps(ids))\n"
    )
    done = subprocess.run(
        [python_of(LLAMA_CPP), "-c", script, str(files.path("F32"))],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
    )
    written = Tokenizer.from_file(str(files.converted("F32") / "tokenizer.json"))
    for text, theirs in zip(TEXTS, json.loads(done.stdout), strict=True):
        if "\0" in text:
            # That character may be a token of so tiny a vocabulary, which llama.cpp reads as an empty one.
            continue
        if files.family == "qwen" and text != unicodedata.normalize("NFC", text):
            # The model was trained on composed characters; llama.cpp does not compose them.
            continue
        ours = written.encode(text, add_special_tokens=False).ids
        assert ours == theirs, text


def test_what_is_split_is_put_together_again(files: Files) -> None:
    written = Tokenizer.from_file(str(files.converted("F32") / "tokenizer.json"))
    for text in TEXTS:
        if files.family == "cl" and "<" in text:
            # A space is put before what follows a control token, as SentencePiece does at the beginning.
            continue
        again = written.decode(written.encode(text, add_special_tokens=False).ids, skip_special_tokens=False)
        if files.family == "qwen":
            assert again == unicodedata.normalize("NFC", text)
        else:
            assert again == (text.replace("▁", " ") if files.family in ("cl", "gm") else text)


def convert(path: Path, work: Path) -> Path:
    """The ONNX folder of a file."""
    work.mkdir(exist_ok=True)
    worker.run({"file": str(path), "work": str(work), "precision": "int4", "stop_ids": []}, lambda step: None)
    return work / "onnx"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param(
            {"architecture": "mamba"}, "no conversion for the architecture 'mamba'", id="architecture"
        ),
        pytest.param(
            {"tokenizer__ggml__pre": "tekken"}, "splits text in the way 'tekken'", id="pre-tokenizer"
        ),
        pytest.param(
            {"tokenizer__ggml__pre": None}, "splits text in the way 'default'", id="no pre-tokenizer"
        ),
        pytest.param({"tokenizer__ggml__model": "bert"}, "vocabulary is of the kind 'bert'", id="vocabulary"),
        pytest.param(
            {"rope_freqs__weight": np.ones(16, dtype=np.float32)},
            r"rotary scaling \('llama3'\) is not converted",
            id="llama3 scaling",
        ),
        pytest.param({"tokenizer__ggml__merges": ["x y"]}, "vocabulary.*out of vocabulary", id="merges"),
        pytest.param({"llama__rope__scaling__type": "yarn"}, r"rotary scaling \('yarn'\)", id="yarn"),
        pytest.param(
            {"llama__rope__dimension_count": 16}, "only 16 of 32 channels are rotated", id="half rotary"
        ),
        pytest.param(
            {"blk__0__ffn_up__weight": None},
            "no tensor 'blk.0.ffn_up.weight'.*one of several parts",
            id="experts",
        ),
        pytest.param(
            {"blk__0__attn_q_norm__weight": np.ones(32, dtype=np.float32)},
            "has a tensor 'blk.0.attn_q_norm.weight'",
            id="more than a llama",
        ),
        pytest.param({"llama__block_count": None}, "has no 'llama.block_count'", id="no layers"),
        pytest.param(
            {"tokenizer__ggml__eos_token_id": None, "tokenizer__ggml__token_type": [1] * 260},
            "no token that ends a reply",
            id="no end",
        ),
    ],
)
def test_what_cannot_be_converted_is_said(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = minimal_gguf.write(tmp_path / "x.gguf", **changed)
    with pytest.raises(architecture.UnsupportedFile, match=message):
        convert(path, tmp_path / "work")


@pytest.mark.parametrize("part", [0.0005, 0.02, 0.05, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, part: float) -> None:
    whole = minimal_gguf.write(tmp_path / "x.gguf").read_bytes()
    (tmp_path / "x.gguf").write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(architecture.UnsupportedFile, match="is cut short, damaged, or"):
        architecture.GgufFile(tmp_path / "x.gguf")


def test_another_file_is_no_gguf_file(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("text", b"not a model at all")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(architecture.UnsupportedFile, match="is no GGUF file"):
            architecture.GgufFile(tmp_path / name)


def test_every_field_is_read_as_the_library_reads_it(files: Files) -> None:
    ours, theirs = architecture.GgufFile(files.path("F32")), gguf.GGUFReader(files.path("F32"))
    assert {key: ours.field(key) for key in theirs.fields} == {
        key: field.contents() for key, field in theirs.fields.items()
    }


@pytest.mark.parametrize(
    ("fields", "factor"),
    [
        ({"type": "linear", "factor": 4.0}, 4.0),
        ({"factor": 4.0}, 4.0),
        ({"type": "none", "factor": 4.0}, 1.0),
        ({"type": "linear", "factor": 0.0}, 1.0),
        ({}, 1.0),
    ],
)
def test_the_rotary_factor_is_what_llama_cpp_takes_it_for(
    tmp_path: Path, fields: dict[str, Any], factor: float
) -> None:
    named = {f"llama__rope__scaling__{key}": value for key, value in fields.items()}
    file = architecture.GgufFile(minimal_gguf.write(tmp_path / "x.gguf", **named))
    assert architecture.read(file).rope_factor == factor


def test_files_from_before_splits_had_names_are_split_as_their_networks_were_trained(files: Files) -> None:
    if files.family not in ("ds", "sc2", "qwen"):
        pytest.skip("a SentencePiece vocabulary is not split")
    named, unnamed = files.work / "named", files.work / "unnamed"
    file, _ = files.read("F32")
    old, _ = files.read("F32")
    old._reader.fields.pop("tokenizer.ggml.pre")
    for folder, each in ((named, file), (unnamed, old)):
        folder.mkdir()
        tokenizer.write(each, folder)
    assert (named / "tokenizer.json").read_bytes() == (unnamed / "tokenizer.json").read_bytes()


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lsp_server.cli", *arguments],
        env={**os.environ, store.HOME_VARIABLE: str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_file_of_ones_own_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv(store.HOME_VARIABLE, str(home))
    file = minimal_gguf.write(tmp_path / "own.gguf", "llama")
    done = command(home, "model", "export", str(file), "--name", "tiny", "--family", "qwen")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Your file is the model tiny" in done.stdout
    form = store.find("tiny")
    assert form is not None
    assert form.manifest["exporter"] == "gguf"
    assert form.manifest["parity"]["agreement"]["top1"] >= 0.75
    listed = [line for line in command(home, "model", "list").stdout.splitlines() if line.startswith("tiny ")]
    assert len(listed) == 1
    assert f"{'int8' if machine.multiplies_bytes() else 'int4'} cpu" in listed[0]

    serving = subprocess.Popen([sys.executable, "-m", "lsp_server.cli", "serve", "--model", "tiny"])
    try:
        deadline = time.monotonic() + 120
        while (running := runfile.read("tiny")) is None:
            assert serving.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        engine = LocalEngine("tiny")
        engine.ensure()
        pieces = engine.stream([Message("user", "hello")], Sampling(max_tokens=5), threading.Event())
        list(pieces)
        assert engine.status().pid == running.pid == serving.pid
        assert command(home, "serve", "--model", "tiny", "--stop").stdout == "Stopped.\n"
        assert serving.wait(20) == 0
    finally:
        serving.kill()

    removed = command(home, "model", "rm", "tiny")
    assert removed.returncode == 0, removed.stderr
    assert "GB freed" in removed.stdout
    assert store.find("tiny") is None
    assert "tiny" not in command(home, "model", "list").stdout
    assert file.is_file()


def test_another_file_of_the_same_name_is_exported_anew(tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "own.gguf"
    made = []
    for kind in (Type.Q8_0, Type.Q4_0):
        minimal_gguf.write(file, kind=kind)
        done = command(home, "model", "export", str(file), "--precision", "int4")
        assert done.returncode == 0, done.stderr + done.stdout
        made.append((home / "models" / "own" / "onnx-int4-cpu" / "model.onnx.data").read_bytes())
    assert made[0] != made[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cut.gguf"], "is cut short"),
        (["none.gguf"], "there is no none.gguf"),
        (["own.gguf", "--name", "../x"], "cannot be its name"),
        (["own.gguf", "--name", "oci-ds-6.7b"], "is a model of the catalog"),
        (["own.gguf", "--exporter", "builder", "--precision", "int8"], "int8 is made of GGUF files only"),
        (["own.gguf", "--exporter", "gguf", "--precision", "fp16"], "goes straight to int8 or int4"),
    ],
)
def test_the_command_line_says_what_is_wrong_with_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(lsp_server.__file__).parents[1]))
    whole = minimal_gguf.write(tmp_path / "own.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:5000])
    done = command(tmp_path / "home", "model", "export", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
