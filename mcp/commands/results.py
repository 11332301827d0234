"""Showing what became of components, for every command that changes them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mcp import output
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb


def show(service: str, node: str, done: str, results: "Iterable[pb.ComponentResult]", as_json: bool) -> int:
    """Print one line a component (`web/api  started on rift`); returns 1 where any failed."""
    results = list(results)
    if as_json:
        rows = [
            {"service": service, "component": r.name, "node": node, "success": r.success, "error": r.error}
            for r in results
        ]
        output.print_json(rows)
    else:
        for result in results:
            if result.success:
                output.line(f"{service}/{result.name}: {done} on {node}")
            else:
                output.error(f"{service}/{result.name}: {result.error}")
    return EXIT_DONE if all(result.success for result in results) else EXIT_FAILED
