"""The programs run within this process, as if each were one of its own: a process start costs more than most commands.

For commands that run to their end. What is about processes (signals, terminals, pipes that break, a start that must be
fast or clean, output that cannot be written) needs a real one.
"""

import io
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mcp.shared.tls import prepare_grpc

prepare_grpc()  # whatever imports grpc first: its library reads these variables once
_GRPC = {name: os.environ[name] for name in ("GRPC_SSL_CIPHER_SUITES", "GRPC_VERBOSITY")}

Main = Callable[[list[str]], int]


def is_possible() -> bool:
    """Tell whether this thread may run a program: streams, environment and folder are the process's."""
    return threading.current_thread() is threading.main_thread()


def run(
    main: Main, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, stdin: bytes
) -> tuple[int, bytes, bytes]:
    """Run `main` with exactly this environment, folder and input; return its exit status, stdout and stderr.

    An exception that would have been a traceback is raised.
    """
    files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    os.write(files[0], stdin)
    os.lseek(files[0], 0, os.SEEK_SET)
    try:
        with _folder(cwd), _environment({**env, **_GRPC}), _descriptors(files), _streams():
            status = _status(main, list(argv))
        return status, _content(files[1]), _content(files[2])
    finally:
        for file in files:
            os.close(file)


def _status(main: Main, argv: list[str]) -> int:
    try:
        return main(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _content(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    _change_environment(env)
    try:
        yield
    finally:
        _change_environment(before)


def _change_environment(env: Mapping[str, str]) -> None:
    """Make it all there is, and have forgotten what was derived from the one before."""
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    tempfile.tempdir = None


@contextmanager
def _descriptors(files: Sequence[int]) -> Iterator[None]:
    """Put the files in the place of standard input, output and error, so that children have them as well."""
    saved = [os.dup(number) for number in range(3)]
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
        yield
    finally:
        for number, file in enumerate(saved):
            os.dup2(file, number)
            os.close(file)


@contextmanager
def _streams() -> Iterator[None]:
    """Python's streams over them, with the error handlers that they have in a UTF-8 locale without a name."""
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = _stream(0, "r", "surrogateescape")
    sys.stdout = _stream(1, "w", "surrogateescape")
    sys.stderr = _stream(2, "w", "backslashreplace")
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdin, sys.stdout, sys.stderr = before


def _stream(number: int, mode: str, errors: str) -> io.TextIOWrapper:
    buffered = open(number, f"{mode}b", closefd=False)  # noqa: SIM115 - it is closed with the last reference to it
    return io.TextIOWrapper(buffered, encoding="utf-8", errors=errors, line_buffering=number == 2)
