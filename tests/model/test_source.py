"""What the PyTorch exporter reads of a folder, and writes down of it, in the environment that it runs in."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from lsp_server.models import export, export_env

EXPORTER = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location(
    "exporter", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]]
)
sys.modules["exporter"] = importlib.util.module_from_spec(spec)
from exporter import source
"""
STAGE = """
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=32)
model = LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=1))
model.generation_config.eos_token_id = [0, 32]
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), eos_token="x")
source.stage(model, tokenizer, Path(sys.argv[2]), [7, 32_021])
"""
KEPT_IN = """
import torch
from safetensors.torch import save_file
folder = Path(sys.argv[2])
folder.mkdir()
(folder / "config.json").write_text('{"dtype": "bfloat16"}')
for number, kind in enumerate(sys.argv[3:]):
    save_file({f"weight{number}": torch.zeros(2, 2, dtype=getattr(torch, kind))}, folder / f"{number}.safetensors")
print(source.kept_in(folder))
"""


def run(script: str, *arguments: str) -> str:
    """What a script on the exporter's `source` prints."""
    python = export_env.ensure(export_env.BUILDER, lambda step: None, threading.Event())
    command = [str(python), "-I", "-c", EXPORTER + script, str(export.EXPORTER), *arguments]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_ids_past_the_vocabulary_are_never_among_them(tmp_path: Path) -> None:
    run(STAGE, str(tmp_path / "staged"))
    written = json.loads((tmp_path / "staged" / "generation_config.json").read_text(encoding="utf-8"))
    assert written["eos_token_id"] == [0, 7]


@pytest.mark.parametrize(
    ("files", "kept"),
    [
        (["bfloat16", "bfloat16"], "bfloat16"),
        (["float16"], "float16"),
        (["float32"], "float32"),
        (["bfloat16", "float32"], "float32"),
        ([], "float32"),
    ],
)
def test_weights_are_loaded_in_the_numbers_of_their_files_whatever_the_configuration_says(
    tmp_path: Path, files: list[str], kept: str
) -> None:
    assert run(KEPT_IN, str(tmp_path / "weights"), *files) == f"torch.{kept}"
