"""Arguments shared by commands."""

from pathlib import Path

from mcp.shared.command import argument

DEFAULT_PATH = Path("/srv/mcp/mcp-agent.toml")
CONFIG = argument(
    "--config", type=Path, default=DEFAULT_PATH, metavar="FILE", help=f"the configuration (default: {DEFAULT_PATH})"
)
JSON = argument("--json", action="store_true", help="print JSON")
