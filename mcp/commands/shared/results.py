"""Output of results by component, for every command that changes components."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mcp.commands.shared import undeploy_command
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED
from mcp.shared.states import LogStream
from mcp.terminal import output

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb


def show(service: str, node: str, done: str, results: "Iterable[pb.ComponentResult]", as_json: bool) -> int:
    """Print one line per component (`web/api: started on rift`); return 1 if any failed."""
    results = list(results)
    if as_json:
        output.print_json([_row(service, node, result) for result in results])
    else:
        for result in results:
            _print(service, node, done, result)
    return EXIT_DONE if all(result.success for result in results) else EXIT_FAILED


def _row(service: str, node: str, result: "pb.ComponentResult") -> dict[str, object]:
    return {
        "service": service,
        "component": result.name,
        "node": node,
        "success": result.success,
        "unchanged": result.unchanged,
        "error": result.error,
        "dropped": result.dropped or None,
        "notes": list(result.notes),
        "last_lines": [{"stream": _stream(line), "message": line.text} for line in result.last_lines],
    }


def _print(service: str, node: str, done: str, result: "pb.ComponentResult") -> None:
    if result.success:
        output.line(f"{service}/{result.name}: {_outcome(service, node, done, result)}")
    else:
        output.error(f"{service}/{result.name}: {result.error}")
    for text in result.notes:
        output.note(f"{service}/{result.name}: {text}")
    if result.last_lines:
        output.error(f"{service}/{result.name}: last log lines:")
        for line in result.last_lines:
            output.note(f"    {_stream(line)} | {line.text}")


def _outcome(service: str, node: str, done: str, result: "pb.ComponentResult") -> str:
    if result.dropped == "kept":
        remedy = undeploy_command(node, service, result.name)
        return f"kept on {node}, although it was removed from the definition; remove it with {remedy}"
    return f"{result.dropped or ('up to date' if result.unchanged else done)} on {node}"


def _stream(line: "pb.LogLine") -> str:
    from mcp.logs.blocks import STDERR

    return LogStream.STDERR if line.stream == STDERR else LogStream.STDOUT
