# The zipapp's start, in syntax of any Python, so that old ones print one line instead of a SyntaxError; the rest is in
# _start.py. build.py replaces the @...@.
import os
import sys


def interrupted(*_unused):
    # type: (*object) -> None
    os._exit(130)


try:
    import _signal  # type: ignore[import-not-found]  # without stubs: `signal` takes 3 ms to import

    # Until the program runs, as an exception in the middle of an import would be a traceback; not if it is ignored.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, interrupted)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGINT])  # the start of the file blocks it
except ImportError:  # Python 2
    pass

if sys.version_info < (3, 11):  # noqa: UP036
    found = ".".join([str(part) for part in sys.version_info[:3]])
    sys.stderr.write("@PROGRAM@: needs Python 3.11 or newer, this is " + found + " (" + sys.executable + ")\n")
    sys.exit(1)

if not sys.flags.isolated:
    # Without -I, PYTHONPATH, the user's site and its .pth files take precedence: start again with -I.
    try:
        os.execv(sys.executable, [sys.executable, "-I"] + sys.orig_argv[1:])  # noqa: RUF005, S606
    except OSError:
        sys.stderr.write(
            "@PROGRAM@: cannot start " + repr(sys.executable) + " again: run python3 -I " + sys.argv[0] + "\n"
        )
        sys.exit(1)

from _start import start  # noqa: E402 - Ctrl-C is handled before


def extract(program, build, tree):
    # type: (str, str, str) -> None
    import _first  # only without a tree

    _first.start(program, build, tree)


start("@PROGRAM@", "@BUILD@", "@ENTRY@", extract)
