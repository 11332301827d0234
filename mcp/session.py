"""What every command starts from: configuration, token, and the agents of the nodes."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mcp import config as configuration
from mcp import service as definitions
from mcp.config import Config, Node
from mcp.shared.errors import InvalidInput, Unauthenticated
from mcp.shared.files import read_secret

if TYPE_CHECKING:
    from mcp.client import Agent

TOKEN_VARIABLE = "MCP_TOKEN"  # noqa: S105 - the variable's name
NO_TOKEN_HINT = "put a token into the file, mode 0600, or into MCP_TOKEN; `mcp-agent token add` on the node makes one"  # noqa: S105


@dataclass(frozen=True)
class Target:
    """A service on its node; `definition` is None where the node was named and no definition is needed."""

    service: str
    component: str
    node: Node
    definition: definitions.Definition | None


class Session:
    """One run of the CLI."""

    def __init__(self, config_option: Path | None) -> None:
        """Reads the configuration that --config names; raises McpError."""
        self.config: Config = configuration.load(config_option)

    @cached_property
    def token(self) -> str:
        """The bearer token; raises Unauthenticated where there is none."""
        value = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not value:
            path = self.config.token_path
            if not path.exists():
                raise Unauthenticated(f"there is no token in {path}", NO_TOKEN_HINT)
            value = read_secret(path)
        if not value:
            raise Unauthenticated(f"{self.config.token_path} is empty", NO_TOKEN_HINT)
        if not value.isascii() or not value.isprintable() or " " in value:
            raise Unauthenticated("the token is not a token: it holds spaces or control characters", NO_TOKEN_HINT)
        return value

    @cached_property
    def ca(self) -> bytes | None:
        """What agents' certificates are verified against."""
        return configuration.read_ca(self.config)

    def agent(self, node: Node) -> "Agent":
        """A connection to a node's agent; use it in a `with` statement."""
        from mcp.client import Agent  # gRPC is slow to import

        return Agent(node, self.ca, self.token)

    def target(self, target: tuple[str, str], node: str | None) -> Target:
        """Where a (service, component) is: on the node named, or the one of its definition."""
        service, component = target
        if node is not None:
            return Target(service, component, self.config.node(node), None)
        definition = definitions.load(self.config, service)
        if component and component not in definition.service.component_names():
            names = ", ".join(definition.service.component_names())
            raise InvalidInput(f"{service} has no component {component}", f"its definition has: {names}")
        return Target(service, component, self.config.node(definition.node), definition)
