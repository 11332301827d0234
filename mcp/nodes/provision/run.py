"""All steps of `mcp node provision`, in order; refusals precede the first change."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from mcp.client.session import Session
from mcp.config.configuration import Node
from mcp.nodes import agent_file
from mcp.nodes.provision import agent, certificate, check, system
from mcp.nodes.provision.certificate import Authority, Own
from mcp.nodes.provision.steps import Report, Steps
from mcp.nodes.ssh import Ssh


@dataclass(frozen=True)
class Options:
    """Options of the command; `folder` has agent files, `account` is that of the operator's token."""

    dry_run: bool = False
    folder: Path | None = None
    uid: int | None = None
    listen: str = ""
    own: Own = field(default_factory=Own)
    account: str = ""


def provision(session: Session, node: Node, options: Options, report: Report) -> int:
    """Provision the node; return the number of changes made, or needed in a dry run. Raises McpError."""
    return asyncio.run(_provision(session, node, options, report))


async def _provision(session: Session, node: Node, options: Options, report: Report) -> int:
    certificate.check_own(options.own)
    async with Ssh(node) as ssh:
        ssh.become_root()
        steps = Steps(ssh, report, dry_run=options.dry_run)
        facts = await system.look(ssh)
        address = agent.listen_address(node, options.listen, facts.addresses)
        uid = await system.choose_uid(ssh, facts, options.uid)
        zipapp = await agent_file.find(facts.arch, options.folder, session.config.release_keys)
        authority = Authority(session.config, options.folder)
        await certificate.refuse(steps, authority, options.own)
        steps.ok(f"{node.name}: Debian {facts.release}, {facts.arch}, reached as UID {ssh.uid}")

        await system.packages(steps, facts.release)
        await system.account(steps, uid)
        await agent.folders(steps)
        version = await agent.file(steps, zipapp, uid)
        await agent.command(steps)
        settings = await agent.configuration(steps, address, session.config.mcias)
        await certificate.have(steps, authority, settings, options.own, uid)
        await agent.unit(steps, uid)
        await agent.start(steps, settings)
        token = await check.known(steps, session, authority.cert, options.account, uid)
        if not (options.dry_run and steps.changes):
            await check.answers(steps, session, authority.cert, token, version)
        return steps.changes
