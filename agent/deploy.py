"""Deploying a service: every component is prepared while the old containers run, then replaced and watched."""

import asyncio
from dataclasses import dataclass

from agent.podman import Podman
from agent.registry import AsyncRegistry
from agent.rollout import Rollout
from mcp.shared.errors import NotFound, NotReady
from mcp.shared.spec import ServiceSpec


@dataclass(frozen=True)
class Result:
    """What became of one component; `error` is empty on success."""

    name: str
    error: str = ""


class Deployer:
    """Deploys services on this node."""

    def __init__(self, podman: Podman, registry: AsyncRegistry, settle: float) -> None:
        """`settle` is how many seconds a new container must stay up to be kept."""
        self._podman = podman
        self._registry = registry
        self._settle = settle

    async def deploy(self, service: ServiceSpec, only: str) -> list[Result]:
        """Deploy a service, or one of its components; one that fails does not stop the others.

        Containers are replaced in the order of the definition, and watched together.
        """
        rollouts = self._rollouts(service, only)
        await asyncio.gather(*(rollout.step(rollout.prepare) for rollout in rollouts))
        for rollout in rollouts:
            await rollout.step(rollout.replace)
        await asyncio.gather(*(rollout.step(rollout.settle) for rollout in rollouts))
        for rollout in rollouts:
            await rollout.step(rollout.keep)
            if rollout.error is not None:
                await rollout.undo()
        return [Result(rollout.component.name, str(rollout.error or "")) for rollout in rollouts]

    def _rollouts(self, service: ServiceSpec, only: str) -> list[Rollout]:
        if not service.active:
            raise NotReady(f"{service.name} is not active", "set active = true in its definition to deploy it")
        if only and only not in service.component_names():
            raise no_component(service.name, only, service.component_names())
        return [
            Rollout(self._podman, self._registry, self._settle, service.name, position, component)
            for position, component in enumerate(service.components)
            if only in ("", component.name)
        ]


def no_component(service: str, component: str, there: list[str]) -> NotFound:
    """The error for a component that a service does not have."""
    return NotFound(f"{service} has no component {component}", f"it has: {', '.join(there)}")
