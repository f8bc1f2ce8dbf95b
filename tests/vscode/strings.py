"""Put the server's texts beside the extension's in the file for translators; `npm run strings` does both.

Only the standard library is used: npm may find another Python than the project's.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STRINGS = ROOT / "extension" / "l10n" / "bundle.l10n.json"
SERVER = ROOT / "lsp_server"
MODULE = "lsp_server.features.l10n"


class NotLiteral(Exception):
    """A text that translators cannot be given, for only the running server knows it; the message says where."""


def server_texts() -> list[str]:
    """Return the texts of all `l10n.text` calls, each once, by file and then as they come.

    Raises:
        NotLiteral: one is not a literal, or is asked for in a way that is not seen here.
    """
    found = {
        text: None
        for path in sorted(SERVER.rglob("*.py"))
        for text in texts_of(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    }
    return list(found)


def texts_of(code: str, name: str) -> list[str]:
    """Return the texts of a module's `l10n.text` calls.

    Args:
        code: of the module.
        name: of its file.

    Raises:
        NotLiteral: as `server_texts` has it.
    """
    found: list[tuple[int, int, str]] = []
    called: set[ast.expr] = set()
    nodes = list(ast.walk(ast.parse(code)))
    for node in nodes:
        if isinstance(node, ast.Call) and _is_text(node.func):
            called.add(node.func)
            first = node.args[0] if node.args else None
            if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
                raise NotLiteral(f"{name}:{node.lineno}: `l10n.text` takes a literal")
            found.append((node.lineno, node.col_offset, first.value))
    for node in nodes:
        if isinstance(node, ast.Attribute) and _is_text(node) and node not in called:
            raise NotLiteral(f"{name}:{node.lineno}: `l10n.text` is to be called where it is named")
        if isinstance(node, ast.ImportFrom) and node.module == MODULE:
            raise NotLiteral(f"{name}:{node.lineno}: import `l10n` itself, and call `l10n.text`")
    return [text for _, _, text in sorted(found)]


def add_server_texts() -> None:
    """Add the server's texts to those of the extension, which the file has."""
    texts: dict[str, object] = json.loads(STRINGS.read_text(encoding="utf-8"))
    for text in server_texts():
        texts.setdefault(text, text)
    STRINGS.write_text(json.dumps(texts, indent=2, ensure_ascii=False), encoding="utf-8")


def _is_text(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "text"
        and isinstance(function.value, ast.Name)
        and function.value.id == "l10n"
    )


if __name__ == "__main__":
    add_server_texts()
