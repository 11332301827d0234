"""Services on other nodes than that of their definition: left behind when its `node` was changed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mcp.commands.shared import undeploy_command
from mcp.shared.errors import McpError, NotReady
from mcp.shared.states import DesiredState
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.fleet import NodeAnswer
    from mcp.client.session import Session
    from proto.mcp.v1 import mcp_pb2 as pb

SECONDS = 3.0  # until a node counts as silent, which must not hold up a command that needs another one


class Copy(NamedTuple):
    """A service that is registered on a node; `runs` unless all of its components are stopped."""

    service: str
    node: str
    components: tuple[str, ...]
    runs: bool

    @property
    def text(self) -> str:
        """The fact for the user."""
        return f"still runs on {self.node}" if self.runs else f"is still deployed on {self.node}, stopped"

    @property
    def remedy(self) -> str:
        """The commands that resolve it."""
        remove = undeploy_command(self.node, self.service)
        return f"remove it there with {remove}, or move it with `mcp deploy --move {self.service}`"


def of_other_nodes(session: "Session", service: str, node: str) -> list[Copy]:
    """Return the copies of a service on other nodes than `node`; warn of other nodes that do not answer."""
    return [copy for copy in registered(session, [node]) if copy.service == service and copy.node != node]


def registered(session: "Session", reported: Collection[str]) -> list[Copy]:
    """Return what is registered on all nodes, or nothing if there is only one; they are asked at once.

    Warns of nodes that do not answer, except those that the caller asks again and reports.

    Raises:
        Unauthenticated: Every node rejects the token.
    """
    copies = []
    for answer in _ask(session) if len(session.config.nodes) > 1 else ():
        if answer.value is not None:
            copies += [_copy(answer.node.name, service) for service in answer.value.services]
        elif answer.node.name not in reported:
            output.error(f"warning: cannot tell which services still run on {answer.node.name}: {_why(answer)}")
    return copies


def misplaced(copies: Iterable[Copy], homes: Mapping[str, str]) -> list[Copy]:
    """Return the copies that are not on the node of their definition, which `homes` has by service."""
    return [copy for copy in copies if homes.get(copy.service, copy.node) != copy.node]


def refuse(copies: Sequence[Copy]) -> None:
    """Raise NotReady if there is any copy, which a deploy would run twice."""
    if copies:
        raise NotReady(f"{copies[0].service} {copies[0].text}", copies[0].remedy)


def _ask(session: "Session") -> "list[NodeAnswer[pb.ListServicesResponse]]":
    from mcp.client import fleet

    return fleet.ask_all(session, session.config.nodes, lambda agent: agent.list_services(SECONDS))


def _why(answer: "NodeAnswer[pb.ListServicesResponse]") -> str:
    return answer.error.without_node() if isinstance(answer.error, McpError) else ""


def _copy(node: str, service: "pb.ServiceInfo") -> Copy:
    names = tuple(component.name for component in service.components)
    runs = any(component.desired_state != DesiredState.STOPPED for component in service.components)
    return Copy(service.name, node, names, runs)
