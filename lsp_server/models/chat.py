"""Chat formats per family, for models that ship no chat template of their own.

A model's own template wins; these follow what the OpenCodeInterpreter models were evaluated with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .catalog import Family

Turn = Mapping[str, str]
"""`role` (`system`, `user`, `assistant`) and `content`."""

DS_SYSTEM = (
    "You are an AI programming assistant, utilizing the Deepseek Coder model, developed by Deepseek Company, and you "
    "only answer questions related to computer science. For politically sensitive questions, security and privacy "
    "issues, and other non-computer science questions, you will refuse to answer\n"
)

STOP_STRINGS: dict[Family, tuple[str, ...]] = {"gm": ("<|im_end|>",)}
"""Ends of a turn that are no single token in the family's vocabulary."""


END_OF_TURN = ("<|im_end|>", "<|endoftext|>", "<|EOT|>", "<end_of_turn>", "<|eot_id|>", "</s>", "<eos>")
"""Control tokens that end a reply in one or another of the families."""


class ChatFormatError(ValueError):
    """The conversation cannot be rendered for this family."""


def render(family: Family, turns: Sequence[Turn]) -> str:
    """Render a conversation up to where the assistant's next reply begins.

    Args:
        family: the model's family.
        turns: optionally one system turn, then user and assistant turns, the last by the user.

    Returns:
        The prompt, beginning-of-sequence token included where the family has one.

    Raises:
        ChatFormatError: no turns, a system turn elsewhere than first, or the last turn is not the user's.
    """
    if not turns or turns[-1]["role"] != "user":
        raise ChatFormatError("a conversation must end with a user turn")
    if any(turn["role"] == "system" for turn in turns[1:]):
        raise ChatFormatError("a system turn can only be the first")
    system = turns[0]["content"] if turns[0]["role"] == "system" else None
    return _RENDERERS[family](system, turns[1:] if system is not None else turns)


def _deepseek(system: str | None, turns: Sequence[Turn]) -> str:
    text = "<｜begin▁of▁sentence｜>" + (DS_SYSTEM if system is None else system)
    for turn in turns:
        if turn["role"] == "user":
            text += f"### Instruction:\n{turn['content']}\n"
        else:
            text += f"### Response:\n{turn['content']}\n<|EOT|>\n"
    return text + "### Response:\n"


def _code_llama(system: str | None, turns: Sequence[Turn]) -> str:
    text, head = "", f"<<SYS>>\n{system}\n<</SYS>>\n\n" if system is not None else ""
    for turn in turns:
        if turn["role"] == "user":
            text += f"<s>[INST] {head}{turn['content'].strip()} [/INST]"
            head = ""
        else:
            text += f" {turn['content'].strip()} </s>"
    return text


def _chatml(system: str | None, turns: Sequence[Turn]) -> str:
    head = [] if system is None else [{"role": "system", "content": system}]
    text = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in [*head, *turns])
    return text + "<|im_start|>assistant\n"


def _end_of_text(system: str | None, turns: Sequence[Turn]) -> str:
    contents = [system] if system is not None else []
    return "".join(f"{content}<|endoftext|>" for content in [*contents, *(turn["content"] for turn in turns)])


_RENDERERS: dict[Family, Callable[[str | None, Sequence[Turn]], str]] = {
    "ds": _deepseek,
    "cl": _code_llama,
    "gm": _chatml,
    "sc2": _end_of_text,
    "qwen": _chatml,
}
