"""What the system says of a service's file, as one line for its operator."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from mcp.shared.errors import InvalidInput, McpError, NotFound, NotReady


@contextmanager
def explained(what: str, *, writing: bool = False) -> Iterator[None]:
    """Raise an OSError as the McpError that says what it means for the file `what` (SERVICE/PATH)."""
    try:
        yield
    except OSError as error:
        raise _meaning(what, error, writing) from None


def _meaning(what: str, error: OSError, writing: bool) -> McpError:
    code = error.errno or errno.ENOENT
    if code == errno.ENOENT and not writing:
        return NotFound(f"{what}: there is no such file on this node")
    if code == errno.ENOENT:
        return NotReady(f"{what}: a folder on the way was removed meanwhile", "try again")
    if code in (errno.ENOSPC, errno.EDQUOT):
        return NotReady(f"{what}: the node's disk is full; nothing was changed", "make room there")
    if code in (errno.EACCES, errno.EPERM):
        verb = "write" if writing else "read"
        return NotReady(f"{what}: the agent's user may not {verb} it", "check owner and mode on the node")
    if code in (errno.EISDIR, errno.ENOTEMPTY):
        return NotReady(f"{what}: has become a folder meanwhile")
    if code == errno.ENAMETOOLONG:
        return InvalidInput(f"{what}: the name is too long for the node's file system")
    return NotReady(f"{what}: {error.strerror or errno.errorcode.get(code, str(code))}")
