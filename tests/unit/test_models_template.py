"""Models' own chat templates do what they do in transformers; the golden texts are what its 5.23 renders."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from lsp_server.cli import main
from lsp_server.engine.protocol import EngineError, Message
from lsp_server.engine.tokenizer import ChatTokenizer
from lsp_server.models import store
from lsp_server.models.chat import ChatFormatError
from lsp_server.models.template import ChatTemplate, check, shipped, special_tokens

TURNS = [
    {"role": "user", "content": "u1"},
    {"role": "assistant", "content": "a1"},
    {"role": "user", "content": "u2"},
]
SPECIAL = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
QWEN = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson }}
    {%- endfor %}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""  # noqa: E501 - the lines of the default model's template that a conversation without tools goes through
QWEN_TURNS = (
    "<|im_start|>user\nu1<|im_end|>\n<|im_start|>assistant\na1<|im_end|>\n<|im_start|>user\nu2<|im_end|>\n"
    "<|im_start|>assistant\n"
)
QWEN_DEFAULT = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    + QWEN_TURNS
)
QWEN_SYSTEM = "<|im_start|>system\nS<|im_end|>\n" + QWEN_TURNS


def test_the_default_model_s_template() -> None:
    template = ChatTemplate(QWEN, SPECIAL)
    assert template.render(TURNS) == QWEN_DEFAULT
    assert template.render([{"role": "system", "content": "S"}, *TURNS]) == QWEN_SYSTEM


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        pytest.param(
            "{{ bos_token }}{% for m in messages %}{{ m['content'] | trim }}{{ eos_token }}{% endfor %}"
            "{{ unk_token }}|{{ tools is none }}|{{ documents is none }}|{{ add_generation_prompt }}",
            "<|endoftext|>u1<|im_end|>a1<|im_end|>u2<|im_end|>|True|True|True",
            id="special tokens",
        ),
        pytest.param(
            "{% for m in messages %}{% if m.role == 'assistant' %}{% continue %}{% endif %}"
            "{% if loop.index > 2 %}{{ m.content }}{% break %}{% endif %}<{{ loop.index0 }}>{% endfor %}",
            "<0>u2",
            id="loop controls",
        ),
        pytest.param(
            "{{ messages[0] | tojson }}{{ {'b': 'é<&>', 'a': [1, none, true]} | "
            "tojson(indent=2, sort_keys=true, separators=(',', ': ')) }}"
            "{{ 'é' | tojson(ensure_ascii=true) }}{{ 'é' | tojson(ensure_ascii=false) }}",
            '{"role": "user", "content": "u1"}{\n  "a": [\n    1,\n    null,\n    true\n  ],\n  "b": "é<&>"\n}'
            '"\\u00e9""é"',
            id="tojson",
        ),
        pytest.param(
            "{% set x = 'out' %}{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
            "{% set x = 'in' %}{{ m.content }}{{ x }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
            "{% endfor %}{{ x }}",
            "u1a1inu2out",
            id="generation",
        ),
        pytest.param(
            "{% set ns = namespace(n=0, found='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
            "{% endfor %}{{ ns.n }}",
            "3",
            id="namespace",
        ),
        pytest.param("{{ dict(a=1)['a'] }}{{ dict.fromkeys(['k'], 2)['k'] }}", "12", id="dict"),
        pytest.param(
            "{% if true %}\n    {% for m in messages %}\n  {{ m.content }}\n    {% endfor %}\n{% endif %}\nend\n",
            "  u1\n  a1\n  u2\nend",
            id="white space around blocks",
        ),
        pytest.param(
            "{{ messages[0].content.upper() }}{{ messages[1:]|length }}"
            "{{ messages|map(attribute='role')|join(',') }}{{ messages[0].get('name', 'none') }}"
            "{{ 'x' is string }}{{ messages[0]['content'].split('1')[0] }}",
            "U12user,assistant,usernoneTrueu",
            id="methods and tests",
        ),
        pytest.param("{{ messages.__class__ }}", "", id="what the sandbox hides"),
    ],
)
def test_renders_as_in_transformers(text: str, rendered: str) -> None:
    assert ChatTemplate(text, SPECIAL).render(TURNS) == rendered


def test_the_date_is_today_s() -> None:
    before = datetime.date.today()
    rendered = ChatTemplate("{{ strftime_now('%Y-%m-%d') }}", {}).render(TURNS)
    assert before <= datetime.date.fromisoformat(rendered) <= datetime.date.today()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ raise_exception('only users') }}", "refuses: only users"),
        ("{{ messages[0].nothing.more }}", "has no attribute 'nothing'"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{% set _ = messages.append(1) %}", "unsafe"),
        ("{% set ns = namespace() %}{% set ns._x = 1 %}", "_x"),
        ("{% set ns = namespace(__call__=1) %}", "__call__"),
    ],
)
def test_what_a_template_refuses_or_may_not_do_is_said(text: str, reason: str) -> None:
    with pytest.raises(ChatFormatError, match=reason):
        ChatTemplate(text, {}).render(TURNS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("line\n{% if %}", "line 2"),
        ("{{ raise_exception('no') }}", "refuses: no"),
        ("# Notes\nNo template at all.\n", "leaves out what the user says"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}", "what the assistant says"),
    ],
)
def test_a_template_that_does_not_work_is_found_out(text: str, reason: str) -> None:
    with pytest.raises(ChatFormatError, match=reason):
        check(text, {})


PLAIN = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tokenizer of an exported folder, without a template."""
    made = tmp_path / "home" / "models" / "oci-ds-1.3b" / "onnx-int4-cpu"
    made.mkdir(parents=True)
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(made / "tokenizer.json"))
    (made / "tokenizer_config.json").write_text(
        '{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null}'
    )
    (made / "manifest.json").write_text('{"precision": "int4", "device": "cpu"}')
    return made


def test_your_own_wins_over_the_model_s_which_wins_over_the_family_s(folder: Path) -> None:
    asked = [Message("user", "x")]
    assert ChatTokenizer(folder, "cl").render(asked) == "<s>[INST] x [/INST]"
    config = folder / "tokenizer_config.json"
    several = (
        '[{"name": "tool_use", "template": "t"}, {"name": "default", "template": "{{ bos_token }}config"}]'
    )
    config.write_text(config.read_text().replace("{", f'{{"chat_template": {several}, ', 1))
    assert ChatTokenizer(folder, "cl").render(asked) == "<s>config"
    (folder / "chat_template.jinja").write_text("file{{ eos_token }}")
    assert ChatTokenizer(folder, "cl").render(asked) == "file</s>"
    assert ChatTokenizer(folder, "cl", "own{{ pad_token }}").render(asked) == "own"
    assert special_tokens(folder) == {"bos_token": "<s>", "eos_token": "</s>"}


def test_a_broken_template_of_the_user_s_is_named_as_that(folder: Path) -> None:
    with pytest.raises(EngineError, match=r"line 1.*your own"):
        ChatTokenizer(folder, "cl", "{% if %}")


def test_the_command_stores_shows_and_forgets_your_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(store.HOME_VARIABLE, str(tmp_path / "home"))
    mine = tmp_path / "mine.jinja"
    mine.write_text(PLAIN)
    ask = ["model", "template", "oci-ds-1.3b"]

    assert main(ask) == 0
    shown = capsys.readouterr()
    assert "format of the family ds" in shown.err
    assert shown.out.startswith("<｜begin▁of▁sentence｜>You are an AI programming assistant")

    assert main([*ask, str(mine)]) == 0
    assert capsys.readouterr().out.startswith("[user] Write `add(a, b)`.\n[assistant] ```python")
    assert store.chat_template("oci-ds-1.3b") == PLAIN
    assert main(ask) == 0
    shown = capsys.readouterr()
    assert (shown.out, "yours" in shown.err) == (f"{PLAIN}\n", True)

    mine.write_text("{% for m in messages %}")
    assert main([*ask, str(mine)]) == 2
    assert "cannot be compiled" in capsys.readouterr().err
    assert store.chat_template("oci-ds-1.3b") == PLAIN

    assert main([*ask, "--clear"]) == 0
    assert store.chat_template("oci-ds-1.3b") is None
    assert main([*ask, str(tmp_path / "nowhere.jinja")]) == 2
    assert "cannot be read" in capsys.readouterr().err

    (folder / "chat_template.jinja").write_text(PLAIN)
    capsys.readouterr()
    assert main(ask) == 0
    shown = capsys.readouterr()
    assert (shown.out, "the model's own" in shown.err) == (f"{PLAIN}\n", True)
    assert shipped(folder) == PLAIN
