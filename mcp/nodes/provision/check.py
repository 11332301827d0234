"""Final check of provisioning: response over gRPC, version, and token of the operator."""

import asyncio
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mcp.client.agent import AgentClient
from mcp.client.session import Session
from mcp.config.configuration import read_ca
from mcp.config.node_entries import locked
from mcp.nodes.provision.agent import as_mcp
from mcp.nodes.provision.steps import RemoteCommand, Steps
from mcp.shared.errors import EXIT_AUTH, Forbidden, McpError, Unauthenticated, Unreachable
from mcp.shared.files import Trust, private_folder, read_file

T = TypeVar("T")

TOKEN_PREFIX = "mcp_"  # noqa: S105 - prefix of the agent's tokens; a test compares both
ANSWER_SECONDS = 30.0
EVERY = 0.5


async def known(steps: Steps, session: Session, ca: Path, account: str, uid: int) -> str:
    """Ensure a token for the operator, on the node and here; return it, or "" if there is none yet.

    With MCIAS, which manages accounts itself, this does nothing.
    """
    if session.config.mcias is not None:
        return _own_token(session)
    token, is_new = _token(session, keep=not steps.dry_run)
    if is_new:
        steps.changed_here(f"token: new, stored in {session.config.token_path}")
    elif await asyncio.to_thread(_is_known, steps, session, ca, token):
        steps.ok("token: registered on the node")
        return token
    add = RemoteCommand(
        as_mcp(uid, "token", "add", account, "--token-stdin"),
        stdin=token.encode(),
        name="token",
        hint="choose another account with --account NAME",
        hints={
            EXIT_AUTH: "get a new one: `mcp-agent token add NAME` on a node, `mcp login --token-stdin --force` here"
        },
    )
    await steps.change(f"token: registered on the node for {account}", add)
    return token


def _own_token(session: Session) -> str:
    """Return the operator's token, or "" if there is none."""
    is_there = session.token_from_environment() or session.config.token_path.exists()
    return session.token if is_there else ""


def _token(session: Session, *, keep: bool) -> tuple[str, bool]:
    """Return the operator's token, and True if it is new; a new one is stored before any node knows it."""
    if token := _own_token(session):
        return token, False
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    if not keep:
        return token, True
    if not session.config.token_path.parent.exists():
        private_folder(session.config.token_path.parent)
    with locked(session.config.token_path):
        if made := _own_token(session):  # created by a concurrent provisioning of another node
            return made, False
        session.store_token(token)
    return token, True


async def answers(steps: Steps, session: Session, ca: Path, token: str, version: str) -> None:
    """Wait until the agent responds; raises McpError if it does not, or has another version than `version`."""
    node = steps.ssh.node
    if not token:  # MCIAS without a login yet: a refusal proves that the agent responds
        await asyncio.to_thread(_is_known, steps, session, ca, "none")
        steps.ok(f"{node.name} responds on {node.address}; log in with `mcp login`")
        return
    status = await asyncio.to_thread(_ask, steps, session, ca, token, lambda agent: agent.node_status())
    if status.agent_version != version:
        what = f"the agent has version {status.agent_version}, expected {version}"
        raise McpError(what, node=node.name)
    podman = f"podman {status.runtime_version}"
    steps.ok(f"{node.name} responds on {node.address}: mcp-agent {status.agent_version}, {podman}")


def _is_known(steps: Steps, session: Session, ca: Path, token: str) -> bool:
    """Return True if the agent accepts the token; in a dry run, no response means False."""
    try:
        _ask(steps, session, ca, token, lambda agent: agent.who_am_i())
    except Unauthenticated:
        return False
    except Forbidden:
        return True
    except (Unreachable, OSError):
        if not steps.dry_run:
            raise
        return False
    return True


def _ask(steps: Steps, session: Session, ca: Path, token: str, question: Callable[[AgentClient], T]) -> T:
    """Call the agent, which may still be starting."""
    pem = read_file(ca, Trust.OWN) if ca.exists() else read_ca(session.config)
    deadline = time.monotonic() + (0 if steps.dry_run else ANSWER_SECONDS)
    while True:
        try:
            with AgentClient(steps.ssh.node, pem, token, session.login_hint) as agent:
                return question(agent)
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(EVERY)
