"""Deploying a service: every component is prepared while the old containers run, then replaced and watched.

Each deploy is a row of the service's history.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from agent.logs.tail import TailLine
from agent.podman.client import Podman
from agent.services.rollout import Rollout, RolloutSettings
from agent.store.registry import AsyncRegistry
from mcp.shared.errors import NotFound, NotReady
from mcp.shared.spec import ServiceSpec


@dataclass(frozen=True)
class ComponentResult:
    """What became of one component; `error` is empty on success, `unchanged` means that nothing was to do."""

    name: str
    error: str = ""
    unchanged: bool = False
    last_lines: list[TailLine] = field(default_factory=list)


class Deployer:
    """Deploys services on this node."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, settle: float) -> None:
        """`settle` is how many seconds a new container must stay up to be kept."""
        self._podman = podman
        self._registry = registry
        self._settle = settle

    async def deploy(
        self, service: ServiceSpec, only: Collection[str], user: str, *, force: bool = False
    ) -> list[ComponentResult]:
        """Deploy a service, or some of its components; one that fails does not stop the others.

        Containers are replaced in the order of the definition, and watched together.
        """
        check_deployable(service, only)
        component = next(iter(only)) if len(only) == 1 else ""
        number = await self._registry.call(self._registry.deploys.begin, service, component, user)
        settings = RolloutSettings(service.name, number, self._settle, force)
        rollouts = [
            Rollout(self._podman, self._registry, settings, position, component)
            for position, component in enumerate(service.components)
            if not only or component.name in only
        ]
        await self._roll_out(rollouts)
        errors = [f"{rollout.component.name}: {rollout.error}" for rollout in rollouts if rollout.error]
        digests = {rollout.component.name: rollout.digest for rollout in rollouts if rollout.digest}
        await self._registry.call(
            self._registry.deploys.end, number, "failed" if errors else "done", "; ".join(errors), digests
        )
        return [
            ComponentResult(rollout.component.name, str(rollout.error or ""), rollout.unchanged, rollout.last_lines)
            for rollout in rollouts
        ]

    async def _roll_out(self, rollouts: list[Rollout]) -> None:
        await asyncio.gather(*(rollout.step(rollout.prepare) for rollout in rollouts))
        for rollout in rollouts:
            await rollout.step(rollout.replace)
        await asyncio.gather(*(rollout.step(rollout.settle) for rollout in rollouts))
        for rollout in rollouts:
            await rollout.step(rollout.keep)
            if rollout.error is not None:
                await rollout.undo()


def check_deployable(service: ServiceSpec, only: Collection[str]) -> None:
    """Raise NotReady for a service that is not active, NotFound for a component that it does not have."""
    if not service.active:
        raise NotReady(f"{service.name} is not active", "set active = true in its definition to deploy it")
    for name in only:
        if name not in service.component_names():
            raise no_component(service.name, name, service.component_names())


def no_component(service: str, component: str, there: list[str]) -> NotFound:
    """The error for a component that a service does not have."""
    return NotFound(f"{service} has no component {component}", f"it has: {', '.join(there)}")
