"""mcp doctor"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes
from mcp.shared.command import Command, flag
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, EXIT_UNREACHABLE
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.session import Session
    from mcp.nodes.doctor.examine import Report


def run(session: "Session", args: argparse.Namespace) -> int:
    """Check nodes; return 1 for errors, 4 if no node could be reached in any way."""
    from mcp.nodes.doctor.examine import examine  # gRPC and asyncio are slow to import

    reports = examine(session, nodes.select(session, *args.nodes))
    if args.json:
        output.print_json([_json(report) for report in reports])
    else:
        _print(reports, verbose=args.verbose)
    if reports and not any(report.by_agent or report.by_ssh for report in reports):
        return EXIT_UNREACHABLE
    return EXIT_FAILED if any(_has_errors(report) for report in reports) else EXIT_DONE


def _has_errors(report: "Report") -> bool:
    return any(finding.is_error for finding in report.findings)


def _json(report: "Report") -> dict[str, object]:
    findings = [
        {"level": str(finding.level), "check": finding.check, "what": finding.what, "do": finding.do or None}
        for finding in report.findings
    ]
    return {"node": report.node.name, "agent": report.by_agent, "ssh": report.by_ssh, "findings": findings}


def _print(reports: "Sequence[Report]", *, verbose: bool) -> None:
    counts = {"error": 0, "warning": 0, "ok": 0}
    for report in reports:
        for finding in report.findings:
            counts[finding.level] += 1
            if verbose or not finding.is_fine:
                do = f"; {finding.do}" if finding.do else ""
                output.line(f"{finding.level:<7}  {report.node.name}: {finding.what}{do}")
    output.line(
        f"{_many(len(reports), 'node')}: {_many(counts['error'], 'error')}, {_many(counts['warning'], 'warning')}, "
        f"{_many(counts['ok'], 'check')} fine"
    )


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


COMMAND = Command(
    "doctor",
    "diagnose nodes and suggest remedies",
    run,
    group=Group.NODES,
    description="The checks use ssh and the agents, and change nothing.",
    arguments=(arguments.NODES, flag("-v", "--verbose", help="also show checks that succeeded"), arguments.JSON),
)
