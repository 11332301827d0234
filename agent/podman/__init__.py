"""Drive podman: client, argument lists, parsers of its output."""
