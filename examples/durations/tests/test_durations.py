import pytest
from durations import format_duration, parse_duration


def test_one_unit():
    assert parse_duration("45s") == 45
    assert parse_duration("2h") == 7200


def test_several_units():
    assert parse_duration("1h30m") == 5400
    assert parse_duration("1d2h3m4s") == 93784


@pytest.mark.parametrize("text", ["", "h", "10", "5x"])
def test_not_a_duration(text):
    with pytest.raises(ValueError):
        parse_duration(text)


def test_format():
    assert format_duration(5400) == "1h30m"
    assert format_duration(0) == "0s"
