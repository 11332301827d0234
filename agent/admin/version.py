"""`mcp-agent version`."""

import argparse
import sys

from agent.admin.arguments import JSON
from mcp.shared.command import Command
from mcp.shared.errors import EXIT_DONE


def run(args: argparse.Namespace) -> int:
    """Print the version, or with --json all build information."""
    from mcp.shared.version import VERSION, details

    if args.json:
        import json

        sys.stdout.write(json.dumps(details(), indent=2) + "\n")
    else:
        sys.stdout.write(f"mcp-agent {VERSION}\n")
    return EXIT_DONE


COMMAND = Command("version", "print the version", run, arguments=(JSON,))
