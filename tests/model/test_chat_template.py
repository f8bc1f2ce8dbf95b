"""The default model's own chat template and stop ids, as they came with it."""

from __future__ import annotations

import json

from lsp_server.engine.protocol import Message
from lsp_server.engine.tokenizer import ChatTokenizer
from lsp_server.models import store
from lsp_server.models.catalog import DEFAULT, entry
from tests.unit.test_models_template import QWEN_DEFAULT, QWEN_SYSTEM

TURNS = [Message("user", "u1"), Message("assistant", "a1"), Message("user", "u2")]


def test_a_conversation_is_written_as_transformers_writes_it(default_model: store.Installed) -> None:
    tokenizer = ChatTokenizer(default_model.path, "qwen")
    assert tokenizer.render(TURNS) == QWEN_DEFAULT
    assert tokenizer.render([Message("system", "S"), *TURNS]) == QWEN_SYSTEM


def test_a_turn_s_marks_are_single_tokens(default_model: store.Installed) -> None:
    tokenizer = ChatTokenizer(default_model.path, "qwen")
    assert [tokenizer.encode(mark) for mark in ("<|im_start|>", "<|im_end|>", "<|endoftext|>")] == [
        [151_644],
        [151_645],
        [151_643],
    ]


def test_a_reply_ends_at_ids_that_the_model_has(default_model: store.Installed) -> None:
    config = json.loads((default_model.path / "genai_config.json").read_text(encoding="utf-8"))["model"]
    assert set(entry(DEFAULT).stop_ids) <= set(config["eos_token_id"])
    assert max(config["eos_token_id"]) < config["vocab_size"]
