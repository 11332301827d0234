"""mcp logout"""

import argparse

from mcp.client.session import Session
from mcp.terminal import output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""
    parser.description = "Remove the stored token. It stays valid until its end: `mcp-agent token revoke` ends one."


def run(session: Session, _args: argparse.Namespace) -> int:
    """Remove the token's file; none to remove is fine, too."""
    path = session.config.token_path
    removed = session.forget_token()
    output.line(f"logged out: {path} is removed" if removed else f"not logged in: there is no {path}")
    if session.token_from_environment():
        output.note("mcp: MCP_TOKEN is still set, and is used until you unset it")
    return 0
