"""mcp plan [SERVICE]"""

from mcp.commands.shared import Group, arguments, changes
from mcp.shared.command import Command, flag

COMMAND = Command(
    "plan",
    "show the changes that sync would make",
    changes.plan,
    group=Group.SERVICES,
    differences=changes.DIFFERENCES,
    description="Definitions, registries and podman are compared on all nodes, and nothing is changed.",
    arguments=(
        *changes.SCOPE,
        flag("--prune", help="show what sync --prune would do"),
        changes.EXIT_CODE,
        arguments.JSON,
    ),
)
