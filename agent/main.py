"""Entry point of the agent."""

import sys


def main() -> int:
    """Placeholder while the first parts land."""
    sys.stdout.write("mcp-agent\n")
    return 0
