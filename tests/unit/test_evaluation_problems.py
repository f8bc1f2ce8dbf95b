"""Reading EvalPlus' data files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lsp_server.evaluation import problems
from lsp_server.evaluation.run_folder import EvaluationError
from tests import tiny_benchmark as tiny


def test_plain_and_compressed_files_are_the_same(tmp_path: Path) -> None:
    plain = problems.read("humaneval", tiny.write(tmp_path / "a.jsonl", tiny.ADD, tiny.HALVE))
    packed = problems.read("humaneval", tiny.write(tmp_path / "a.jsonl.gz", tiny.ADD, tiny.HALVE))
    assert plain == packed
    assert [each.id for each in plain.all] == ["Tiny/1", "Tiny/2"]
    assert json.loads(plain.all[0].line) == tiny.ADD


def test_a_contract_that_evalplus_insists_on_is_added(tmp_path: Path) -> None:
    (problem,) = problems.read("mbpp", tiny.write(tmp_path / "a.jsonl", tiny.SQUARE)).all
    assert json.loads(problem.line) == {**tiny.SQUARE, "contract": ""}


def test_choice(tmp_path: Path) -> None:
    ten = {**tiny.ADD, "task_id": "Tiny/10", "entry_point": "ten"}
    found = problems.read("humaneval", tiny.write(tmp_path / "a.jsonl", tiny.ADD, tiny.HALVE, ten))
    assert [each.id for each in found.chosen(limit=2)] == ["Tiny/1", "Tiny/2"]
    assert [each.id for each in found.chosen("Tiny/1")] == ["Tiny/1"]
    assert [each.id for each in found.chosen("/1")] == ["Tiny/1", "Tiny/10"]
    assert [each.id for each in found.chosen("halve")] == ["Tiny/2"]
    with pytest.raises(EvaluationError, match="No problem is called 'nothing'"):
        found.chosen("nothing")


def test_where_the_data_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, other = tmp_path / "given.jsonl", tmp_path / "other.jsonl"
    downloads = tmp_path / "downloads"
    monkeypatch.delenv("HUMANEVAL_OVERRIDE_PATH", raising=False)
    assert problems.data_file("humaneval", None, downloads) is None
    downloads.mkdir()
    (downloads / "HumanEvalPlus.jsonl.gz").touch()
    assert problems.data_file("humaneval", None, downloads) == downloads / "HumanEvalPlus.jsonl.gz"
    other.touch()
    monkeypatch.setenv("HUMANEVAL_OVERRIDE_PATH", str(other))
    assert problems.data_file("humaneval", None, downloads) == other
    given.touch()
    assert problems.data_file("humaneval", given, downloads) == given
    given.unlink()
    with pytest.raises(EvaluationError, match=r"There is no file .*given.jsonl, which --data names"):
        problems.data_file("humaneval", given, downloads)
    other.unlink()
    with pytest.raises(EvaluationError, match="which HUMANEVAL_OVERRIDE_PATH names"):
        problems.data_file("humaneval", None, downloads)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not json\n", "cannot be read as JSON"),
        ("", "holds no problem"),
        ('{"task_id": "Tiny/1"}\n', "line 1, has no prompt, entry_point, canonical_solution"),
        ("3\n", "line 1, has no task_id"),
    ],
)
def test_what_is_no_data(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(text)
    with pytest.raises(EvaluationError, match=reason):
        problems.read("humaneval", file)


def test_a_broken_archive(tmp_path: Path) -> None:
    file = tiny.write(tmp_path / "a.jsonl.gz", tiny.ADD)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(EvaluationError, match="cannot be read"):
        problems.read("humaneval", file)


def test_offline_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "PUBLISHED", {"mbpp": "http://127.0.0.1:9/MbppPlus.jsonl.gz"})
    with pytest.raises(EvaluationError, match=r"cannot be downloaded .* --data FILE or MBPP_OVERRIDE_PATH"):
        problems.download("mbpp", tmp_path)
