"""Warn of secrets that are written where `mcp pull` reads them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mcp.shared.errors import one_line

if TYPE_CHECKING:
    from agent.config import AgentConfig


def warn_if_served(config: "AgentConfig", file: Path) -> None:
    """Warn if a file is in the folder of a service, where who may pull that service's files reads it."""
    real, root, own = file.resolve(), config.services_root.resolve(), config.source.parent.resolve()
    is_own = real.is_relative_to(own) and not root.is_relative_to(own)  # `mcp-agent dev` has the services in its folder
    if real.is_relative_to(root) and real.parent != root and not is_own:
        service = real.relative_to(root).parts[0]
        sys.stderr.write(
            f"mcp-agent: warning: `mcp pull` reads {one_line(str(file))}, in the folder of the service"
            f" {one_line(service)}; write it below {one_line(str(own))}\n"
        )
