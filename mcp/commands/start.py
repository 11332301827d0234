"""mcp start SERVICE[/COMPONENT]"""

from mcp.commands.shared import lifecycle

COMMAND = lifecycle.command("start", "started", "start stopped containers; create those that are missing")
