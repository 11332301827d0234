"""Diagnosis of nodes, concurrently over ssh and through their agents, each independent of the other."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp.client import fleet
from mcp.client.session import Session
from mcp.config.configuration import Node
from mcp.definitions import definitions
from mcp.nodes.doctor import account, agent, podman, script, system, unit
from mcp.nodes.doctor.model import Finding, Inspection, Level, ok, warning
from mcp.nodes.doctor.system import Skew
from mcp.nodes.ssh import Ssh
from mcp.shared.errors import McpError, NotReady

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient

AT_ONCE = 16  # concurrent ssh connections
CLOCK_TRIES = 3  # the fastest measurement is the most exact
SECONDS = 100.0


@dataclass(frozen=True)
class Report:
    """Findings of a node, and which of the two ways reached it."""

    node: Node
    by_agent: bool
    by_ssh: bool
    findings: list[Finding]


def examine(session: Session, nodes: Sequence[Node]) -> list[Report]:
    """Check nodes without changing anything; failures become findings."""
    return asyncio.run(_examine(session, nodes))


async def _examine(session: Session, nodes: Sequence[Node]) -> list[Report]:
    limit = asyncio.Semaphore(AT_ONCE)
    opened: list[AgentClient] = []
    try:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(asyncio.to_thread(_ask_agents, session, nodes, opened))
            looks = [group.create_task(_look(node, limit)) for node in nodes]
    finally:
        for client in opened:  # after an interruption the thread must not wait for the slowest
            client.close()
    reports = []
    for node, (by_agent, found), look in zip(nodes, asked.result(), looks, strict=True):
        by_ssh, seen = look.result()
        reports.append(Report(node, by_agent, by_ssh, _without_repeats([*found, *seen])))
    return reports


def _ask_agents(
    session: Session, nodes: Sequence[Node], opened: "list[AgentClient]"
) -> list[tuple[bool, list[Finding]]]:
    homes = definitions.homes(session.config)

    def ask(client: "AgentClient") -> tuple[bool, list[Finding]]:
        opened.append(client)
        return agent.check(client, session.ca, homes)

    try:
        answers = fleet.ask_all(session, nodes, ask)
    except McpError as failed:  # no token or CA: the checks over ssh still work
        return [(False, [agent.failure("token", failed)]) for _ in nodes]
    return [
        (False, [agent.failure("agent", answer.error)]) if answer.error is not None else answer.value or (False, [])
        for answer in answers
    ]


async def _look(node: Node, limit: asyncio.Semaphore) -> tuple[bool, list[Finding]]:
    """Return True if ssh reaches the node, and the findings."""
    try:
        async with limit, Ssh(node) as ssh:
            inspection, refused = await _run_script(ssh)
            findings = [ok("ssh", f"ssh {ssh.destination} works"), *refused, await _clock(ssh, inspection)]
    except McpError as failed:
        return False, [warning("ssh", f"not checked over ssh: {failed.what}", failed.hint)]
    for checks in (account.check, podman.check, system.check, unit.check):
        findings += checks(inspection)
    return True, findings


async def _run_script(ssh: Ssh) -> tuple[Inspection, list[Finding]]:
    """Run the script, as root if possible, and return its output."""
    mark, refused = f"mcp-{secrets.token_hex(8)}", []
    argv, stdin = script.argv(mark), script.SCRIPT.encode()
    root = ssh.uid == 0 or bool(ssh.node.sudo)
    try:
        done = await ssh.run(argv, stdin=stdin, root=root, seconds=SECONDS)
    except NotReady as failed:
        refused.append(warning("sudo", failed.what, failed.hint))
        done = await ssh.run(argv, stdin=stdin, seconds=SECONDS)
    output = script.sections(done.stdout.decode(errors="replace"), mark)
    if not output:
        raise McpError(f"cannot run commands over ssh: {done.last_words()}", node=ssh.node.name)
    return Inspection(ssh.node, output), refused


async def _clock(ssh: Ssh, inspection: Inspection) -> Finding:
    measured: list[Skew] = []
    for _ in range(CLOCK_TRIES):
        before = time.time()
        output = await ssh.check(["date", "+%s.%N"])
        measured.append(system.skew(before, float(output.split()[-1]), time.time()))
    best = min(measured, key=lambda skew: skew.uncertainty)
    return system.clock(best, f"enable time synchronisation: {inspection.command('timedatectl', 'set-ntp', 'true')}")


def _without_repeats(findings: list[Finding]) -> list[Finding]:
    """Sort findings, worst first, with only the last clock measurement, that of ssh, which is more exact."""
    last = {finding.check: number for number, finding in enumerate(findings)}
    kept = [each for number, each in enumerate(findings) if each.check != "clock" or last["clock"] == number]
    order = [Level.ERROR, Level.WARNING, Level.OK]
    return sorted(kept, key=lambda each: order.index(each.level))
