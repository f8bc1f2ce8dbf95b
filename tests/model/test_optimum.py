"""What optimum exports equals PyTorch and runs in the engine, made here or elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lsp_server import cli
from lsp_server.engine.protocol import Sampling
from lsp_server.engine.session import Session, Usage
from lsp_server.engine.tokenizer import ChatTokenizer
from lsp_server.models import export, export_env, store
from lsp_server.models.catalog import ModelEntry
from lsp_server.models.store import ModelError

SCRIPT = Path(__file__).with_name("tiny_optimum.py")
OWN = ModelEntry(
    id="tiny",
    family="cl",
    repo="",
    licence="none",
    parameters=2e5,
    kv_bytes=1000,
    context=1024,
    stop_ids=(0,),
)


@pytest.fixture(scope="module")
def python() -> Path:
    """The optimum environment's python; it and the builder's are made if they are not there (two minutes each)."""
    export_env.ensure(export_env.BUILDER, lambda step: None, threading.Event())
    return export_env.ensure(export_env.OPTIMUM, lambda step: None, threading.Event())


@pytest.fixture(scope="module")
def sources(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each family's tiny model in PyTorch's form, and `replies.json`."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "replies.json").write_text(json.dumps(run(python, "make", str(folder))), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", autouse=True)
def own_home(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A store of the tests' own that shares the environments."""
    home = tmp_path_factory.mktemp("home")
    for each in (export_env.OPTIMUM, export_env.BUILDER):
        (home / each.folder).symlink_to(store.home() / each.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(store.HOME_VARIABLE, str(home))
        yield


@pytest.fixture(scope="module", params=["cl", "ds", "gm", "sc2"])
def exported(sources: Path, request: pytest.FixtureRequest) -> store.Installed:
    """A family's model, exported by `oci-companion model export ID --exporter optimum`."""
    family = request.param
    own = replace(OWN, id=f"tiny-{family}", family=family, path=str(sources / family))
    store.register(own)
    assert cli.main(["model", "export", own.id, "--exporter", "optimum"]) == 0
    form = store.find(own.id)
    assert form is not None
    return form


def run(python: Path, *arguments: str) -> Any:
    env = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    command = [str(python), "-I", str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


class Noting(ChatTokenizer):
    """Notes the ids that it decodes."""

    def decode(self, tokens: Iterator[int]) -> Iterator[str]:
        self.ids: list[int] = []

        def noted() -> Iterator[int]:
            for token in tokens:
                self.ids.append(token)
                yield token

        yield from super().decode(noted())


class Engine:
    """A session of which one sees the token ids."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.tokenizer = Noting(folder, "cl")
        self.session = Session(folder, self.tokenizer, 1024, **options)

    def reply(self, prompt: list[int], most: int, usage: Usage | None = None) -> list[int]:
        sampling = Sampling(max_tokens=most)
        list(self.session.complete(prompt, sampling, (), threading.Event(), usage or Usage()))
        return self.tokenizer.ids


def test_every_family_equals_pytorch(exported: store.Installed) -> None:
    assert exported.manifest["exporter"] == "optimum"
    parity = exported.manifest["parity"]
    assert parity["structure"]["near"] < 1e-4
    assert parity["structure"]["far"] < 1e-4
    assert parity["structure"]["far_position"] > 1000
    assert parity["agreement"]["top1"] > 0.99


def test_the_engine_replies_what_pytorch_does(exported: store.Installed, sources: Path) -> None:
    replies = json.loads((sources / "replies.json").read_text(encoding="utf-8"))
    engine = Engine(exported.path)
    for expected in replies[exported.manifest["family"]].values():
        assert engine.reply(expected["prompt"], 64) == expected["tokens"]
        # The whole prompt is in the cache now.
        assert engine.reply(expected["prompt"], 64) == expected["tokens"]


def test_what_is_reused_changes_no_reply(exported: store.Installed) -> None:
    converse(exported.path)


def test_what_is_reused_in_one_buffer_changes_no_reply(sources: Path) -> None:
    store.register(replace(OWN, id="tiny-builder", path=str(sources / "cl")))
    converse(export.export("tiny-builder", "fp32", exporter="builder"))


def converse(folder: Path) -> None:
    """Go on from earlier conversations, or from parts of them, and compare with what is computed from the beginning."""
    ours, plain = Engine(folder), Engine(folder, reuse=False, drafts=0)
    random, before, reused = Random(5), [[7, 8, 9]], 0
    for _ in range(40):
        base = random.choice(before)
        # All of a conversation, its reply included, or a part of it; and something new.
        kept = base[: random.choice((len(base), random.randrange(len(base))))]
        prompt = kept + random.choices(range(1, 400), k=random.randint(1, 8))
        most, usage, stopped = random.randint(1, 6), Usage(), threading.Event()
        if random.random() < 0.2:
            stopped.set()
            list(ours.session.complete(prompt, Sampling(), (), stopped, Usage()))
        expected = plain.reply(prompt, most)
        assert ours.reply(prompt, most, usage) == expected
        reused += usage.cached_tokens
        before.append(prompt + expected)
    assert reused > 100


def test_a_dropped_rotary_factor_is_noticed(python: Path, sources: Path, tmp_path: Path) -> None:
    found = run(python, "unscaled", str(export.EXPORTER), str(sources / "ds"), str(tmp_path))
    assert found["error"].startswith("ParityError: the exported graph differs from PyTorch")


def test_a_folder_that_optimum_made_elsewhere_is_used_as_it_is(
    python: Path, sources: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "made-elsewhere"
    command = ["export", "onnx", "--model", str(sources / "ds"), "--task", "text-generation-with-past"]
    subprocess.run([str(python.with_name("optimum-cli")), *command, str(folder)], check=True)
    before = digests(folder)
    assert cli.main(["model", "export", str(folder), "--name", "own", "--precision", "int4"]) == 2
    assert "is used as it is, at fp32 on the CPU" in capfd.readouterr().err
    assert cli.main(["model", "export", str(folder), "--name", "own", "--family", "ds"]) == 0
    form = store.find("own")
    assert form is not None
    assert (form.precision, form.manifest["exporter"]) == ("fp32", "optimum")
    assert form.manifest["parity"]["pieces"] < 1e-4
    assert digests(folder) == before
    for file in folder.iterdir():
        file.unlink()
    replies = json.loads((sources / "replies.json").read_text(encoding="utf-8"))
    for expected in replies["ds"].values():
        assert Engine(form.path).reply(expected["prompt"], 64) == expected["tokens"]


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_another_form_is_refused_in_so_many_words(sources: Path) -> None:
    store.register(replace(OWN, path=str(sources / "cl")))
    with pytest.raises(ModelError, match=r"one form here, fp32 on the CPU, and not int4 on cpu"):
        export.export("tiny", "int4", exporter="optimum")
