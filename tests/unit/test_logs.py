"""Showing logs: prefixes that do not depend on where the blocks were cut."""

import io
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp import logs
from mcp.logs import Prefixer
from proto.mcp.v1 import mcp_pb2 as pb

pieces = st.lists(st.binary(max_size=6) | st.sampled_from([b"\n", b"\n\n", b"a\nb", b"api | x\n"]), max_size=8)


def prefixed(blocks: list[bytes]) -> bytes:
    """Blocks of one component, with prefixes."""
    prefixer = Prefixer(["api", "longer"], colour=False)
    return b"".join(prefixer("api", False, block) for block in blocks)


def test_lines_get_a_prefix_of_one_width() -> None:
    prefixer = Prefixer(["api", "worker"], colour=False)
    assert prefixer("api", False, b"one\ntwo\n") == b"api    | one\napi    | two\n"
    assert prefixer("worker", False, b"\n") == b"worker | \n"
    assert prefixer("someone-new", False, b"x\n") == b"someone-new | x\n"


def test_a_line_that_comes_in_parts_gets_one_prefix() -> None:
    prefixer = Prefixer(["api", "web"], colour=False)
    parts = [
        prefixer("api", False, b"begin "),
        prefixer("web", False, b"other\n"),
        prefixer("api", True, b"stderr\n"),
        prefixer("api", False, b""),
        prefixer("api", False, b"end\nnext\n"),
    ]
    assert parts == [b"api | begin ", b"web | other\n", b"api | stderr\n", b"", b"end\napi | next\n"]


def test_colours() -> None:
    prefixer = Prefixer(["api"], colour=True)
    assert prefixer("api", False, b"x\n") == b"\x1b[36mapi |\x1b[0m x\n"
    assert prefixer("web", False, b"x\n") == b"\x1b[33mweb |\x1b[0m x\n"
    many = Prefixer([f"c{number}" for number in range(30)], colour=True)
    assert many("c29", False, b"x\n").startswith(b"\x1b[94mc29 |")


@given(pieces)
def test_where_the_input_is_cut_makes_no_difference(blocks: list[bytes]) -> None:
    assert prefixed(blocks) == prefixed([b"".join(blocks)])


@given(st.binary(max_size=12), st.integers(0, 12))
def test_one_cut_anywhere_makes_no_difference(data: bytes, cut: int) -> None:
    assert prefixed([data[:cut], data[cut:]]) == prefixed([data])


@given(pieces)
def test_without_the_prefixes_the_output_is_the_input(blocks: list[bytes]) -> None:
    prefix = b"api    | "
    lines = prefixed(blocks).split(b"\n")
    last = lines.pop()
    assert all(line.startswith(prefix) for line in lines)
    assert not last or last.startswith(prefix)
    assert b"\n".join(line[len(prefix) :] for line in [*lines, last]) == b"".join(blocks)


def test_each_stream_goes_to_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(buffer=err))
    blocks = [
        pb.LogsResponse(data=b"a\n", component="api", stream=pb.LOG_STREAM_STDOUT),
        pb.LogsResponse(data=b"\xff\0b\n", component="api", stream=pb.LOG_STREAM_STDERR),
        pb.LogsResponse(data=b"c\n", component="web", stream=pb.LOG_STREAM_STDOUT),
    ]
    logs.show(blocks, None)
    assert (out.getvalue(), err.getvalue()) == (b"a\nc\n", b"\xff\0b\n")
    logs.show(blocks, Prefixer(["api", "web"], colour=False))
    assert (out.getvalue(), err.getvalue()) == (b"a\nc\napi | a\nweb | c\n", b"\xff\0b\napi | \xff\0b\n")


def test_the_stream_s_number_is_the_wire_s() -> None:
    assert logs.STDERR == pb.LOG_STREAM_STDERR
