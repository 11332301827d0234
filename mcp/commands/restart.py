"""mcp restart SERVICE[/COMPONENT]"""

from mcp.commands.shared import lifecycle

COMMAND = lifecycle.command("restart", "restarted", "restart containers one after the other")
