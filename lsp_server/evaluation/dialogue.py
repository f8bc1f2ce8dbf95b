"""What a model is asked, round by round: in the official form, or in the companion's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from lsp_server.engine.protocol import Message
from lsp_server.evaluation import official
from lsp_server.evaluation.problems import Dataset, Problem
from lsp_server.refine.feedback import HEAD

Prompts = Literal["official", "companion"]


class Dialogue(Protocol):
    """A conversation about one problem."""

    @property
    def messages(self) -> Sequence[Message]:
        """What the model is sent next."""

    @property
    def turns(self) -> Sequence[Message]:
        """What was said, turn by turn, as Code-Feedback has it."""

    def replied(self, reply: str) -> None:
        """Take the model's reply."""

    def executed(self, result: str) -> None:
        """Take what the check said of the reply."""

    def guided(self, guidance: str) -> None:
        """Take what somebody said of the reply."""


def begin(prompts: Prompts, dataset: Dataset, problem: Problem) -> Dialogue:
    """Return the dialogue that opens a problem."""
    if prompts == "official":
        return OfficialDialogue(dataset, problem)
    return ChatDialogue(dataset, problem)


class OfficialDialogue:
    """One user message that grows by what is replied and what comes of it."""

    def __init__(self, dataset: Dataset, problem: Problem) -> None:
        self._prompt = official.first_prompt(dataset, problem)
        self._reply = ""
        self._turns = [Message("user", self._prompt)]

    @property
    def messages(self) -> Sequence[Message]:
        """What the model is sent next."""
        return [Message("user", self._prompt)]

    @property
    def turns(self) -> Sequence[Message]:
        """What was said, turn by turn; what is sent joins these in one."""
        return tuple(self._turns)

    def replied(self, reply: str) -> None:
        """Take the model's reply."""
        self._reply = reply
        self._turns.append(Message("assistant", reply))

    def executed(self, result: str) -> None:
        """Take what the check said of the reply."""
        self._prompt = official.after_execution(self._prompt, self._reply, result)
        self._turns.append(Message("user", official.EXECUTION + result))

    def guided(self, guidance: str) -> None:
        """Take what somebody said of the reply."""
        self._prompt = official.after_guidance(self._prompt, self._reply, guidance)
        self._turns.append(Message("user", guidance))


class ChatDialogue:
    """The companion's form: a short question, and every result in a user turn of its own.

    It is the form of `refine.prompt`, on the same checks and inputs as the official one; snapshots, targets and our own
    verdict are not in it.
    """

    def __init__(self, dataset: Dataset, problem: Problem) -> None:
        if dataset == "humaneval":
            question = (
                f"Complete the function `{problem.entry_point}`.\n\n```python\n{problem.prompt.strip()}\n```"
            )
        else:
            question = f"{problem.prompt.strip()}\n\nThe function is called `{problem.entry_point}`."
        form = (
            f"Answer with one Python code block that holds the whole of `{problem.entry_point}` and the imports it "
            "needs."
        )
        self._turns = [Message("user", f"{question}\n\n{form}")]

    @property
    def messages(self) -> Sequence[Message]:
        """What the model is sent next."""
        return tuple(self._turns)

    @property
    def turns(self) -> Sequence[Message]:
        """What was said, turn by turn."""
        return tuple(self._turns)

    def replied(self, reply: str) -> None:
        """Take the model's reply."""
        self._turns.append(Message("assistant", reply))

    def executed(self, result: str) -> None:
        """Take what the check said of the reply."""
        self._turns.append(Message("user", HEAD + result))

    def guided(self, guidance: str) -> None:
        """Take what somebody said of the reply."""
        self._turns.append(Message("user", guidance))
