"""Upgrade of several nodes, all at once or in waves; a wave with a failure is the last."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mcp.config.configuration import Node
from mcp.nodes.agent_file import AgentFile, find
from mcp.nodes.upgrade.node_upgrade import NodeUpgrade, UpgradeResult, UpgradeRow
from mcp.shared.errors import McpError
from mcp.terminal.output import LiveLines

AT_ONCE = 20  # concurrent connections, each of which sends about 12 MB


class AgentFiles:
    """Cache of agent files: each is found, or built, once for all nodes."""

    def __init__(self, folder: Path | None, keys: Sequence[str] = ()) -> None:
        """Take the folder of --from, and the keys of `[release]`."""
        self._folder = folder
        self._keys = keys
        self._found: dict[str, AgentFile | McpError] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def find(self, arch: str) -> AgentFile:
        """Return the file for an architecture; raises NotFound."""
        async with self._turns[arch]:
            if arch not in self._found:
                try:
                    self._found[arch] = await find(arch, self._folder, self._keys)
                except McpError as error:
                    self._found[arch] = error
        found = self._found[arch]
        if isinstance(found, McpError):
            raise found
        return found


async def run(course: NodeUpgrade, nodes: Sequence[Node], wave: int, lines: LiveLines) -> list[UpgradeRow]:
    """Upgrade nodes, `wave` at a time (0: all); return rows in the order of nodes."""
    rows: list[UpgradeRow] = []
    size = wave or len(nodes) or 1
    for first in range(0, len(nodes), size):
        if not all(row.is_good for row in rows):
            rows += [_skipped(node) for node in nodes[first:]]
            break
        rows += await _at_once(course, nodes[first : first + size], lines)
    return rows


async def _at_once(course: NodeUpgrade, nodes: Sequence[Node], lines: LiveLines) -> list[UpgradeRow]:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(node: Node) -> UpgradeRow:
        async with places:
            row = await course.run(node, lambda text: lines.show(node.name, text))
        lines.show(node.name, str(row.result), last=True)
        return row

    return list(await asyncio.gather(*(one(node) for node in nodes)))


def _skipped(node: Node) -> UpgradeRow:
    why = "skipped after the failure of an earlier node; run the command again for the rest"
    return UpgradeRow(node.name, "", "", UpgradeResult.SKIPPED, why)
