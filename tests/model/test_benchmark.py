"""A benchmark with the real default model, EvalPlus and sandbox, on two problems of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsp_server.cli import main
from lsp_server.models import store
from tests import tiny_benchmark as tiny


def test_the_default_model_solves_tiny_problems(
    default_model: store.Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tiny.write(tmp_path / "data.jsonl", tiny.ADD, tiny.HALVE))
    run = tmp_path / "run"
    # To the official prompts this model often answers with their example of a code block.
    arguments = ["eval", "humaneval+", "--feedback", "execution", "--prompts", "companion"]
    arguments += ["--data", data, "--output", str(run)]
    assert main([*arguments, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"Model: {default_model.model_id}\n  {default_model.precision}: " in said
    assert "First prompts: " in said
    assert main(arguments) == 0
    outcomes = [json.loads(line) for line in (run / "outcomes.jsonl").read_text().splitlines()]
    print(json.dumps(outcomes, indent=1))
    assert [(each["id"], each["passed"], each["passed_plus"]) for each in outcomes] == [
        ("Tiny/1", True, True),
        ("Tiny/2", True, True),
    ]
    assert all(each["attempts"][0]["reply_tokens"] > 10 for each in outcomes)
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["model"]["precision"] == default_model.precision
    assert manifest["model"]["files"] == {
        each["name"]: each["sha256"] for each in default_model.manifest["source"]["files"]
    }
    assert "onnxruntime-genai" in manifest["versions"]
    assert f"| {default_model.model_id} | 100.0 (100.0) |" in (run / "table.md").read_text()
