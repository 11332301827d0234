"""The pipe watch of a follower: readable when something is written into a pipe that a container's conmon holds."""

import ctypes
import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.logs.journald.pipe_watch import PipeWatch

IDENTIFIER = "0123456789abcdef" * 4


@pytest.fixture
def descriptor() -> Iterator[int]:
    """An inotify."""
    made: int = ctypes.CDLL(None).inotify_init1(os.O_NONBLOCK)
    yield made
    os.close(made)


@contextmanager
def conmon(identifier: str = IDENTIFIER) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that holds a pipe, with the identifier of a container in its command line."""
    argv = ["sh", "-c", "read line; read line", "conmon", "-c", identifier]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def write(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.write(b"something")
    process.stdin.flush()


def rings(descriptor: int) -> bool:
    readable = bool(select.select([descriptor], [], [], 0.2)[0])
    if readable:
        os.read(descriptor, 4096)
    return readable


def test_it_rings_when_the_container_writes(descriptor: int) -> None:
    pipe_watch = PipeWatch(descriptor, IDENTIFIER)
    with conmon() as first, conmon() as second:
        pipe_watch.watch(b"%d" % first.pid)
        assert not rings(descriptor)
        write(first)
        assert rings(descriptor)
        write(second)
        assert not rings(descriptor)
        pipe_watch.watch(b"%d" % second.pid)  # the container was started again
        write(second)
        assert rings(descriptor)


def test_another_process_of_that_number_is_left_alone(descriptor: int) -> None:
    pipe_watch = PipeWatch(descriptor, IDENTIFIER)
    with conmon("f" * 64) as other:
        pipe_watch.watch(b"%d" % other.pid)
        write(other)
        assert not rings(descriptor)
    for nobody in (b"", b"x", b"%d" % other.pid):
        pipe_watch.watch(nobody)
    assert not rings(descriptor)
