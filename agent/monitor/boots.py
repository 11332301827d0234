"""Tell the present run of the machine, with what the registry has of it."""

from agent.monitor.node import boot_id, boot_time
from agent.monitor.state import Boot
from agent.store.registry import AsyncRegistry


async def present_boot(registry: AsyncRegistry) -> Boot:
    """Return the present run of the machine; raises McpError."""
    return Boot(boot_time(), await registry.call(registry.components.ended, boot_id()))
