"""The page about evaluation names every model of the family, with the memory that the catalog's figures give."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lsp_server.cli import main
from lsp_server.models.catalog import CATALOG, ModelEntry
from lsp_server.models.fit import RESERVE, export_memory, token_bytes

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
    return [entry.weight_bytes("fp16"), *on_gpu, on_cpu, export_memory(entry, "int4", "cuda")]


@pytest.mark.parametrize("model", [entry.id for entry in CATALOG if entry.id.startswith("oci-")])
def test_what_would_be_run_of_each(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "task_id": "Tiny/0",
        "prompt": "def double(x):\n",
        "entry_point": "double",
        "canonical_solution": "    return 2 * x\n",
        "base_input": [[1]],
        "plus_input": [[2]],
        "atol": 0,
    }
    (tmp_path / "data.jsonl").write_text(json.dumps(row) + "\n")
    data = ("--data", str(tmp_path / "data.jsonl"))
    assert main(["eval", "humaneval+", *data, "--model", model, "--feedback", "execution", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"model pull {model}" in said and "context of 8192 tokens" in said, (
        "what gets it, and what it needs"
    )
