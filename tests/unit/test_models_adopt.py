"""Which folders with a finished graph are taken, and what is known of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from lsp_server.models import adopt
from lsp_server.models.exporter.optimum_folder import UnsupportedFolder, write_genai_config

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "vocab_size": 10,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TOKENIZER = {
    "model": {"type": "BPE"},
    "added_tokens": [
        {"id": 2, "content": "</s>", "special": True},
        {"id": 5, "content": "<|im_end|>", "special": True},
        {"id": 6, "content": "<|EOT|>", "special": False},
    ],
}


def folder(
    path: Path, cached: bool = True, kind: int = TensorProto.FLOAT, data: str = "", **config: Any
) -> Path:
    """A folder whose graph has the inputs and outputs of a decoder of two layers."""
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    names = [f".{layer}.{part}" for layer in (0, 1) for part in ("key", "value")] if cached else []
    old, new = (
        [helper.make_tensor_value_info(side + name, kind, ["batch", 2, "length", 3]) for name in names]
        for side in ("past_key_values", "present")
    )
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length", 10])
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [1], [1.0])
    if data:
        weights.ClearField("float_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=data)
    graph = helper.make_graph([], "decoder", [*ids, *old], [logits, *new], [weights])
    onnx.save(helper.make_model(graph), path / "model.onnx")
    contents = {"config": CONFIG | config, "tokenizer": TOKENIZER, "tokenizer_config": {}}
    for name, content in contents.items():
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def test_what_a_folder_says_of_its_model(tmp_path: Path) -> None:
    path = tmp_path / "My Model_v2"
    path.mkdir()
    own = adopt.identify(folder(path))
    assert (own.id, own.family, own.context, own.stop_ids) == ("my-model-v2", "ds", 64, (2, 5))
    assert own.kv_bytes == 2 * 2 * 2 * 2 * 3
    assert own.path == str(path)
    assert adopt.identify(folder(path, model_type="starcoder2")).family == "sc2"
    assert adopt.identify(path, "mine", "cl").family == "cl"


def test_the_runtime_is_told_what_the_graph_has(tmp_path: Path) -> None:
    write_genai_config(folder(tmp_path), [5, 99])
    config = json.loads((tmp_path / "genai_config.json").read_text(encoding="utf-8"))
    model = config["model"]
    assert (model["eos_token_id"], model["bos_token_id"]) == ([2, 5], 1)
    assert (model["decoder"]["num_key_value_heads"], model["decoder"]["head_size"]) == (2, 3)
    assert "position_ids" not in model["decoder"]["inputs"]
    assert config["search"]["past_present_share_buffer"] is False


def test_what_cannot_be_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFolder, match=r"no model\.onnx, config\.json, tokenizer\.json"):
        adopt.identify(tmp_path)
    with pytest.raises(UnsupportedFolder, match="--task text-generation-with-past"):
        adopt.identify(folder(tmp_path, cached=False))
    with pytest.raises(UnsupportedFolder, match=r"its cache is float16.*--dtype fp32"):
        adopt.identify(folder(tmp_path, kind=TensorProto.FLOAT16))
    with pytest.raises(UnsupportedFolder, match=r"outside the folder: \.\./secret"):
        adopt.identify(folder(tmp_path, data="../secret"))
    with pytest.raises(UnsupportedFolder, match="eos_token_id"):
        write_genai_config(folder(tmp_path, eos_token_id=None), [])
