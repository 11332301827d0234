"""Drive podman: client, argument lists, output parsers."""
