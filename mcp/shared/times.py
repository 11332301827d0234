"""Parsing and formatting of durations and points in time.

Times of logs are nanoseconds since the epoch, since a datetime has microseconds only.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
DURATION = r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|[dhms]))+"
_PART = r"([0-9]+(?:\.[0-9]+)?)(ms|[dhms])"
_RFC3339 = r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_UNIX = r"@([0-9]{1,12})(?:\.([0-9]+))?"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000_000  # nanoseconds
WORDS = ("boot", "deploy")  # moments that only the agent knows
DURATION_RULE = "expected a duration such as 90s, 1h30m or 30d"
TIME_RULE = (
    "expected a duration such as 90s or 2h30m, a time such as 2026-01-31T12:00:00Z, a date such as 2026-01-31, or @UNIX"
)
_NO_ZONE = "the time has no zone: append Z or an offset such as +02:00"
_YEARS = "the time is outside the years 1 to 9999"


class _Local(tzinfo):
    """The local time zone, with the offset of each moment."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return (moment or datetime.now()).replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, _moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, _moment: datetime | None) -> str:
        return "local"


LOCAL: tzinfo = _Local()


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as `90s`, `1h30m` or `2d`; raises ValueError."""
    if len(text) > 40 or not re.fullmatch(DURATION, text):
        raise ValueError(DURATION_RULE)
    try:
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text)))
    except OverflowError:
        raise ValueError("the duration is too long") from None


def moment(text: str, now: int, zone: tzinfo | None = None, words: Sequence[str] = ()) -> int:
    """Parse a point in time into nanoseconds since the epoch; raises ValueError.

    Forms are a duration (before `now`), RFC 3339, a date (midnight), and `@UNIX` in seconds, with an optional
    fraction. `zone` applies to dates and to times without an offset; with None these are refused. `words` are
    further forms that the caller accepts, for the error.
    """
    if re.fullmatch(DURATION, text):
        span = parse_duration(text)
        result = now - (span.days * 86400 + span.seconds) * SECOND - span.microseconds * 1000
        if result < -62135596800 * SECOND:  # the year 1
            raise ValueError("the duration is too long")
        return result
    if match := re.fullmatch(_UNIX, text):
        result = int(match[1]) * SECOND + _fraction(match[2])
        if result >= 253402300800 * SECOND:  # the year 10000
            raise ValueError(_YEARS)
        return result
    if match := re.fullmatch(_RFC3339, text):  # fromisoformat accepts more, and differs between Pythons
        return _civil(match[1], match[2], (match[4] or "").upper(), zone) + _fraction(match[3])
    if re.fullmatch(_DATE, text):
        return _civil(text, "00:00:00", "", zone)
    if text.startswith("-") and re.fullmatch(DURATION, text[1:]):
        raise ValueError(f"omit the -: {text[1:]} means that long ago")
    raise ValueError(f"{TIME_RULE}, {' or '.join(words)}" if words else TIME_RULE)


def absolute(text: str, now: int, zone: tzinfo) -> str:
    """Convert a time that depends on the local zone to RFC 3339 in UTC; return other forms unchanged.

    The agent resolves durations by its own clock, and `boot` and `deploy` by its registry. Raises ValueError.
    """
    if text in WORDS:
        return text
    resolved = moment(text, now, zone, WORDS)
    if re.fullmatch(DURATION, text) or text.startswith("@"):
        return text
    seconds, rest = divmod(resolved, SECOND)
    civil = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    return f"{civil}.{rest:09}Z" if rest else f"{civil}Z"


def nanoseconds(at: datetime) -> int:
    """Convert an aware datetime to nanoseconds since the epoch."""
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 time into UTC, to the microsecond; raises ValueError."""
    if not re.fullmatch(_RFC3339, text):
        raise ValueError("expected an RFC 3339 time such as 2026-01-31T12:00:00Z")
    return _EPOCH + timedelta(microseconds=moment(text, 0) // 1000)


def _civil(date: str, time: str, offset: str, zone: tzinfo | None) -> int:
    """Convert a date and a time of day to nanoseconds; raises ValueError if they do not exist."""
    try:
        parsed = datetime.fromisoformat(f"{date}T{time}{offset}")
    except ValueError:
        raise ValueError("there is no such date or time of day") from None
    if parsed.tzinfo is None:
        if zone is None:
            raise ValueError(_NO_ZONE)
        parsed = parsed.replace(tzinfo=zone)
    try:
        return nanoseconds(parsed.astimezone(UTC))
    except (OverflowError, ValueError, OSError):
        raise ValueError(_YEARS) from None


def _fraction(digits: str | None) -> int:
    """Convert the digits of a fraction of a second to nanoseconds, truncated."""
    return int((digits or "").ljust(9, "0")[:9])


def in_seconds(seconds: float) -> str:
    """Format seconds as a decimal number, to the microsecond; `:g` would write 1e+06, and round to six digits."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def rfc3339(moment: datetime) -> str:
    """Format a moment in UTC with microseconds, which podman and journald accept."""
    # not strftime: its %Y does not pad years before 1000
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def age(moment: str) -> str:
    """Format the time since an RFC 3339 time like `ago`."""
    return ago((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())


def ago(seconds: float) -> str:
    """Format a time span in its two largest units: `3d4h`, `5m10s`, `8s`."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size}{unit}")
            left %= size
        elif parts:
            break
    return "".join(parts[:2])
