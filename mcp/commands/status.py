"""mcp status [SERVICE]"""

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, copies, nodes
from mcp.commands.shared.copies import Copy
from mcp.commands.shared.nodes import Row
from mcp.shared.command import Command, Differences, flag
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, EXIT_UNREACHABLE
from mcp.shared.states import DesiredState, ObservedState
from mcp.terminal import output

if TYPE_CHECKING:
    from datetime import datetime

    from mcp.client.agent import AgentClient
    from mcp.client.events import NodeEvent
    from mcp.client.fleet import NodeAnswer
    from mcp.client.session import Session
    from proto.mcp.v1 import mcp_pb2 as pb

CHECK_FAILED = 2
UNKNOWN = "unknown"  # the desired state of an unreadable component
ENDED = (ObservedState.EXITED, ObservedState.STOPPED, ObservedState.COMPLETED)
COLUMNS = ("service", "component", "node", "desired", "observed", "version", "restarts", "for", "")
KEYS = (  # of each --json row
    *("service", "component", "node", "desired", "observed", "drift", "version", "image"),
    *("digest", "ports", "restarts", "health", "exit_code", "started", "since", "defined_for", "pending"),
    *("registered_image", "differences"),
)


def run(session: "Session", args: argparse.Namespace) -> int:
    """Show desired and observed state and events; an unreachable node is a row with its state.

    With --check, return CHECK_FAILED if anything is not as it should be.
    """
    from mcp.definitions import definitions

    service = args.service or ""
    selected = nodes.select_for(session, service, args.node)
    homes, rows_of = definitions.homes(session.config), nodes.rows_of(KEYS, "observed", _rows)

    def rows(answer: "NodeAnswer[pb.GetServiceStatusResponse]") -> list[Row]:
        return [{**row, "defined_for": homes.get(row["service"])} for row in rows_of(answer)]

    def ask(agent: "AgentClient") -> "pb.GetServiceStatusResponse":
        return agent.status(service)

    if args.json or service:
        answers = nodes.ask(session, selected, ask, known_only=True)
        _show(service, [row for answer in answers for row in rows(answer)], _events(answers), as_json=args.json)
    else:
        listing = nodes.Listing(COLUMNS, rows, {"for": lambda row: _ago(row["since"]), "": _remark}, _is_wrong)
        answers = nodes.show_all(session, selected, ask, listing, as_json=False, known_only=True)
    status = nodes.finish(answers)
    elsewhere = _elsewhere(session, service, homes.get(service)) if args.node is None else []
    if not _report_registries(answers) and args.check:
        return CHECK_FAILED
    return _checked([row for answer in answers for row in rows(answer)], elsewhere, status) if args.check else status


def _report_registries(answers: "Sequence[NodeAnswer[pb.GetServiceStatusResponse]]") -> bool:
    """Report nodes whose registry is damaged or lost; return False if there are any."""
    found = [(answer.node.name, each) for answer in answers if answer.value for each in answer.value.registry_problems]
    for node, problem in found:
        output.error(f"{node}: {problem}")
    return not found


def _events(answers: "Sequence[NodeAnswer[pb.GetServiceStatusResponse]]") -> "list[NodeEvent]":
    from mcp.client.events import NodeEvent, merged

    return merged(
        NodeEvent(answer.node.name, event) for answer in answers if answer.value for event in answer.value.recent_events
    )


def _show(service: str, rows: Sequence[Row], events: "Sequence[NodeEvent]", *, as_json: bool) -> None:
    """Print JSON, or the page of a service."""
    if as_json:
        output.print_json({"components": rows, "events": [event.as_json() for event in events]})
        return
    for text, marked in _page(service, [row for row in rows if row["service"]], events):
        output.line(text, marked=marked)


def _elsewhere(session: "Session", service: str, home: str | None) -> list[Copy]:
    """Report copies of a service on other nodes than that of its definition; without a service, the rows show them."""
    found = copies.of_other_nodes(session, service, home) if service and home else []
    for copy in found:
        output.error(f"{service} {copy.text}, but is defined for {home}; {copy.remedy}")
    return found


def _checked(rows: Sequence[Row], elsewhere: Sequence[Copy], status: int) -> int:
    """Return the exit status of --check."""
    if elsewhere or any(map(_is_wrong, rows)) or status == EXIT_UNREACHABLE:
        return CHECK_FAILED
    return EXIT_FAILED if status else EXIT_DONE


def _is_wrong(row: Row) -> bool:
    return bool(row["drift"] or row["pending"]) or _is_misplaced(row)


def _is_misplaced(row: Row) -> bool:
    return row["defined_for"] not in (None, row["node"]) and row["observed"] != ObservedState.STOPPED


def _remark(row: Row) -> str:
    remarks = [_drift(row)] if row["drift"] else []
    if row["pending"]:
        remarks.append(str(row["pending"]))
    if _is_misplaced(row):
        remarks.append(f"still runs on {row['node']}, defined for {row['defined_for']}")
    return "; ".join(remarks) or " "


def _drift(row: Row) -> str:
    differences = _differences(row)
    return f"drift: {differences}" if differences else "drift"


def _differences(row: Row) -> str:
    differences = row["differences"]
    return "; ".join(map(str, differences)) if isinstance(differences, list) else ""


def _rows(response: "pb.GetServiceStatusResponse") -> Iterator[Row]:
    drifting = {(drift.service, drift.component) for drift in response.drift}
    for service in response.services:
        for component in service.components:
            drifts = (service.name, component.name) in drifting
            yield {**_row(service.name, component, response.recent_events), "drift": drifts}


def _row(service: str, component: "pb.ComponentInfo", events: "Sequence[pb.EventInfo]") -> Row:
    from datetime import UTC

    started = component.started.ToDatetime(UTC) if component.HasField("started") else None
    since = started or _last_change(service, component, events)
    ended = component.observed_state in ENDED
    return {
        "service": service,
        "component": component.name,
        "desired": component.desired_state,
        "observed": component.observed_state,
        "version": component.version,
        "image": component.image,
        "digest": component.digest or None,
        "ports": list(component.ports),
        "restarts": component.restarts,
        "health": component.health or None,
        "exit_code": component.exit_code if ended or component.exit_code else None,
        "started": started.isoformat() if started else None,
        "since": since.isoformat() if since else None,
        "pending": component.pending or None,
        "registered_image": component.registered_image or None,
        "differences": list(component.differences),
    }


def _last_change(service: str, component: "pb.ComponentInfo", events: "Sequence[pb.EventInfo]") -> "datetime | None":
    """Find the time of the change to the current state; None if it is not among the last events."""
    from datetime import UTC

    for event in reversed(events):
        if (event.service, event.component) == (service, component.name) and event.prev_state != event.new_state:
            same = event.new_state == component.observed_state
            return event.timestamp.ToDatetime(UTC).replace(microsecond=0) if same else None
    return None


def _page(service: str, rows: Sequence[Row], events: "Sequence[NodeEvent]") -> Iterator[tuple[str, bool]]:
    """Yield the lines of the page, each with True if it reports drift."""
    if not rows:
        return
    drifting = sum(1 for row in rows if row["drift"])
    running = sum(1 for row in rows if row["observed"] == ObservedState.RUNNING)
    completed = sum(1 for row in rows if row["observed"] == ObservedState.COMPLETED)
    where = ", ".join(sorted({str(row["node"]) for row in rows}))
    verdict = f"{completed} completed, " if completed else ""
    verdict += f"drift in {drifting} of {len(rows)}" if drifting else "no drift"
    yield f"{service} on {where}: {running} of {len(rows)} running, {verdict}", bool(drifting)
    several = len({row["node"] for row in rows}) > 1
    for row in rows:
        yield "", False
        head, *facts = _component(row, with_node=several)
        yield head, bool(row["drift"])
        yield from ((fact, False) for fact in facts)
    yield "", False
    yield "  events:" if events else "  no events yet", False
    for event in events:
        yield f"    {event.as_text(with_node=several)}", False


def _component(row: Row, *, with_node: bool) -> Iterator[str]:
    state = str(row["observed"])
    if row["drift"] and row["desired"] not in (DesiredState.IGNORE, UNKNOWN, row["observed"]):
        state += f", should be {row['desired']}"
    elif row["desired"] == DesiredState.IGNORE:
        state += " (not registered, not managed)"
    state += "".join(f"; {remark}" for remark in (_differences(row), row["pending"]) if remark)
    where = f" on {row['node']}" if with_node else ""
    yield f"  {row['component']}{where}: {state}"
    ports = row["ports"]
    facts = {
        "since": _since(row["since"]),
        "exit code": "" if row["exit_code"] is None else str(row["exit_code"]),
        "health": str(row["health"] or ""),
        "restarts": str(row["restarts"]),
        "image": str(row["image"]),
        "digest": str(row["digest"] or ""),
        "ports": ", ".join(ports) if isinstance(ports, list) else "",
    }
    for name, value in facts.items():
        if value:
            yield f"    {name + ':':<11}{value}"


def _since(moment: str | None) -> str:
    return f"{moment[:19].replace('T', ' ')}Z, {_ago(moment)} ago" if moment else ""


def _ago(moment: str | None) -> str:
    from mcp.shared.times import age

    return age(moment) if moment else ""


COMMAND = Command(
    "status",
    "show desired and observed state, drift and recent events",
    run,
    group=Group.STATE,
    differences=Differences("--check", "all is as it should be", "there is drift, or a node does not answer"),
    arguments=(
        arguments.one_service("show this service in detail (default: a table of all)", "service", optional=True),
        arguments.node("only this node (default: the node of SERVICE, else all)"),
        flag("--check", help="exit with 2 if anything is not as it should be, or a node does not answer"),
        arguments.JSON,
    ),
)
