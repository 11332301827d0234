"""Durations and points in time as people write them."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|[dhms]))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[dhms])")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
DURATION_RULE = "expected a duration such as 90s, 1h30m or 30d"
TIME_RULE = "expected a duration such as 90s, 2h or 1h30m, or an RFC 3339 time such as 2026-01-31T12:00:00Z"


def parse_duration(text: str) -> timedelta:
    """A duration such as `90s`, `1h30m`, `2d`; raises ValueError."""
    if len(text) > 40 or not _DURATION.fullmatch(text):
        raise ValueError(DURATION_RULE)
    try:
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
    except OverflowError:
        raise ValueError("the duration is too long") from None


def parse_since(text: str, now: datetime) -> datetime:
    """A time in UTC from a duration before `now` or an RFC 3339 time; raises ValueError."""
    if _DURATION.fullmatch(text):
        try:
            return now - parse_duration(text)
        except OverflowError:
            raise ValueError("the duration is too long") from None
    return parse_time(text)


def parse_time(text: str) -> datetime:
    """A time in UTC from RFC 3339; raises ValueError."""
    if not _RFC3339.fullmatch(text):  # fromisoformat takes more, and not the same in every Python
        raise ValueError(TIME_RULE)
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(TIME_RULE) from None
    if moment.tzinfo is None:
        raise ValueError("the time has no zone: end it with Z or an offset such as +02:00")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is outside the years 1 to 9999") from None


def rfc3339(moment: datetime) -> str:
    """`moment` in UTC with microseconds, as podman and journald take it."""
    # not strftime: its %Y does not pad years before 1000
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def ago(seconds: float) -> str:
    """A span in the two largest units that say something: `3d4h`, `5m10s`, `8s`."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size}{unit}")
            left %= size
        elif parts:
            break
    return "".join(parts[:2])
