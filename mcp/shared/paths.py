"""Relative paths of files below a service's folder."""

from mcp.shared.errors import InvalidInput, shown
from mcp.shared.names import check_name

LONGEST_NAME = 255  # bytes of one part, as in NAME_MAX
DEEPEST = 64  # parts
RULE = "expected a path inside the service's folder, as in conf/app.toml"


def split_path(path: str) -> list[bytes]:
    """Split a path into its parts, in UTF-8; raises InvalidInput for one that may lead out of the folder.

    Absolute paths, `..`, `.` and empty parts are refused. Security does not depend on this check: the agent opens
    part by part and follows no symbolic link.
    """
    if not path:
        raise InvalidInput("path: is missing", RULE)
    if "\0" in path:
        raise InvalidInput(f"path: {shown(path)} contains NUL", RULE)
    if path.startswith("/"):
        raise InvalidInput(f"path: {shown(path)} is absolute", RULE)
    parts = [part.encode() for part in path.split("/")]
    for part, what in ((b"..", '".."'), (b".", '"."'), (b"", "an empty part")):
        if part in parts:
            raise InvalidInput(f"path: {shown(path)} contains {what}", RULE)
    if len(parts) > DEEPEST or max(map(len, parts)) > LONGEST_NAME:
        raise InvalidInput(
            f"path: {shown(path)} is too long", f"it may have {DEEPEST} parts of {LONGEST_NAME} bytes each"
        )
    return parts


def parse_file_target(text: str) -> tuple[str, str]:
    """Split `SERVICE/PATH`; a PATH that ends with / names a folder (and may be empty). Raises InvalidInput."""
    service, slash, path = text.partition("/")
    check_name("service", service)
    if not slash:
        raise InvalidInput(f"{service}: no file given", "write SERVICE/PATH")
    if path:
        split_path(path.removesuffix("/") or path)
    return service, path
