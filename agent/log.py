"""The agent's log: one line an event, `key=value` pairs (logfmt), to stderr, where journald takes it.

Values are quoted where they need it and control characters are escaped, so no input can forge a line.
"""

import logging
import sys
from datetime import UTC, datetime

from mcp.shared.errors import one_line

logger = logging.getLogger("mcp-agent")


def setup(level: str) -> None:
    """Send the agent's log to stderr from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Logfmt())
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    handler.addFilter(_is_wanted)
    # asyncio and grpc report what nobody handled; it must not bypass the format.
    for name in ("asyncio", "grpc"):
        other = logging.getLogger(name)
        other.handlers[:] = [handler]
        other.propagate = False


def _is_wanted(record: logging.LogRecord) -> bool:
    """Drop two things that gRPC says.

    Of a header that is not UTF-8 it logs the content, which may be a token; and of a client that went away while a
    response was on its way it logs a traceback, where our own line says CANCELLED.
    """
    unwanted = ("Invalid encoding", "ExecuteBatchError raised in core")
    return not (record.name.startswith("grpc.") and any(words in record.getMessage() for words in unwanted))


def fields(**values: object) -> dict[str, dict[str, object]]:
    """The `extra` of a log call: `logger.info("started", extra=fields(port=1))`."""
    return {"fields": values}


class _Logfmt(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        values: dict[str, object] = {"time": moment, "level": record.levelname.lower(), "msg": record.getMessage()}
        values.update(getattr(record, "fields", {}))
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return " ".join(f"{key}={_quoted(str(value))}" for key, value in values.items())


def _quoted(text: str) -> str:
    # backslashes first, so that none of the value can undo the escaping of what follows it
    line = one_line(text.replace("\\", "\\\\").replace('"', '\\"'))
    return line if line and not any(c in line for c in ' "=\\') else f'"{line}"'
