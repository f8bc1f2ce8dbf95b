"""Conversations to token ids and token ids to text, by the model's own tokenizer and chat template."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from lsp_server.models import chat, template
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
        EngineError: a file is missing or cannot be read, or the template is none.
    """

    def __init__(self, folder: Path, family: Family, override: str | None = None) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            text = override or template.shipped(folder)
            self._template = template.ChatTemplate(text, template.special_tokens(folder)) if text else None
        except chat.ChatFormatError as error:
            raise EngineError(f"{error} ({'your own' if override else folder})") from error
        except Exception as error:  # The library raises bare Exceptions.
            raise EngineError(f"the tokenizer in {folder} cannot be read: {error}") from error
        self._family = family
        self._using = threading.Lock()

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """Texts that end a turn without being a single token."""
        return chat.STOP_STRINGS.get(self._family, ())

    def render(self, messages: Sequence[Message]) -> str:
        """Write a conversation down in the model's chat format, up to where the reply begins.

        Raises:
            ChatFormatError: the format has no place for such a sequence of turns.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        return self._template.render(turns) if self._template else chat.render(self._family, turns)

    def encode(self, text: str) -> list[int]:
        """Token ids of a rendered conversation; nothing is put before or after."""
        with self._using:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, tokens: Iterator[int]) -> Iterator[str]:
        """Yield the text of tokens as they come, never a broken character."""
        stream = DecodeStream(skip_special_tokens=True)
        for token in tokens:
            if piece := stream.step(self._tokenizer, token):
                yield piece
