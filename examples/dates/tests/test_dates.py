import pytest
from dates import days_in_month, days_in_year, is_leap


@pytest.mark.parametrize("year", [1996, 2000, 2024])
def test_leap_years(year):
    assert is_leap(year)


@pytest.mark.parametrize("year", [1900, 2023, 2100])
def test_common_years(year):
    assert not is_leap(year)


def test_months():
    assert days_in_month(2023, 2) == 28
    assert days_in_month(2024, 2) == 29
    assert days_in_month(2024, 4) == 30


def test_years():
    assert days_in_year(2023) == 365
    assert days_in_year(2024) == 366


def test_no_such_month():
    with pytest.raises(ValueError):
        days_in_month(2024, 13)
