"""Entry point of the CLI."""

import sys


def main() -> int:
    """Placeholder while the first parts land."""
    sys.stdout.write("mcp\n")
    return 0
