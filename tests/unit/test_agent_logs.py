"""The agent's side of logs: blocks of whole lines, whatever the pieces in which podman writes."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from agent.logs import podman_logs as logs
from agent.logs.podman_logs import Block


async def pump(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """What comes out of the pump for these pieces, and what it returns for an error message."""
    stream = asyncio.StreamReader()
    queue: asyncio.Queue[Block | BaseException | None] = asyncio.Queue()

    async def feed() -> None:
        for piece in pieces:
            stream.feed_data(piece)
            for _ in range(3):
                await asyncio.sleep(0)
        stream.feed_eof()

    _, last = await asyncio.gather(feed(), logs._pump(stream, "api", True, queue))
    blocks = []
    while not queue.empty():
        block = queue.get_nowait()
        assert isinstance(block, Block)
        assert (block.component, block.is_stderr) == ("api", True)
        blocks.append(block.data)
    return blocks, last


@given(st.lists(st.binary(min_size=1, max_size=5) | st.sampled_from([b"\n", b"a\nb\nc", b"no end"]), max_size=8))
def test_blocks_are_whole_lines_and_nothing_is_lost(pieces: list[bytes]) -> None:
    blocks, last = asyncio.run(pump(pieces))
    assert b"".join(blocks) == b"".join(pieces)
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    assert b"" not in blocks
    assert last == (blocks[-1] if blocks else b"")


def test_a_very_long_line_comes_in_parts() -> None:
    piece = b"x" * (logs.LINE_LIMIT // 2 + 1)
    blocks, _ = asyncio.run(pump([piece, piece, piece, b"\nnext\n"]))
    assert len(blocks) == 2
    assert len(blocks[0]) > logs.LINE_LIMIT
    assert b"".join(blocks) == piece * 3 + b"\nnext\n"
