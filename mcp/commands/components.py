"""One row for each component of each node, for the commands that list them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mcp.client.fleet import NodeAnswer
from mcp.terminal import output

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb

Row = dict[str, str | None]  # None where it is not known


def rows(
    answers: "Sequence[NodeAnswer[pb.LiveCheckResponse]] | Sequence[NodeAnswer[pb.ListServicesResponse]]",
    keys: Sequence[str],
    state: str,
    row: "Callable[[pb.ComponentInfo], Row]",
) -> list[Row]:
    """The rows of every node; one that did not answer is a row that says so under the key `state`, and an error.

    `row` gives what is known of a component but where it belongs; every row has all the `keys`.
    """
    found: list[Row] = []
    for answer in answers:
        if answer.value is None:
            unknown: Row = dict.fromkeys(keys)
            found.append({**unknown, "node": answer.node.name, state: answer.state})
            output.error(str(answer.error))
            continue
        for service in answer.value.services:
            place: Row = {"service": service.name, "node": answer.node.name}
            found += [{**dict.fromkeys(keys), **place, **row(component)} for component in service.components]
    return found
