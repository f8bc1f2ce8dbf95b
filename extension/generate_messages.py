"""Make `extension/src/messages.ts` of the server's custom messages: `python -m extension.generate_messages`."""

from __future__ import annotations

import types
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lsp_server.features import messages

TARGET = Path(__file__).resolve().parent / "src" / "messages.ts"
NAMES = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}


def generate() -> str:
    """Return the TypeScript."""
    parts = [
        "// Made of lsp_server/features/messages.py by extension/generate_messages.py: change it there.\n"
    ]
    sent = [
        f'  readonly "{method}": {message.__name__};\n' for method, message in messages.NOTIFICATIONS.items()
    ]
    parts.append(f"\nexport interface Notifications {{\n{''.join(sent)}}}\n")
    for message in (*messages.NOTIFICATIONS.values(), *messages.ANSWERS):
        hints = get_type_hints(message)
        lines = [f"  readonly {field.name}: {_type(hints[field.name])};\n" for field in fields(message)]
        parts.append(f"\nexport interface {message.__name__} {{\n{''.join(lines)}}}\n")
    return "".join(parts)


def _type(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(f'"{value}"' for value in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(_type(part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        return f"readonly {_type(get_args(hint)[0])}[]"
    return NAMES[hint]


if __name__ == "__main__":
    TARGET.write_text(generate(), encoding="utf-8")
