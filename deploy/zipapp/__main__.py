# The zipapp's __main__.py. Its syntax is that of any Python, so that an old one gets its one line
# and not a SyntaxError; whatever needs more is in _start.py. The @…@ are filled in by build.py.
import sys

if sys.version_info < (3, 11):  # noqa: UP036
    found = ".".join([str(part) for part in sys.version_info[:3]])
    sys.stderr.write("@PROGRAM@: needs Python 3.11 or newer, this is " + found + " (" + sys.executable + ")\n")
    sys.exit(1)

from _start import start

start("@PROGRAM@", "@BUILD@", "@ENTRY@")
