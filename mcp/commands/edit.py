"""mcp edit SERVICE"""

from mcp.commands.shared import Group
from mcp.commands.shared.edit import EDIT

COMMAND = EDIT._replace(summary="edit or create a definition (same as mcp service edit)", group=Group.DEFINITIONS)
