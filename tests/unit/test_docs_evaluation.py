"""The page about evaluation names every model of the family, with the memory that the catalog's figures give."""

from __future__ import annotations

import re
from pathlib import Path

from lsp_server.models.catalog import CATALOG, ModelEntry
from lsp_server.models.fit import RESERVE, token_bytes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"
CONTEXT = 8192


def test_the_table_of_models() -> None:
    rows = re.findall(r"^\| `(oci-[^`]+)` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    family = [entry for entry in CATALOG if entry.id.startswith("oci-")]
    assert len(family) == 11
    assert rows == [
        (entry.id, " | ".join(f"{size / 1e9:.1f} GB" for size in _sizes(entry))) for entry in family
    ]


def _sizes(entry: ModelEntry) -> list[int]:
    on_gpu = [RESERVE["cuda"] + entry.memory_bytes(precision, CONTEXT) for precision in ("int4", "fp16")]
    on_cpu = RESERVE["cpu"] + entry.weight_bytes("int4") + CONTEXT * token_bytes(entry, "cpu")
    return [entry.weight_bytes("fp16"), *on_gpu, on_cpu]
