"""Durations as people write them: `1h30m` is 5400 seconds."""

UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def parse_duration(text):
    """Return the seconds in a duration such as `1h30m`.

    Raises ValueError for text that is not a duration.
    """
    total = 0
    digits = ""
    for character in text:
        if character.isdigit():
            digits += character
        elif character in UNITS and digits:
            total = int(digits) * UNITS[character]
            digits = ""
        else:
            raise ValueError(f"not a duration: {text!r}")
    if digits or not text:
        raise ValueError(f"not a duration: {text!r}")
    return total


def format_duration(seconds):
    """Return seconds as a duration, largest unit first: 5400 is `1h30m`."""
    parts = []
    for unit, length in UNITS.items():
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
