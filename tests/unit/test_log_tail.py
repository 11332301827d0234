"""The last lines of a log, of both streams."""

import asyncio
import json
from pathlib import Path

import pytest

from agent.logs.model import Batch, Position
from agent.logs.tail import TailLine, last_lines, lines_of
from agent.logs.wire import log_line
from agent.podman.client import Podman
from mcp.shared.errors import Unavailable
from proto.mcp.v1 import mcp_pb2 as pb

START = Position("")


def batch(*runs: tuple[bytes, bool]) -> Batch:
    return Batch(b"".join(text for text, _ in runs), [(len(text), stream) for text, stream in runs], START, START)


def test_lines_keep_their_order_and_their_stream() -> None:
    batches = [
        batch((b"a\n\nb\r", False), (b"x\ny", True)),
        batch(),
        batch((b" z\n", True), (b" c\nd", False)),
    ]
    assert lines_of(batches) == [
        TailLine(b"a", False),
        TailLine(b"", False),
        TailLine(b"b\r c", False),
        TailLine(b"x", True),
        TailLine(b"y z", True),
        TailLine(b"d", False),
    ]
    assert lines_of([]) == []


def test_a_line_on_the_wire() -> None:
    assert log_line(TailLine(b"a\xff\r", True)) == pb.LogLine(stream=pb.LOG_STREAM_STDERR, text="a\ufffd")
    assert log_line(TailLine(b"", False)) == pb.LogLine(stream=pb.LOG_STREAM_STDOUT)


def podman_that(tmp_path: Path, driver: str, logs: str) -> Podman:
    """A podman with a container of this log driver, whose `logs` is a line of shell."""
    row = {"Id": "f00d", "Name": "web-api", "State": {"Status": "exited", "ExitCode": 1}}
    rows = json.dumps([row | {"HostConfig": {"LogConfig": {"Type": driver}}}])
    program = tmp_path / "podman"
    program.write_text(f"#!/bin/sh\n[ $1 = logs ] || exec echo '{rows}'\n{logs}\n")
    program.chmod(0o755)
    return Podman(str(program), 1.0)


def test_podman_s_two_streams_are_merged_by_time(tmp_path: Path) -> None:
    stamps = [f"2026-11-22T10:19:2{second}.000000000Z" for second in range(4)]
    out = f"printf '{stamps[0]} a\\n{stamps[2]} c\\n'"
    err = f"printf '{stamps[1]} b\\n{stamps[3]} d\\n' >&2"
    podman = podman_that(tmp_path, "other", f"{out}; {err}")
    assert [line.text for line in asyncio.run(last_lines(podman, "web-api", 20))] == [b"a", b"b", b"c", b"d"]
    assert asyncio.run(last_lines(podman, "web-api", 2)) == [TailLine(b"c", False), TailLine(b"d", True)]


def test_a_container_that_logs_nowhere_has_no_last_lines(tmp_path: Path) -> None:
    podman = podman_that(tmp_path, "none", "exit 125")
    assert asyncio.run(last_lines(podman, "web-api", 20)) == []


def test_a_podman_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    podman = podman_that(tmp_path, "other", "exec sleep 100")
    with pytest.raises(Unavailable, match="the log of web-api cannot be read within 1 s"):
        asyncio.run(last_lines(podman, "web-api", 20))
