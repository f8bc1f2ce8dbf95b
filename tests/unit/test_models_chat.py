"""Chat formats, against the renders that the models were evaluated with."""

import json
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lsp_server.models import catalog
from lsp_server.models.chat import DS_SYSTEM, ChatFormatError, render

SHIPPED = Path(__file__).parents[2] / "docs" / "opencodeinterpreter-ds"
TURNS = [
    {"role": "user", "content": "u1"},
    {"role": "assistant", "content": "a1"},
    {"role": "user", "content": "u2"},
]


def test_deepseek() -> None:
    assert render("ds", TURNS) == (
        f"<｜begin▁of▁sentence｜>{DS_SYSTEM}### Instruction:\nu1\n### Response:\na1\n<|EOT|>\n"
        "### Instruction:\nu2\n### Response:\n"
    )


def test_deepseek_system_turn_replaces_the_default_without_a_newline() -> None:
    turns = [{"role": "system", "content": "S"}, TURNS[0]]
    assert render("ds", turns) == "<｜begin▁of▁sentence｜>S### Instruction:\nu1\n### Response:\n"


@pytest.mark.parametrize("turns", [TURNS, [{"role": "system", "content": "S"}, *TURNS]])
def test_what_other_servers_are_given_for_deepseek_says_the_same(turns: list[dict[str, str]]) -> None:
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
        (SHIPPED / "chat_template.jinja").read_text(encoding="utf-8")
    )
    rendered = template.render(
        messages=turns, bos_token="<｜begin▁of▁sentence｜>", add_generation_prompt=True
    )
    assert rendered == render("ds", turns)
    stops = json.loads((SHIPPED / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    assert tuple(stops) == catalog.entry("oci-ds-33b").stop_ids


def test_code_llama() -> None:
    assert render("cl", TURNS) == "<s>[INST] u1 [/INST] a1 </s><s>[INST] u2 [/INST]"


def test_starcoder2_ends_each_turn() -> None:
    assert render("sc2", TURNS) == "u1<|endoftext|>a1<|endoftext|>u2<|endoftext|>"


def test_gemma_is_chatml_without_beginning() -> None:
    assert render("gm", TURNS[:1]) == "<|im_start|>user\nu1<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("turns", [[], TURNS[:2], [TURNS[0], {"role": "system", "content": "S"}, TURNS[2]]])
def test_what_cannot_be_rendered_is_refused(turns: list[dict[str, str]]) -> None:
    with pytest.raises(ChatFormatError):
        render("ds", turns)
