"""The extension's manifest says what the server reads: every setting, with its type and default."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lsp_server import __version__
from lsp_server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
MANIFEST: dict[str, Any] = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
STRINGS: dict[str, str] = json.loads((ROOT / "package.nls.json").read_text(encoding="utf-8"))
DECLARED: dict[str, dict[str, Any]] = MANIFEST["contributes"]["configuration"]["properties"]
OF_THE_EXTENSION = {"oci.server.python", "oci.server.basePython"}
"""Settings that the server never sees."""
WEAKENS = ("oci.sandbox.", "oci.endpoint", "oci.server.")
"""Settings that no workspace may have a say in."""


def settings(kind: type[Any] = Settings, prefix: str = "oci") -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, the type and the default of each of the server's settings."""
    for field in fields(kind):
        hint = get_type_hints(kind)[field.name]
        if is_dataclass(hint):
            assert isinstance(hint, type)
            yield from settings(hint, f"{prefix}.{field.name}")
        else:
            default = field.default if field.default_factory is MISSING else field.default_factory()
            yield f"{prefix}.{field.name}", hint, default


def test_the_same_settings() -> None:
    assert {name for name, _, _ in settings()} | OF_THE_EXTENSION == set(DECLARED)


def test_the_same_types_and_defaults() -> None:
    names = {str: "string", int: "integer", float: "number", bool: "boolean"}
    for name, hint, default in settings():
        declared = DECLARED[name]
        if get_origin(hint) is Literal:
            assert declared["enum"] == list(get_args(hint)), name
            assert declared["default"] == default, name
        elif get_origin(hint) is tuple:
            assert (declared["type"], declared["items"]) == ("array", {"type": "string"}), name
            assert declared["default"] == list(default), name
        elif get_origin(hint) is Mapping:
            assert (declared["type"], declared["additionalProperties"]) == ("object", {"type": "string"}), (
                name
            )
            assert declared["default"] == default, name
        else:
            assert declared["type"] == names[hint], name
            assert declared["default"] == default, name


def test_a_workspace_cannot_weaken_safety() -> None:
    for name, declared in DECLARED.items():
        assert (declared["scope"] == "machine") or not name.startswith(WEAKENS), name
    restricted = MANIFEST["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"]
    # What is left decides neither what runs nor how.
    assert set(DECLARED) - set(restricted) == {"oci.engine.idleUnload", "oci.logLevel"}


def test_every_string_is_there_and_used() -> None:
    used = set(re.findall(r'"%([\w.]+)%"', (ROOT / "package.json").read_text(encoding="utf-8")))
    assert used == set(STRINGS)


def test_the_extension_has_the_version_of_the_server() -> None:
    assert MANIFEST["version"] == __version__
