"""Send alerts: log them and run the alert command with the facts in its environment."""

import asyncio

from agent.log import fields, logger
from agent.store.alerts import Alert
from agent.tasks import create_guarded_task
from mcp.shared import proc
from mcp.shared.errors import McpError
from mcp.shared.times import rfc3339

COMMAND_SECONDS = 30.0
AT_ONCE = 4  # limits the commands of a node that loses all its containers


def environment(node: str, alert: Alert) -> dict[str, str]:
    """Return the alert command's environment variables; MCP_SINCE is RFC 3339 in UTC."""
    return {
        "MCP_NODE": node,
        "MCP_SERVICE": alert.service,
        "MCP_COMPONENT": alert.component,
        "MCP_KIND": alert.kind,
        "MCP_DESIRED": alert.desired,
        "MCP_OBSERVED": alert.observed,
        "MCP_DETAIL": alert.detail,
        "MCP_SINCE": rfc3339(alert.since),
    }


class Alerter:
    """Runs the alert command in the background. Failures are only logged."""

    def __init__(self, node: str, command: tuple[str, ...], seconds: float = COMMAND_SECONDS) -> None:
        """Run `command` (argv; empty for none) with a timeout of `seconds`."""
        self._node = node
        self._command = command
        self._seconds = seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(AT_ONCE)

    def send(self, alert: Alert) -> None:
        """Log an alert and run the command for it; returns at once."""
        facts = fields(**{k.removeprefix("MCP_").lower(): v for k, v in environment(self._node, alert).items()})
        logger.warning("alert", extra=facts)
        if self._command:
            task = create_guarded_task(self._run(alert), "alert command")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel running commands."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, alert: Alert) -> None:
        env = proc.environment(environment(self._node, alert))
        try:
            async with self._turns:
                await proc.check(self._command, seconds=self._seconds, env=env)
        except McpError as error:
            target = f"{alert.service}/{alert.component}"
            logger.warning("the alert command failed", extra=fields(component=target, error=str(error)))
