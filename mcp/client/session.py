"""Session of a command: configuration, token, and connections to agents."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mcp.client.patience import DEFAULT, Patience
from mcp.config import configuration
from mcp.config.configuration import Config, Node
from mcp.definitions import definitions
from mcp.shared import interrupts
from mcp.shared.errors import McpError, NotFound, Unauthenticated
from mcp.shared.files import private_folder, read_secret, write_atomic

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient

TOKEN_VARIABLE = "MCP_TOKEN"  # noqa: S105 - the variable's name


@dataclass(frozen=True)
class Target:
    """A service on its node; `definition` is None if --node named the node."""

    service: str
    component: str
    node: Node
    definition: definitions.Definition | None


class Session:
    """The context of one run of the CLI."""

    def __init__(self, config_option: Path | None, *, may_be_new: bool = False, timeout: float | None = None) -> None:
        """Read the configuration; raises McpError.

        Args:
            config_option: The value of --config.
            may_be_new: The configuration may be missing.
            timeout: The value of --timeout: seconds that each node gets.
        """
        self.patience = DEFAULT if timeout is None else Patience(timeout, timeout)
        self.config: Config = configuration.load(config_option, may_be_new=may_be_new)

    @cached_property
    def token(self) -> str:
        """The bearer token; raises Unauthenticated if there is none."""
        value = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not value:
            path = self.config.token_path
            if not path.exists():
                raise Unauthenticated(f"no token in {path}", self.login_hint)
            value = read_secret(path)
        if not value:
            raise Unauthenticated(f"{self.config.token_path} is empty", self.login_hint)
        return check_token(value, self.login_hint)

    @property
    def login_hint(self) -> str:
        """The hint for obtaining a valid token."""
        if self.token_from_environment():
            return "put a valid token into MCP_TOKEN, or unset it and run `mcp login`"
        if self.config.mcias is not None:
            return "log in with `mcp login`"
        return "create a token with `mcp-agent token add` on the node and pass it to `mcp login --token-stdin`"

    def token_from_environment(self) -> bool:
        """True if MCP_TOKEN overrides the stored token."""
        return bool(os.environ.get(TOKEN_VARIABLE, "").strip())

    def store_token(self, token: str) -> None:
        """Store a token for later runs, readable by its owner only; raises McpError."""
        path = self.config.token_path
        if not path.parent.exists():
            private_folder(path.parent)
        write_atomic(path, f"{token}\n".encode())

    def forget_token(self) -> bool:
        """Remove the stored token; return True if there was one. Raises McpError."""
        path = self.config.token_path
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise McpError(f"{path}: cannot be removed: {error.strerror}") from None
        return True

    @cached_property
    def ca(self) -> bytes:
        """The CA certificates that verify agents, in PEM."""
        return configuration.read_ca(self.config)

    def agent(self, node: Node, token: str | None = None) -> "AgentClient":
        """Return a client of a node's agent, a context manager; `token` replaces the stored token."""
        with interrupts.fatal():
            from mcp.client.agent import AgentClient  # gRPC is slow to import

        client = AgentClient(node, self.ca, self.token if token is None else token, self.login_hint, self.patience)
        if token is None:
            client.advice = lambda: self._rejected_hint(node)
        return client

    def _rejected_hint(self, node: Node) -> str:
        """Return the hint for our token, rejected by a node: if others accept it, a new one would only do harm."""
        if self.config.mcias is None and self._is_accepted:
            return f"other nodes accept it: register it there with `mcp node provision {node.name}`"
        return self.login_hint

    @cached_property
    def _is_accepted(self) -> bool:
        from mcp.client import token_check

        return bool(token_check.ask(lambda node: self.agent(node, self.token), self.config.nodes, first=True).accepted)

    def target(self, target: tuple[str, str], node: str | None) -> Target:
        """Locate a (service, component): on the given node, or the one of its definition."""
        service, component = target
        if node is not None:
            return Target(service, component, self.config.node(node), None)
        definition = definitions.load(self.config, service)
        if component and component not in definition.service.component_names():
            names = ", ".join(definition.service.component_names())
            raise NotFound(f"{service} has no component {component}", f"its definition has: {names}")
        return Target(service, component, self.config.node(definition.node), definition)


def check_token(value: str, hint: str = "") -> str:
    """Return `value`; raises Unauthenticated, without the value, if it cannot be a token."""
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise Unauthenticated("invalid token: empty, or contains spaces or control characters", hint)
    return value
