"""Chat templates (Jinja) as models ship them: what transformers lets one see and do, and no more."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from .chat import ChatFormatError, Turn

FILE = "chat_template.jinja"
"""Its name in an exported folder."""
SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Special tokens that a template can name."""
SAMPLE: tuple[Turn, ...] = (
    {"role": "user", "content": "Write `add(a, b)`."},
    {"role": "assistant", "content": "```python\ndef add(a, b):\n    return a - b\n```"},
    {"role": "user", "content": "Execution result: \nassert -1 == 5"},
)
"""A conversation of the kind that the companion holds."""


class ChatTemplate:
    """A template that was compiled.

    Args:
        text: Jinja.
        special: the tokenizer's special tokens, by name.

    Raises:
        ChatFormatError: it is none; with the line.
    """

    def __init__(self, text: str, special: Mapping[str, str]) -> None:
        self._special = special
        try:
            self._template = _environment().from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise ChatFormatError(
                f"the chat template cannot be compiled: line {error.lineno}: {error}"
            ) from error

    def render(self, turns: Sequence[Turn]) -> str:
        """Write a conversation down, up to where the reply begins.

        Raises:
            ChatFormatError: the template refuses it, or breaks.
        """
        given: dict[str, Any] = {"tools": None, "documents": None, "add_generation_prompt": True}
        try:
            return self._template.render(messages=[dict(turn) for turn in turns], **given, **self._special)
        except jinja2.TemplateError as error:
            raise ChatFormatError(f"the model's chat template refuses: {error}") from error
        except Exception as error:  # A template is a program of somebody else's: anything can go wrong in it.
            raise ChatFormatError(
                f"the model's chat template breaks: {type(error).__name__}: {error}"
            ) from error


def check(text: str, special: Mapping[str, str]) -> str:
    """Return a sample conversation as a template writes it.

    Args:
        text: the template.
        special: the tokenizer's special tokens, by name.

    Raises:
        ChatFormatError: it does not compile, does not render, or leaves out what is said.
    """
    rendered = ChatTemplate(text, special).render(SAMPLE)
    for turn in SAMPLE:
        if turn["content"].strip() not in rendered:
            raise ChatFormatError(f"the chat template leaves out what the {turn['role']} says")
    return rendered


def shipped(folder: Path) -> str | None:
    """The template in a model's exported folder; None if it has none."""
    file = folder / FILE
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = _configuration(folder).get("chat_template")
    if isinstance(found, list):
        # Some models name several; the one for conversations is the default.
        found = next((each["template"] for each in found if each["name"] == "default"), None)
    return found


def special_tokens(folder: Path) -> dict[str, str]:
    """Special tokens of a model's exported folder, by the names that templates use."""
    known = _configuration(folder)
    # Older configurations wrap a token.
    return {
        name: str(token["content"] if isinstance(token, dict) else token)
        for name in SPECIAL
        if (token := known.get(name))
    }


def _configuration(folder: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return known


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.globals |= {
        "raise_exception": _refuse,
        "strftime_now": lambda form: datetime.datetime.now().strftime(form),
        "namespace": _Namespace,
    }
    environment.filters["tojson"] = _to_json
    return environment


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON: Jinja's own filter escapes it for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class _Generation(Extension):
    """`{% generation %} … {% endgeneration %}` marks the assistant's words for training; they are just written."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration

    def parse(self, parser: Parser) -> nodes.Node:
        """Return the block's body, whose variables stay in it."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class _Namespace(Namespace):
    """Jinja's, without names that mean something to the interpreter: the sandbox looks at reading, not at setting."""

    def __init__(*given: Any, **named: Any) -> None:
        Namespace.__init__(*given, **named)
        for name in dict(*given[1:], **named):
            _public(name)

    def __setitem__(self, name: str, value: Any) -> None:
        _public(name)
        Namespace.__setitem__(self, name, value)


def _public(name: Any) -> None:
    if str(name).startswith("_"):
        raise SecurityError(f"a namespace takes no name like {name!r}")
