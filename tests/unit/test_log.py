"""The agent's log: no input can forge a line or a field."""

import io
import logging
import re
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import log
from agent.log import fields, logger

PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "=]+)(?: |$)')


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The loggers as they were before."""
    loggers = [logging.getLogger(name) for name in ("mcp-agent", "asyncio", "grpc")]
    before = [(one.handlers[:], one.propagate, one.level) for one in loggers]
    yield
    for one, (handlers, propagate, level) in zip(loggers, before, strict=True):
        one.handlers[:] = handlers
        one.propagate = propagate
        one.setLevel(level)


def written(message: str, **values: object) -> str:
    """What one log call writes."""
    stream, stderr = io.StringIO(), sys.stderr
    sys.stderr = stream
    try:
        log.setup("debug")
        logger.info(message, extra=fields(**values))
    finally:
        sys.stderr = stderr
    return stream.getvalue()


def parsed(line: str) -> dict[str, str]:
    """A logfmt line read back; fails where it is not whole."""
    position, found = 0, {}
    while position < len(line):
        match = PAIR.match(line, position)
        assert match is not None, line[position:]
        key, value = match.groups()
        assert key not in found, f"{key} is there twice"
        found[key] = _unquoted(value)
        position = match.end()
    return found


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    escape = re.compile(r'\\(\\|"|n|r|t|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})')
    return escape.sub(lambda match: _character(match[1]), value[1:-1])


def _character(code: str) -> str:
    plain = {"\\": "\\", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
    return plain.get(code) or chr(int(code[1:], 16))


def test_a_line() -> None:
    line = written("serving", address="127.0.0.1:9444", node="rift", pid=1)
    moment, rest = line.split(" ", 1)
    assert re.fullmatch(r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert rest == "level=info msg=serving address=127.0.0.1:9444 node=rift pid=1\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("a\nlevel=error msg=forged", r'"a\nlevel=error msg=forged"'),
        ("a\r\0\x1b[2J", r'"a\r\x00\x1b[2J"'),
        ("\u2028", r'"\u2028"'),
        ("C:\\", r'"C:\\"'),
        ('x\\" user=root y="', r'"x\\\" user=root y=\""'),
    ],
)
def test_values(value: str, text: str) -> None:
    assert written("m", user=value).endswith(f" user={text}\n")


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_any_value_can_be_read_back_and_forges_nothing(message: str, value: str) -> None:
    output = written(message.replace("%", "%%"), user=value, code="OK")
    assert output.count("\n") == 1
    assert len(output.splitlines()) == 1
    found = parsed(output.rstrip("\n"))
    assert list(found) == ["time", "level", "msg", "user", "code"]
    assert (found["user"], found["code"], found["level"]) == (value, "OK", "info")


def test_a_traceback_stays_in_its_line() -> None:
    stream = io.StringIO()
    log.setup("info")
    logger.handlers[0].setStream(stream)  # type: ignore[attr-defined]
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger.exception("bug", extra=fields(rid="abc"))
    found = parsed(stream.getvalue().rstrip("\n"))
    assert (found["level"], found["msg"], found["rid"]) == ("error", "bug", "abc")
    assert found["traceback"].endswith("ValueError: two\nlines")


def test_levels_and_other_loggers(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup("warning")
    logger.info("quiet")
    logging.getLogger("asyncio").error("nobody handled\nthis")
    logging.getLogger("grpc").warning("from grpc")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        r'level=error msg="nobody handled\nthis"',
        'level=warning msg="from grpc"',
    ]
