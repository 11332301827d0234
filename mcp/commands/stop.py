"""mcp stop SERVICE[/COMPONENT]"""

from mcp.commands.shared import lifecycle

COMMAND = lifecycle.command("stop", "stopped", "stop containers and keep them stopped")
