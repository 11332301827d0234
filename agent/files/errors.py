"""Translate OSErrors of a service's files into errors for the operator."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from mcp.shared.errors import InvalidInput, McpError, NotFound, NotReady


@contextmanager
def translated(name: str, *, writing: bool = False) -> Iterator[None]:
    """Translate an OSError of the file `name` (SERVICE/PATH) into an McpError."""
    try:
        yield
    except OSError as error:
        raise _mcp_error(name, error, writing) from None


def _mcp_error(what: str, error: OSError, writing: bool) -> McpError:
    code = error.errno or errno.ENOENT
    if code == errno.ENOENT and not writing:
        return NotFound(f"{what}: there is no such file on this node")
    if code == errno.ENOENT:
        return NotReady(f"{what}: a folder of its path was removed in the meantime", "try again")
    if code in (errno.ENOSPC, errno.EDQUOT):
        return NotReady(f"{what}: the node's disk is full; nothing was changed", "make room there")
    if code in (errno.EACCES, errno.EPERM):
        verb = "write" if writing else "read"
        return NotReady(f"{what}: the agent's user may not {verb} it", "check owner and mode on the node")
    if code in (errno.EISDIR, errno.ENOTEMPTY):
        return NotReady(f"{what}: was replaced by a folder in the meantime")
    if code == errno.ENAMETOOLONG:
        return InvalidInput(f"{what}: the name is too long for the node's file system")
    return NotReady(f"{what}: {error.strerror or errno.errorcode.get(code, str(code))}")
