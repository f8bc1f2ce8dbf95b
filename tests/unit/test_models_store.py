"""Which form of a model is run, and models of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsp_server.models import catalog, store
from lsp_server.models.catalog import ModelEntry, UnknownModel

OWN = ModelEntry("own", "ds", "", "", 1e9, 1000, 4096, (1, 2), path="/models/own.gguf")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(store.HOME_VARIABLE, str(tmp_path))
    return tmp_path


def form(precision: catalog.Precision, device: catalog.Device) -> None:
    folder = store.onnx_dir("own", precision, device)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"precision": precision, "device": device}))


def test_the_gpus_form_is_run_first_then_the_smallest() -> None:
    assert store.find("own") is None
    found = []
    for precision, device in (("fp32", "cpu"), ("int4", "cpu"), ("fp16", "cuda"), ("int4", "cuda")):
        form(precision, device)  # type: ignore[arg-type]
        best = store.find("own")
        assert best is not None
        found.append((best.precision, best.device))
    assert found == [("fp32", "cpu"), ("int4", "cpu"), ("fp16", "cuda"), ("int4", "cuda")]


def test_a_model_of_the_users_own_is_remembered() -> None:
    with pytest.raises(UnknownModel):
        store.entry("own")
    store.register(OWN)
    assert store.entry("own") == OWN
    assert store.entries() == [*catalog.CATALOG, OWN]
    with pytest.raises(store.ModelError, match="--name"):
        store.register(ModelEntry(catalog.DEFAULT, "ds", "", "", 1, 1, 1, ()))
