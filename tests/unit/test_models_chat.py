"""Chat formats, against the renders that the models were evaluated with."""

import json
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lsp_server.models import catalog
from lsp_server.models.catalog import Family
from lsp_server.models.chat import STOP_STRINGS, ChatFormatError, render

SHIPPED = Path(__file__).parents[2] / "docs" / "opencodeinterpreter-ds"
TURNS = [
    {"role": "user", "content": "u1"},
    {"role": "assistant", "content": "a1"},
    {"role": "user", "content": "u2"},
]


SYSTEM = [{"role": "system", "content": "S"}, *TURNS]


def test_deepseek() -> None:
    assert render("ds", TURNS) == (
        "<｜begin▁of▁sentence｜>You are an AI programming assistant, utilizing the Deepseek Coder model, developed by "
        "Deepseek Company, and you only answer questions related to computer science. For politically sensitive "
        "questions, security and privacy issues, and other non-computer science questions, you will refuse to answer\n"
        "### Instruction:\nu1\n### Response:\na1\n<|EOT|>\n### Instruction:\nu2\n### Response:\n"
    )


def test_deepseek_system_turn_replaces_the_default_without_a_newline() -> None:
    assert render("ds", SYSTEM) == (
        "<｜begin▁of▁sentence｜>S### Instruction:\nu1\n### Response:\na1\n<|EOT|>\n"
        "### Instruction:\nu2\n### Response:\n"
    )


@pytest.mark.parametrize("turns", [TURNS, SYSTEM])
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
    assert render("cl", TURNS[:1]) == "<s>[INST] u1 [/INST]"
    assert render("cl", TURNS) == "<s>[INST] u1 [/INST] a1 </s><s>[INST] u2 [/INST]"
    assert render("cl", SYSTEM) == (
        "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nu1 [/INST] a1 </s><s>[INST] u2 [/INST]"
    )


def test_starcoder2_ends_each_turn() -> None:
    assert render("sc2", TURNS) == "u1<|endoftext|>a1<|endoftext|>u2<|endoftext|>"
    assert render("sc2", SYSTEM) == "S<|endoftext|>u1<|endoftext|>a1<|endoftext|>u2<|endoftext|>"


CHATML = (
    "<|im_start|>user\nu1<|im_end|>\n<|im_start|>assistant\na1<|im_end|>\n<|im_start|>user\nu2<|im_end|>\n"
    "<|im_start|>assistant\n"
)


@pytest.mark.parametrize("family", ["gm", "qwen"])
def test_gemma_and_qwen_have_chatml_without_a_beginning(family: Family) -> None:
    assert render(family, TURNS) == CHATML
    assert render(family, SYSTEM) == "<|im_start|>system\nS<|im_end|>\n" + CHATML


def test_gemma_has_no_token_for_the_end_of_such_a_turn() -> None:
    assert STOP_STRINGS["gm"] == ("<|im_end|>",)


@pytest.mark.parametrize("turns", [[], TURNS[:2], [TURNS[0], {"role": "system", "content": "S"}, TURNS[2]]])
def test_what_cannot_be_rendered_is_refused(turns: list[dict[str, str]]) -> None:
    with pytest.raises(ChatFormatError):
        render("ds", turns)
