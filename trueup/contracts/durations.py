"""ISO-8601 durations of fixed length, such as PT45M and P34D."""

import re

_DURATION = re.compile(r"P(?:(\d{1,6})W|(?:(\d{1,6})D)?(?:T(?=\d)(?:(\d{1,8})H)?(?:(\d{1,8})M)?(?:(\d{1,10})S)?)?)", re.ASCII)
_SECONDS_PER_PART = (604_800, 86_400, 3_600, 60, 1)


def seconds_of(text: str) -> int:
    """Read a duration of weeks, or of days, hours, minutes and seconds; ValueError otherwise: months and years have no fixed length."""
    found = _DURATION.fullmatch(text)
    if found is None or text == "P":
        raise ValueError(f"{text!r} is no duration such as PT45M or P34D")
    return sum(int(part) * seconds for part, seconds in zip(found.groups(), _SECONDS_PER_PART, strict=True) if part is not None)


def duration_text(seconds: int) -> str:
    """Write a number of seconds as a duration, in the largest parts that fit."""
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    clock = "".join(f"{count}{part}" for count, part in ((hours, "H"), (minutes, "M"), (rest, "S")) if count)
    date = f"{days}D" if days else ""
    return f"P{date}T{clock}" if clock else f"P{date}" if date else "PT0S"
