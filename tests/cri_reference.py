"""What the reader of k8s-file logs must give, said plainly and slowly; and logs for it, made up by hypothesis."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

BASE = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
BASE_NS = int(BASE.timestamp()) * 10**9


@dataclass(frozen=True)
class Record:
    """One record as conmon writes it; `when` in nanoseconds after BASE."""

    when: int
    offset: int  # minutes east of UTC
    stderr: bool
    ends: bool
    text: bytes
    nuls: int = 0  # after it in place of a newline, as after a power cut
    before: bytes = b""  # what a power cut left before it

    def raw(self) -> bytes:
        """Its bytes."""
        seconds, fraction = divmod(self.when, 10**9)
        local = (BASE + timedelta(seconds=seconds)).astimezone(timezone(timedelta(minutes=self.offset)))
        sign, minutes = "-" if self.offset < 0 else "+", abs(self.offset)
        time = f"{local:%Y-%m-%dT%H:%M:%S}.{fraction:09}{sign}{minutes // 60:02}:{minutes % 60:02}"
        head = f"{time} {'stderr' if self.stderr else 'stdout'} {'F' if self.ends else 'P'} ".encode()
        return self.before + head + self.text + (b"\0" * self.nuls or b"\n")

    def utc(self) -> bytes:
        """Its time as a timed line begins."""
        seconds, fraction = divmod(self.when, 10**9)
        return f"{BASE + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{fraction:09}Z ".encode()


@dataclass(frozen=True)
class Line:
    """A line as it is shown."""

    stderr: bool
    text: bytes


def lines(
    records: list[Record], *, timed: bool, since: int | None = None, until: int | None = None, tail: int | None = None
) -> list[Line]:
    """Lines in the order of their ends; those without an end last, stdout first. Times are ns since the epoch."""
    if since is not None:
        first = next((i for i, one in enumerate(records) if one.when + BASE_NS >= since), len(records))
        records = records[first:]
    if until is not None:
        records = [one for one in records if one.when + BASE_NS < until]
    done: list[Line] = []
    begun: dict[bool, bytes] = {}
    for one in records:
        text = begun.pop(one.stderr, None)
        if text is None:
            text = one.utc() if timed else b""
        text += one.text
        if one.ends:
            done.append(Line(one.stderr, text + b"\n"))
        else:
            begun[one.stderr] = text
    rest = [Line(stderr, begun[stderr]) for stderr in (False, True) if stderr in begun]
    if tail is None:
        return done + rest
    if tail == 0:
        return []
    wanted = max(tail - len(rest), 0)
    return done[len(done) - min(wanted, len(done)) :] + rest


LOOKS_LIKE_A_RECORD = b"2026-11-22T10:19:26.532885487+00:00 stdout F text"
TEXTS = st.one_of(
    st.sampled_from([b"", b"a", b"\r", b"\0\0", b"\xff\xfe", b" stdout F ", LOOKS_LIKE_A_RECORD, b"x" * 300]),
    st.binary(max_size=20).map(lambda text: text.replace(b"\n", b"")),
)


@st.composite
def logs(draw: st.DrawFn, *, clock_goes_back: bool = False, size: int = 40) -> list[Record]:
    """A log; times often stand still, local offsets change now and then."""
    steps = st.sampled_from(
        [0, 0, 1, 1000, 10**9, 61 * 10**9] + ([-(10**9), -(3600 * 10**9)] if clock_goes_back else [])
    )
    records, when, offset = [], 0, 0
    plain = draw(st.booleans())
    for _ in range(draw(st.integers(0, size))):
        when += draw(steps)
        if not plain:
            offset = draw(st.sampled_from([offset, offset, offset, 0, 120, -330, 845]))
        stderr = not plain and draw(st.booleans())
        ends = plain or draw(st.sampled_from([True, True, False]))
        records.append(Record(when, offset, stderr, ends, draw(TEXTS)))
    return _with_power_cuts(draw, records) if draw(st.booleans()) else records


def _with_power_cuts(draw: st.DrawFn, records: list[Record]) -> list[Record]:
    """Cut some records off in their text, or have a part of a header before them, and NULs there."""
    kinds, counts = st.sampled_from(["whole", "whole", "text", "header"]), st.sampled_from([1, 3, 100, 2000])
    for number, record in enumerate(records):
        kind = draw(kinds)
        if kind == "text" and number < len(records) - 1:
            text = record.text[: draw(st.integers(0, len(record.text)))].rstrip(b"\0")
            records[number] = replace(record, text=text, nuls=draw(counts))
        elif kind == "header" and not (number and records[number - 1].nuls):
            header = LOOKS_LIKE_A_RECORD[: draw(st.integers(0, 44))]
            records[number] = replace(record, before=header + b"\0" * draw(counts))
    return records
