"""The Gregorian calendar: lengths of months and years."""

DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def is_leap(year):
    """Return whether a year has a 29th of February."""
    return year % 4 == 0 and year % 100 != 0


def days_in_month(year, month):
    """Return the number of days of a month; January is 1.

    Raises ValueError for a month that does not exist.
    """
    if not 1 <= month <= 12:
        raise ValueError(f"there is no month {month}")
    if month == 2 and is_leap(year):
        return 29
    return DAYS[month - 1]


def days_in_year(year):
    """Return the number of days of a year."""
    return sum(days_in_month(year, month) for month in range(1, 13))
