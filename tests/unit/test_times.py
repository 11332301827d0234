"""Durations and times, as people write them and as nobody should."""

import re
import time
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp.shared.resources import ROOT
from mcp.shared.times import (
    DURATION_RULE,
    LOCAL,
    SECOND,
    TIME_RULE,
    absolute,
    ago,
    in_seconds,
    moment,
    nanoseconds,
    parse_duration,
    parse_time,
    rfc3339,
)

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def parse_since(text: str, now: datetime) -> datetime:
    """What `moment` makes of a text, as a datetime."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment(text, nanoseconds(now)) // 1000)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("30d", timedelta(days=30)),
        ("2h", timedelta(hours=2)),
        ("0s", timedelta(0)),
        ("1.5s", timedelta(seconds=1.5)),
        ("250ms", timedelta(milliseconds=250)),
        ("1m250ms", timedelta(seconds=60.25)),
        ("1d1d", timedelta(days=2)),
        ("999999999d", timedelta(days=999999999)),
    ],
)
def test_durations(text: str, span: timedelta) -> None:
    assert parse_duration(text) == span


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "s",
        "-1s",
        "+1s",
        "1 s",
        "1s ",
        "1s\n",
        "1y",
        "1S",
        "1h-30m",
        ".5s",
        "1.s",
        "1e3s",
        "\u0661s",
        "nan",
        "infs",
        "1" * 40 + "s",
        "1s" * 21,
    ],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=DURATION_RULE):
        parse_duration(text)


@pytest.mark.parametrize("text", ["99999999999d", "9" * 39 + "d", "1000000000d", "999999999d999999999d"])
def test_durations_that_overflow(text: str) -> None:
    with pytest.raises(ValueError, match="the duration is too long"):
        parse_duration(text)
    with pytest.raises(ValueError, match="the duration is too long"):
        parse_since(text, NOW)


def test_a_duration_before_the_year_1() -> None:
    assert parse_duration("800000d")
    with pytest.raises(ValueError, match="the duration is too long"):
        parse_since("800000d", NOW)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("2026-01-31T12:00:00Z", NOW),
        ("2026-01-31t12:00:00z", NOW),
        ("2026-01-31 12:00:00Z", NOW),
        ("2026-01-31T14:00:00+02:00", NOW),
        ("2026-01-31T12:00:00.123456789Z", NOW.replace(microsecond=123456)),
        ("@1769860800", NOW),
        ("@1769860800.5", NOW.replace(microsecond=500000)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_since(text: str, moment: datetime) -> None:
    assert parse_since(text, NOW) == moment
    assert parse_since(text, NOW).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", TIME_RULE),
        ("yesterday", TIME_RULE),
        ("-2h", "omit the -: 2h means that long ago"),
        ("2 hours ago", TIME_RULE),
        ("boot", TIME_RULE),
        ("1769860800", TIME_RULE),
        ("@-1", TIME_RULE),
        ("@1.", TIME_RULE),
        ("@999999999999", "outside the years 1 to 9999"),
        ("2026-01-31", "the time has no zone"),
        ("2026-02-30", "there is no such date"),
        ("20260131T120000Z", TIME_RULE),
        ("2026-02-30T12:00:00Z", "there is no such date or time of day"),
        ("2026-01-31T25:00:00Z", "there is no such date or time of day"),
        ("2026-01-31T12:00:00+99:00", "there is no such date or time of day"),
        ("2026-01-31T12:00:00Zx", TIME_RULE),
        ("2026-01-31T12:00:00Z\n", TIME_RULE),
        ("2026-01-31T12:00:00\0", TIME_RULE),
        ("2026-01-31T12:00:00Z\0", TIME_RULE),
        ("2026-01-31T12:00Z", TIME_RULE),
        ("2026-01-31T12:00:00+02", TIME_RULE),
        ("2026-01-31T12:00:00", "the time has no zone"),
        ("0001-01-01T00:00:00+23:00", "outside the years 1 to 9999"),
        ("9999-12-31T23:00:00-10:00", "outside the years 1 to 9999"),
    ],
)
def test_what_is_no_time(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse_since(text, NOW)


@given(st.text(st.sampled_from("0123456789dhms.-+:TZ /"), max_size=45) | st.text(max_size=45))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        shown = rfc3339(parse_since(text, NOW))
    except ValueError:
        shown = ""
    assert shown == "" or (len(shown) == 27 and shown.endswith("Z"))


@given(st.datetimes(timezones=st.just(UTC)))
def test_rfc3339_can_be_read_back(moment: datetime) -> None:
    text = rfc3339(moment)
    assert len(text) == len("2026-01-31T12:00:00.000000Z")
    assert parse_since(text, NOW) == moment


NOW_NS = 1769860800 * SECOND  # the same moment as NOW
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("90s", NOW_NS - 90 * SECOND),
        ("2026-01-31T12:00:00.123456789Z", NOW_NS + 123456789),
        ("2026-01-31T12:00:00.1234567899Z", NOW_NS + 123456789),
        ("@1769860800.000000001", NOW_NS + 1),
        ("2026-01-31 13:00:00", NOW_NS),
        ("2026-01-31", NOW_NS - 13 * 3600 * SECOND),
        ("2026-07-01", 1782856800 * SECOND),  # in summer time: it is the offset of that day that counts
        ("1969-12-31T23:59:59.25Z", -750_000_000),
    ],
)
def test_moments_are_exact_to_the_nanosecond(text: str, found: int) -> None:
    assert moment(text, NOW_NS, BERLIN) == found


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("boot", "boot"),
        ("deploy", "deploy"),
        ("2h30m", "2h30m"),
        ("@1769860800.5", "@1769860800.5"),
        ("2026-01-31", "2026-01-30T23:00:00Z"),
        ("2026-01-31T12:00:00", "2026-01-31T11:00:00Z"),
        ("2026-01-31 12:00:00.25", "2026-01-31T11:00:00.250000000Z"),
        ("2026-01-31T12:00:00.000000001-05:00", "2026-01-31T17:00:00.000000001Z"),
    ],
)
def test_what_an_agent_gets_does_not_depend_on_its_zone(text: str, sent: str) -> None:
    assert absolute(text, NOW_NS, BERLIN) == sent


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("yesterday", "or @UNIX, boot or deploy$"),
        ("-2h", "omit the -: 2h means that long ago$"),
        ("2026-13-01", "there is no such date or time of day$"),
        ("800000d", "the duration is too long"),
    ],
)
def test_a_mistake_is_found_before_anything_is_sent(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        absolute(text, NOW_NS, BERLIN)


def test_the_zone_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert absolute("2026-01-31", NOW_NS, LOCAL) == "2026-01-30T23:00:00Z"
        assert absolute("2026-07-01", NOW_NS, LOCAL) == "2026-06-30T22:00:00Z"
        with pytest.raises(ValueError, match="outside the years 1 to 9999"):
            absolute("0001-01-01", NOW_NS, LOCAL)
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.integers(-62135596800 * SECOND, 253402300800 * SECOND - 1))
def test_any_moment_that_is_sent_is_read_back(found: int) -> None:
    seconds, rest = divmod(found, SECOND)
    day = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    text = absolute(f"{day.isoformat()}.{rest:09}Z", NOW_NS, UTC)
    assert moment(text, 0) == found


def test_a_token_ends_at_an_rfc3339_time_only() -> None:
    assert parse_time("2026-01-31T12:00:00Z") == NOW
    for text in ("2h", "@1", "2026-01-31"):
        with pytest.raises(ValueError, match="expected an RFC 3339 time"):
            parse_time(text)


def test_rfc3339_is_in_utc_and_padded() -> None:
    zone = timezone(timedelta(hours=-5))
    assert rfc3339(datetime(2026, 1, 31, 7, tzinfo=zone)) == "2026-01-31T12:00:00.000000Z"
    assert rfc3339(datetime(110, 5, 11, tzinfo=UTC)) == "0110-05-11T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (8.9, "8s"),
        (59, "59s"),
        (60, "1m"),
        (310, "5m10s"),
        (3600, "1h"),
        (3601, "1h"),
        (3725, "1h2m"),
        (273600, "3d4h"),
        (86400 * 400 + 59, "400d"),
    ],
)
def test_ago(seconds: float, text: str) -> None:
    assert ago(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0"),
        (0.3, "0.3"),
        (90.0, "90"),
        (86399.123, "86399.123"),
        (1_000_000.0, "1000000"),
        (1_036_800.0, "1036800"),
        (9.2e9, "9200000000"),
        (0.000001, "0.000001"),
    ],
)
def test_seconds_have_no_exponent(seconds: float, text: str) -> None:
    """podman takes 1.0368e+06s for an error, and six digits are not enough."""
    assert in_seconds(seconds) == text


def test_no_number_is_written_with_an_exponent() -> None:
    """The format g has six digits, and an exponent from a million on."""
    for path in (*(ROOT / "agent").rglob("*.py"), *(ROOT / "mcp").rglob("*.py")):
        assert re.search(r":[,.0-9]*g\}|%[.0-9]+g", path.read_text()) is None, path
