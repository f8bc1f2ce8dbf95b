"""The catalog holds the whole family and agrees with the published table."""

import pytest

from lsp_server.models.catalog import CATALOG, DEFAULT, Family, ModelEntry, UnknownModel, entry
from lsp_server.models.exporter.stop import producible


def test_has_all_eleven_models_of_the_family_and_the_two_small_ones() -> None:
    by_family = {
        family: [e.id for e in CATALOG if e.family == family] for family in ("ds", "cl", "gm", "sc2", "qwen")
    }
    assert {family: len(ids) for family, ids in by_family.items()} == {
        "ds": 3,
        "cl": 4,
        "gm": 1,
        "sc2": 3,
        "qwen": 2,
    }
    assert entry(DEFAULT).files[0].size == 1_117_320_768


@pytest.mark.parametrize(
    ("model_id", "fp16", "int4"),
    [
        ("oci-ds-1.3b", 2.69, 0.76),
        ("oci-ds-33b", 66.69, 18.76),
        ("oci-gm-7b", 17.08, 4.80),
        ("oci-sc2-15b", 31.92, 8.98),
    ],
)
def test_memory_is_that_of_the_table(model_id: str, fp16: float, int4: float) -> None:
    known = entry(model_id)
    assert known.weight_bytes("fp16") / 1e9 == pytest.approx(fp16, abs=0.01)
    assert known.weight_bytes("int4") / 1e9 == pytest.approx(int4, abs=0.01)
    assert known.memory_bytes("int4", 100) == known.weight_bytes("int4") + 100 * known.kv_bytes


def test_ids_are_unique_and_repositories_are_named_as_published() -> None:
    assert len({e.id for e in CATALOG}) == len(CATALOG)
    assert entry("oci-ds-1.3b").repo == "m-a-p/OpenCodeInterpreter-DS-1.3B"
    assert all(e.licence and e.stop_ids for e in CATALOG)


def test_an_unknown_id_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownModel, match=r"oci-ds-6\.7b"):
        entry("oci-ds-6b")


STOP_IDS: dict[Family, set[int]] = {
    "ds": {32_021, 32_014},  # `<|EOT|>` of the 6.7B, and what the 33B's generation_config says
    "cl": {2},
    "gm": {1},
    "sc2": {0},  # the tokenizer's own: the 7B's generation_config names 49152, past the vocabulary
    "qwen": {151_645, 151_643},
}
VOCABULARY: dict[Family, int] = {"ds": 32_256, "cl": 32_000, "gm": 256_000, "sc2": 49_152, "qwen": 151_936}
"""Rows of the smallest embedding in each family."""


@pytest.mark.parametrize("known", CATALOG, ids=lambda known: known.id)
def test_a_reply_ends_at_the_published_ids_all_of_which_can_be_produced(known: ModelEntry) -> None:
    assert set(known.stop_ids) == STOP_IDS[known.family]
    assert set(producible(known.stop_ids, VOCABULARY[known.family])) == set(known.stop_ids)


def test_ids_past_the_vocabulary_are_dropped() -> None:
    assert producible([32_003, 2, 32_000, 2, 31_999, -1], 32_000) == [2, 31_999]
    assert producible([49_152, 0], 49_152) == [0]
