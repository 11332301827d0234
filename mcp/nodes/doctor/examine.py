"""Looks at every node from both sides at once: over ssh, and through its agent. Each does without the other."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp.client import fleet
from mcp.client.session import Session
from mcp.config.configuration import Node
from mcp.nodes.doctor import account, agent, podman, script, system, unit
from mcp.nodes.doctor.model import Finding, Level, There, ok, warning
from mcp.nodes.doctor.system import Skew
from mcp.nodes.ssh import Ssh
from mcp.shared.errors import McpError, NotReady

if TYPE_CHECKING:
    from mcp.client.agent import AgentClient

AT_ONCE = 16  # connections of ssh that are being made or used
CLOCK_TRIES = 3  # the quickest answer tells the most
SECONDS = 60.0


@dataclass(frozen=True)
class Report:
    """What was found on one node, and which of the two ways led there."""

    node: Node
    by_agent: bool
    by_ssh: bool
    findings: list[Finding]


def examine(session: Session, nodes: Sequence[Node]) -> list[Report]:
    """Look at all of them; never raises for what is wrong with one, and changes nothing."""
    return asyncio.run(_examine(session, nodes))


async def _examine(session: Session, nodes: Sequence[Node]) -> list[Report]:
    limit = asyncio.Semaphore(AT_ONCE)
    opened: list[AgentClient] = []
    try:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(asyncio.to_thread(_ask_agents, session, nodes, opened))
            looks = [group.create_task(_look(node, limit)) for node in nodes]
    finally:
        for each in opened:  # where we were interrupted, the thread must not wait for the slowest
            each.close()
    reports = []
    for node, (by_agent, found), look in zip(nodes, asked.result(), looks, strict=True):
        by_ssh, seen = look.result()
        reports.append(Report(node, by_agent, by_ssh, _without_repeats([*found, *seen])))
    return reports


def _ask_agents(
    session: Session, nodes: Sequence[Node], opened: "list[AgentClient]"
) -> list[tuple[bool, list[Finding]]]:
    def ask(one: "AgentClient") -> tuple[bool, list[Finding]]:
        opened.append(one)
        return agent.check(one, session.ca)

    try:
        answers = fleet.ask_all(session, nodes, ask)
    except McpError as failed:  # no token, or no authorities: ssh may still tell something
        return [(False, [agent.failure("token", failed)]) for _ in nodes]
    return [
        (False, [agent.failure("agent", answer.error)]) if answer.error is not None else answer.value or (False, [])
        for answer in answers
    ]


async def _look(node: Node, limit: asyncio.Semaphore) -> tuple[bool, list[Finding]]:
    """Whether ssh leads there, and what is found so."""
    try:
        async with limit, Ssh(node) as ssh:
            there, refused = await _run_script(ssh)
            findings = [ok("ssh", f"ssh {ssh.destination} leads there"), *refused, await _clock(ssh, there)]
    except McpError as failed:
        return False, [warning("ssh", f"not looked at over ssh: {failed.what}", failed.hint)]
    for checks in (account.check, podman.check, system.check, unit.check):
        findings += checks(there)
    return True, findings


async def _run_script(ssh: Ssh) -> tuple[There, list[Finding]]:
    """What the script says, as root where that can be had."""
    mark, refused = f"mcp-{secrets.token_hex(8)}", []
    argv, stdin = script.argv(mark), script.SCRIPT.encode()
    root = ssh.uid == 0 or bool(ssh.node.sudo)
    try:
        done = await ssh.run(argv, stdin=stdin, root=root, seconds=SECONDS)
    except NotReady as failed:
        refused.append(warning("sudo", failed.what, failed.hint))
        done = await ssh.run(argv, stdin=stdin, seconds=SECONDS)
    said = script.sections(done.stdout.decode(errors="replace"), mark)
    if not said:
        raise McpError(f"no command can be run there: {done.last_words()}", node=ssh.node.name)
    return There(ssh.node, said), refused


async def _clock(ssh: Ssh, there: There) -> Finding:
    found: list[Skew] = []
    for _ in range(CLOCK_TRIES):
        before = time.time()
        said = await ssh.check(["date", "+%s.%N"])
        found.append(system.skew(before, float(said.split()[-1]), time.time()))
    best = min(found, key=lambda one: one.uncertainty)
    return system.clock(best, f"switch time synchronisation on: {there.command('timedatectl', 'set-ntp', 'true')}")


def _without_repeats(findings: list[Finding]) -> list[Finding]:
    """Of two measurements of the clock the later one, ssh's, which is more exact; the worst first."""
    last = {finding.check: number for number, finding in enumerate(findings)}
    kept = [each for number, each in enumerate(findings) if each.check != "clock" or last["clock"] == number]
    order = [Level.ERROR, Level.WARNING, Level.OK]
    return sorted(kept, key=lambda each: order.index(each.level))
