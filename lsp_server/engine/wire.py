"""OpenAI's chat-completion format: what a request says, and the objects that answer it."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from .protocol import Message, Sampling
from .session import Usage

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


MOST_REPLIES = 16
"""Replies to one request."""


class BadRequest(Exception):
    """The request cannot be understood; `param` names the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class ChatRequest:
    """A parsed request."""

    messages: list[Message]
    sampling: Sampling
    stop: list[str]
    stream: bool
    include_usage: bool
    count: int = 1
    """How many replies."""
    background: bool = False
    """Every other request goes first."""


def parse(body: Any, default_max_tokens: int) -> ChatRequest:
    """Read a request's JSON.

    Raises:
        BadRequest: it is not one that can be answered.
    """
    messages = parse_messages(body)
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(text, str) and text for text in stop):
        raise BadRequest("stop must be a text or a list of texts", "stop")
    seed = body.get("seed")
    if seed is not None and (not isinstance(seed, int) or seed < 0):
        raise BadRequest("seed must be a whole number, 0 or more", "seed")
    _refuse_unanswerable(body)
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or default_max_tokens
    return ChatRequest(
        messages=messages,
        sampling=Sampling(
            temperature=_number(body, "temperature", 1.0, 0.0, 2.0),
            top_p=_number(body, "top_p", 1.0, 0.0, 1.0),
            seed=seed,
            max_tokens=int(_number({"max_tokens": limit}, "max_tokens", 0, 1, float("inf"))),
        ),
        stop=stop,
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        count=int(_number(body, "n", 1, 1, MOST_REPLIES)),
        # vLLM's field: the larger the number, the later.
        background=_number(body, "priority", 0, float("-inf"), float("inf")) > 0,
    )


def parse_messages(body: Any) -> list[Message]:
    """Read the conversation of a request's JSON.

    Raises:
        BadRequest: there is none.
    """
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise BadRequest("messages must be a list of at least one turn", "messages")
    return [_message(turn) for turn in body["messages"]]


def _refuse_unanswerable(body: dict[str, Any]) -> None:
    """Refuse what must not be ignored, since the answer would not be what the client then takes it for."""
    if (body.get("tools") or body.get("functions")) and body.get("tool_choice") != "none":
        raise BadRequest("this server calls no tools: leave them out", "tools")
    kind = (body.get("response_format") or {}).get("type", "text")
    if kind != "text":
        raise BadRequest(f"this server answers with text only, not {kind}", "response_format")


def _number(body: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadRequest(f"{name} must be a number from {least:g} to {most:g}", name)
    return value


def _message(turn: Any) -> Message:
    role = ROLES.get(turn.get("role", "")) if isinstance(turn, dict) else None
    if role is None:
        raise BadRequest(f"a turn's role must be one of {', '.join(ROLES)}", "messages")
    content = turn.get("content")
    if isinstance(content, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise BadRequest("a turn's content must be text", "messages")
    return Message(cast('Literal["system", "user", "assistant"]', role), content)


@dataclass
class Answer:
    """Makes the objects of one answer, all under one id."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def chunk(
        self, delta: dict[str, str], finish_reason: str | None = None, index: int = 0
    ) -> dict[str, Any]:
        """One piece of a streamed answer; `index` counts the replies."""
        choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
        return self._object("chat.completion.chunk") | {"choices": [choice]}

    def usage_chunk(self, usages: list[Usage], queued: float) -> dict[str, Any]:
        """The last chunk of a stream whose client asked for usage."""
        return self._object("chat.completion.chunk") | {"choices": []} | cost(usages, queued)

    def whole(self, texts: list[str], usages: list[Usage], queued: float) -> dict[str, Any]:
        """An answer in one piece."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": text},
                "finish_reason": usage.finish_reason,
            }
            for index, (text, usage) in enumerate(zip(texts, usages, strict=True))
        ]
        return self._object("chat.completion") | {"choices": choices} | cost(usages, queued)

    def _object(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def cost(usages: list[Usage], queued: float) -> dict[str, Any]:
    """`usage` as OpenAI counts it, and `timings` (an extension), in seconds, over all replies of one request."""
    prompt, completion = usages[0].prompt_tokens, sum(usage.completion_tokens for usage in usages)
    return {
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": usages[0].cached_tokens},
        },
        "timings": {
            "queued_seconds": round(queued, 4),
            "prefill_seconds": round(sum(usage.prefill_seconds for usage in usages), 4),
            "decode_seconds": round(sum(usage.decode_seconds for usage in usages), 4),
        },
    }


def error_body(message: str, kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's form."""
    return {"error": {"message": message, "type": kind, "code": code, "param": param}}
