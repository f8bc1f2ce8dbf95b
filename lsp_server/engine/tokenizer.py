"""Conversations to token ids and token ids to text, by the model's own tokenizer and chat template."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from lsp_server.models import chat
from lsp_server.models.catalog import Family

from .protocol import EngineError, Message


class ChatTokenizer:
    """Tokenizer and chat template of an exported folder.

    Args:
        folder: holds `tokenizer.json` and `tokenizer_config.json`.
        family: chat format if there is no template.
        override: a chat template (Jinja) that wins over the folder's own; None: `chat_template.jinja` there, or the
            `chat_template` of its configuration.

    Raises:
        EngineError: a file is missing or cannot be read.
    """

    def __init__(self, folder: Path, family: Family, override: str | None = None) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        except Exception as error:  # The library raises bare Exceptions.
            raise EngineError(f"the tokenizer in {folder} cannot be read: {error}") from error
        self._family = family
        self._using = threading.Lock()
        template = override or _own_template(folder, config)
        self._template = _compile(template) if template else None
        names = ("bos_token", "eos_token", "unk_token", "pad_token")
        self._special = {name: _content(config[name]) for name in names if config.get(name)}

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """Texts that end a turn without being a single token."""
        return () if self._template else chat.STOP_STRINGS.get(self._family, ())

    def render(self, messages: Sequence[Message]) -> str:
        """Write a conversation down in the model's chat format, up to where the reply begins.

        Raises:
            ChatFormatError: the format has no place for such a sequence of turns.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        if self._template is None:
            return chat.render(self._family, turns)
        try:
            return self._template.render(
                messages=turns, add_generation_prompt=True, tools=None, **self._special
            )
        except jinja2.TemplateError as error:
            raise chat.ChatFormatError(f"the model's chat template refuses: {error}") from error

    def encode(self, text: str) -> list[int]:
        """Token ids of a rendered conversation; nothing is put before or after."""
        with self._using:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, tokens: Iterator[int]) -> Iterator[str]:
        """Yield the text of tokens as they come, never a broken character."""
        stream = DecodeStream(skip_special_tokens=True)
        for token in tokens:
            try:
                piece = stream.step(self._tokenizer, token)
            except Exception:  # The library raises bare Exceptions.
                # Bytes that make no character also undo the one before them, which is out already: begin afresh.
                stream = DecodeStream(skip_special_tokens=True)
                piece = stream.step(self._tokenizer, token)
            if piece:
                yield piece


def _own_template(folder: Path, config: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = config.get("chat_template")
    if isinstance(found, list):
        # Some models name several; the one for conversations is the default.
        found = next((each["template"] for each in found if each["name"] == "default"), None)
    return found


def _compile(template: str) -> jinja2.Template:
    """Compile a template the way transformers does, so that published ones render alike.

    Raises:
        EngineError: it is not one.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.globals["raise_exception"] = refuse
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise EngineError(f"the model's chat template cannot be compiled: {error}") from error


def _content(token: Any) -> str:
    """A special token's text; older configurations wrap it."""
    return str(token["content"] if isinstance(token, dict) else token)
