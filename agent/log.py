"""The agent's log: one line of `key=value` pairs (logfmt) per event, to stderr and so to journald.

Values are quoted if needed, control characters are escaped and long values cut, so that no input can forge a line or
fill the journal.
"""

import logging
import sys
from datetime import UTC, datetime

from mcp.shared.errors import one_line

FIELD_LIMIT = 2000  # characters of a value
TRACEBACK_LIMIT = 20_000

logger = logging.getLogger("mcp-agent")


def setup(level: str) -> None:
    """Log to stderr from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Logfmt())
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    handler.addFilter(_is_wanted)
    # asyncio and grpc log unhandled errors, in the same format.
    for name in ("asyncio", "grpc"):
        other = logging.getLogger(name)
        other.handlers[:] = [handler]
        other.propagate = False


def _is_wanted(record: logging.LogRecord) -> bool:
    """Drop two messages of gRPC.

    For a header that is not UTF-8 it logs the content, which may be a token; for a client that disconnects during a
    response it logs a traceback, in addition to our line with CANCELLED.
    """
    unwanted = ("Invalid encoding", "ExecuteBatchError raised in core")
    return not (record.name.startswith("grpc.") and any(words in record.getMessage() for words in unwanted))


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Return the `extra` of a log call: `logger.info("started", extra=fields(port=1))`."""
    return {"fields": values}


class _Logfmt(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        values: dict[str, object] = {"time": moment, "level": record.levelname.lower(), "msg": record.getMessage()}
        values.update(getattr(record, "fields", {}))
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return " ".join(f"{key}={_quoted(_cut(key, str(value)))}" for key, value in values.items())


def _cut(key: str, text: str) -> str:
    """Cut a long value: at its end, a traceback at its beginning."""
    if key == "traceback":
        return text if len(text) <= TRACEBACK_LIMIT else f"…{text[-TRACEBACK_LIMIT:]}"
    return text if len(text) <= FIELD_LIMIT else f"{text[:FIELD_LIMIT]}…"


def _quoted(text: str) -> str:
    # backslashes first, so that none in the value can cancel an escape
    line = one_line(text.replace("\\", "\\\\").replace('"', '\\"'))
    return line if line and not any(c in line for c in ' "=\\') else f'"{line}"'
