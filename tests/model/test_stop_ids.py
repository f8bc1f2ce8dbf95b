"""What the PyTorch exporter writes down as the end of a reply, in the environment that it runs in."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

from lsp_server.models import export, export_env

STAGE = """
import importlib.util, sys
from pathlib import Path
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
spec = importlib.util.spec_from_file_location(
    "exporter", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]]
)
sys.modules["exporter"] = importlib.util.module_from_spec(spec)
from exporter import source
sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=32)
model = LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=1))
model.generation_config.eos_token_id = [0, 32]
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), eos_token="x")
source.stage(model, tokenizer, Path(sys.argv[2]), [7, 32_021])
"""


def test_ids_past_the_vocabulary_are_never_among_them(tmp_path: Path) -> None:
    python = export_env.ensure(export_env.BUILDER, lambda step: None, threading.Event())
    command = [str(python), "-I", "-c", STAGE, str(export.EXPORTER), str(tmp_path / "staged")]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    written = json.loads((tmp_path / "staged" / "generation_config.json").read_text(encoding="utf-8"))
    assert written["eos_token_id"] == [0, 7]
