"""The catalog holds the whole family and agrees with the published table."""

import pytest

from lsp_server.models.catalog import CATALOG, DEFAULT, UnknownModel, entry


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
