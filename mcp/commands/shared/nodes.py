"""Calls to several nodes: selection, rows, errors and exit status for all commands."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, InvalidInput, NotFound
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient
    from mcp.client.fleet import NodeAnswer
    from mcp.client.session import Session, Target
    from mcp.config.configuration import Node

T = TypeVar("T")

Row = dict[str, Any]


def select(session: "Session", *names: str | None) -> "list[Node]":
    """Return the nodes with these names, without duplicates; all nodes if no name is given."""
    named = dict.fromkeys(name for name in names if name is not None)
    return [session.config.node(name) for name in named] or list(session.config.nodes)


def select_for(session: "Session", service: str, node: str | None) -> "list[Node]":
    """Return the given node, else the node of the service's definition, else all nodes."""
    from mcp.definitions import definitions

    if node is None and service and definitions.definition_path(session.config, service).exists():
        return [session.target((service, ""), None).node]
    return select(session, node)


def deployed(session: "Session", target: tuple[str, str], node: str | None) -> "Target":
    """Locate a service or component that is deployed, but may have no definition.

    It is on the given node, else on that of its definition, else on the only one where the service is registered.
    """
    from mcp.definitions import definitions

    service, component = target
    if node is None and definitions.definition_path(session.config, service).exists():
        from dataclasses import replace

        return replace(session.target((service, ""), None), component=component)
    return session.target(target, node or _only_node(session, service))


def _only_node(session: "Session", service: str) -> str:
    """Return the node on which a service without a definition is registered."""
    if len(session.config.nodes) == 1:
        return session.config.nodes[0].name
    answers = ask(session, session.config.nodes, lambda agent: agent.list_services())
    names = [
        answer.node.name
        for answer in answers
        if answer.value is not None and service in (info.name for info in answer.value.services)
    ]
    if len(names) > 1:
        raise InvalidInput(
            f"{service} has no definition, and is deployed on {' and '.join(names)}", "choose with --node"
        )
    if names:
        return names[0]
    for answer in answers:
        if answer.error is not None:
            raise answer.error
    raise NotFound(f"{service} has no definition, and is not deployed on any node", "name its node with --node")


def ask(
    session: "Session",
    nodes: "Sequence[Node]",
    call: "Callable[[AgentClient], T]",
    *,
    known_only: bool = False,
    changes: bool = False,
    early: "Callable[[Sequence[NodeAnswer[T]]], None] | None" = None,
) -> "list[NodeAnswer[T]]":
    """Call the agents of nodes, see fleet.ask_all; `known_only` omits nodes without a service that other nodes have."""
    from mcp.client import fleet

    answers = fleet.ask_all(session, nodes, call, changes=changes, early=early)
    if known_only and any(answer.error is None for answer in answers):
        return [answer for answer in answers if not isinstance(answer.error, NotFound)]
    return answers


class Listing(NamedTuple):
    """A table with rows of several nodes: its columns, the rows of one answer, computed columns, and rows in red."""

    columns: Sequence[str]
    rows: "Callable[[NodeAnswer[Any]], Iterable[Row]]"
    computed: Mapping[str, Callable[[Row], object]] = {}
    marked: Callable[[Row], bool] = lambda _row: False


def show_all(
    session: "Session",
    nodes: "Sequence[Node]",
    call: "Callable[[AgentClient], T]",
    listing: Listing,
    *,
    as_json: bool,
    known_only: bool = False,
) -> "list[NodeAnswer[T]]":
    """Call the agents of nodes and print their rows; those of a silent node follow when it answers."""
    table, shown = output.Table([name.upper() for name in listing.columns]), set[str]()

    def early(answers: "Sequence[NodeAnswer[T]]") -> None:
        shown.update(answer.node.name for answer in answers)
        _add(table, [row for answer in answers for row in listing.rows(answer)], listing)

    answers = ask(session, nodes, call, known_only=known_only, early=None if as_json else early)
    if as_json:
        output.print_json([row for answer in answers for row in listing.rows(answer)])
    else:
        early([answer for answer in answers if answer.node.name not in shown])
    return answers


def rows_of(
    keys: Sequence[str], state: str, of: Callable[[T], Iterable[Row]]
) -> "Callable[[NodeAnswer[T]], list[Row]]":
    """Return a function for the rows that `of` makes of an answer, with all `keys`.

    A failed node is a row with its state at the key `state`.
    """

    def rows(answer: "NodeAnswer[T]") -> list[Row]:
        known = [{state: answer.state}] if answer.value is None else of(answer.value)
        return [{**dict.fromkeys(keys), "node": answer.node.name, **row} for row in known]

    return rows


def show(
    rows: Sequence[Row],
    columns: Sequence[str],
    as_json: bool,
    computed: Mapping[str, Callable[[Row], object]] = {},
    marked: Callable[[Row], bool] = lambda _row: False,
) -> None:
    """Print rows as JSON, or as a table of the given keys and computed columns, with `marked` rows in red."""
    if as_json:
        output.print_json(rows)
        return
    listing = Listing(columns, lambda _answer: (), computed, marked)
    _add(output.Table([name.upper() for name in columns]), rows, listing)


def _add(table: output.Table, rows: Sequence[Row], listing: Listing) -> None:
    """Print rows of a listing."""
    computed = listing.computed
    cells = [
        [_text(computed[name](row) if name in computed else row[name]) for name in listing.columns] for row in rows
    ]
    table.add(cells, [number for number, row in enumerate(rows) if listing.marked(row)])


def _text(cell: object) -> str:
    if isinstance(cell, (list, tuple)):
        return ",".join(map(str, cell))
    return "" if cell is None else str(cell)


def finish(answers: "Sequence[NodeAnswer[Any]]", *, failed: bool = False) -> int:
    """Print the error of each failed node; return the exit status of the first, else 1 if `failed`, else 0."""
    errors = [answer.error for answer in answers if answer.error is not None]
    for error in errors:
        output.error(str(error))
    return errors[0].exit_code if errors else EXIT_FAILED if failed else EXIT_DONE
