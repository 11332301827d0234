"""Plans carried out: what is planned is what is done, and a kill at any moment leaves the old or the new, whole."""

import asyncio
import shutil
import socket
import tempfile
from collections.abc import Callable, Coroutine
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.files.files import ServiceFiles
from agent.podman.argv import NewContainer
from agent.podman.output import Container
from agent.services import ports
from agent.services.boot import boot
from agent.services.deploy import Deployer
from agent.services.executor import ComponentResult, Executor
from agent.services.interrupted import InterruptedOperations
from agent.services.lifecycle import Lifecycle
from agent.services.operations import Operations
from agent.services.plan import Change, plan
from agent.services.recover import Recovery
from agent.services.restored import RestoredRegistry
from agent.services.steps import Phase, Step, StepContext
from agent.services.transaction import TRIED_AGAIN, StepEvent, StepState, Transaction
from agent.store.registry import AsyncRegistry, Registry
from mcp.shared.errors import NotFound, NotReady
from mcp.shared.names import LABEL_COMPONENT, LABEL_DEPLOY, LABEL_SERVICE, aside_name, container_name
from mcp.shared.spec import ComponentSpec, RouteSpec, ServiceSpec
from mcp.shared.states import Action, DesiredState
from tests.unit.memory_podman import NOW, MemoryPodman, World

P = ParamSpec("P")
T = TypeVar("T")

OLD, NEW, BROKEN, JOB = "localhost/web:1", "localhost/web:2", "localhost/fail:1", "localhost/job:1"
API = ComponentSpec("api", OLD, routes=(RouteSpec("rest", 8443),))
WORK = ComponentSpec("work", OLD)
BEFORE = ServiceSpec("web", components=(API, WORK))
FEWER = ServiceSpec("web", components=(replace(API, image=NEW),))
AFTER = ServiceSpec("web", components=(replace(API, image=NEW, network="mcpnet"), replace(WORK, env=("A=1",))))


class Killed(BaseException):
    """Stands for SIGKILL: no code of the agent's handles it, and nothing is done afterwards."""


class Life:
    """An agent's life, which ends at the moment that is numbered `end` (None: it does not)."""

    def __init__(self, end: int | None = None) -> None:
        self.end = end
        self.moments = 0

    def moment(self) -> None:
        """Live through one more moment."""
        if self.end is not None and self.moments >= self.end:
            raise Killed
        self.moments += 1


class MortalPodman(MemoryPodman):
    """A podman whose agent may be killed before or after each change."""

    def __init__(self, world: World, life: Life) -> None:
        super().__init__(world)
        self._life = life

    async def _change(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            self._life.moment()
        except Killed:
            work.close()
            raise
        result = await work
        self._life.moment()
        return result

    async def run(self, new: NewContainer) -> None:
        await self._change(super().run(new))

    async def try_create(self, new: NewContainer) -> str:
        self._life.moment()
        identifier = await super().try_create(new)
        self._life.moment()
        return identifier

    async def remove_volume(self, name: str) -> None:
        await self._change(super().remove_volume(name))

    async def start(self, name: str) -> None:
        await self._change(super().start(name))

    async def stop(self, name: str) -> str:
        return await self._change(super().stop(name))

    async def rename(self, name: str, new_name: str) -> None:
        await self._change(super().rename(name, new_name))

    async def remove_by_id(self, identifier: str) -> None:
        await self._change(super().remove_by_id(identifier))


class MortalRegistry(AsyncRegistry):
    """A registry whose agent may be killed before or after each call."""

    def __init__(self, registry: Registry, life: Life) -> None:
        super().__init__(registry)
        self._life = life

    async def call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._life.moment()
        result = await super().call(method, *args, **kwargs)
        self._life.moment()
        return result


@dataclass
class Node:
    """An agent's parts over a world, until `close`."""

    world: World
    registry: AsyncRegistry
    executor: Executor
    operations: Operations
    interrupted: InterruptedOperations

    @classmethod
    def start(cls, world: World, folder: Path, life: Life) -> "Node":
        registry = MortalRegistry(Registry(folder / "mcp.db"), life)
        files = ServiceFiles(folder / "srv", ())
        files.root.mkdir(exist_ok=True)
        executor = Executor(MortalPodman(world, life), registry, 0.0, files)
        operations = Operations(registry)
        return cls(world, registry, executor, operations, InterruptedOperations(executor, operations))

    async def deploy(
        self, service: ServiceSpec, report: Callable[[StepEvent], None] = lambda _event: None, *, prune: bool = False
    ) -> list[str]:
        """Deploy a service as the RPC does; return its errors."""
        return [result.error for result in await self._deploy(service, report, prune)]

    async def notes(self, service: ServiceSpec, *, prune: bool = False) -> list[str]:
        """Deploy a service, which must succeed; return the notes for the user."""
        results = await self._deploy(service, lambda _event: None, prune)
        assert [result.error for result in results if result.error] == []
        return [note for result in results for note in result.notes]

    async def _deploy(
        self, service: ServiceSpec, report: Callable[[StepEvent], None], prune: bool
    ) -> list[ComponentResult]:
        deployer = Deployer(self.executor)
        return await self.operations.run(
            service.name, "kyle", "deploy", lambda: deployer.deploy(service, (), "kyle", prune=prune, report=report)
        )

    async def lifecycle(self, verb: str, service: str, component: str = "") -> None:
        """Stop, start, restart or undeploy a service as the RPC does."""
        method = getattr(Lifecycle(self.executor), verb)
        await self.operations.run(service, "kyle", verb, lambda: method(service, component))

    async def boot(self) -> None:
        """Do what an agent does when it starts."""
        recovery = Recovery(self.executor, self.operations, 0.0, ())
        restored = RestoredRegistry(self.executor.podman, self.registry, self.operations)
        await boot(self.interrupted, restored, recovery)

    async def plan(self, service: ServiceSpec) -> list[Change]:
        """Return what is to be done for a service."""
        changes = plan([service], await self.executor.examine(), partial=True)
        return [change for change in changes if change.action is not Action.KEEP]


def world() -> World:
    """A node with no container, whose images can be pulled."""
    declared: dict[str, tuple[str, ...]] = {OLD: ("/data",), NEW: ("/data",)}
    return World(local={OLD}, remote={OLD, NEW, BROKEN, JOB}, fails={BROKEN}, jobs={JOB}, declared=declared)


Work = Callable[[Node], Coroutine[Any, Any, object]]


async def live(world: World, folder: Path, life: Life, work: Work) -> None:
    """Run an agent's work to its end, or to the agent's."""
    node = Node.start(world, folder, life)
    try:
        await work(node)
    except BaseException:
        if life.end is None:
            raise
    finally:
        node.registry.close()


# --- killed at every moment ---

VERBS: dict[str, Work] = {
    "deploy": lambda node: node.deploy(AFTER),
    "stop": lambda node: node.lifecycle("stop", "web"),
    "restart": lambda node: node.lifecycle("restart", "web"),
    "undeploy": lambda node: node.lifecycle("undeploy", "web"),
    "undeploy a component": lambda node: node.lifecycle("undeploy", "web", "work"),
    "prune": lambda node: node.deploy(FEWER, prune=True),
}


def prepared(folder: Path) -> World:
    """A node that runs BEFORE."""
    made = world()
    asyncio.run(live(made, folder, Life(), lambda node: node.deploy(BEFORE)))
    return made


@pytest.mark.parametrize("verb", VERBS)
def test_an_agent_that_is_killed_at_any_moment_leaves_nothing_half_done(verb: str, tmp_path: Path) -> None:
    whole = Life()
    (tmp_path / "before").mkdir()
    before = prepared(tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "whole")
    asyncio.run(live(deepcopy(before), tmp_path / "whole", whole, VERBS[verb]))
    assert whole.moments > 10
    for end in range(whole.moments):
        folder = tmp_path / str(end)
        shutil.copytree(tmp_path / "before", folder)
        made = deepcopy(before)
        asyncio.run(live(made, folder, Life(end), VERBS[verb]))
        asyncio.run(live(made, folder, Life(), lambda node, end=end: check_whole(node, verb, end)))  # type: ignore[misc]
        kept = {name: made.anonymous(name) for name in made.containers}
        assert kept == {name: before.anonymous(name) for name in made.containers}, end
        assert made.volumes >= before.volumes


async def check_whole(node: Node, verb: str, end: int) -> None:
    """Start the next agent, and check that what was asked for is done or undone, for each component."""
    await node.boot()
    assert await node.registry.call(node.registry.operations.unfinished) == [], end
    assert await node.registry.call(node.registry.operations.transactions, "web") == [], end
    names = set(node.world.containers)
    states = {container.state for container in node.world.containers.values()}
    rows = await node.registry.call(node.registry.components.select)
    if verb == "undeploy":
        assert (names, rows) in ((set(), []), ({"web-api", "web-work"}, rows)), end
        assert len(rows) == len(names)
        return
    if verb in ("undeploy a component", "prune"):
        assert {row.container for row in rows} == names, end
        assert names in ({"web-api"}, {"web-api", "web-work"}), end
        assert states == {"running"}, end
        assert await node.deploy(FEWER, prune=True) in ([""], ["", ""])
        assert set(node.world.containers) == {"web-api"}
        assert await node.plan(FEWER) == []
        return
    assert names == {"web-api", "web-work"}, end
    if verb == "stop":
        assert states in ({"running"}, {"exited"}), end
        return
    assert states == {"running"}, end
    for old, new in zip(BEFORE.components, AFTER.components, strict=True):
        either = [await node.plan(ServiceSpec("web", components=(spec,))) for spec in (old, new)]
        assert [] in either, (end, either)
    assert await node.deploy(AFTER) == ["", ""]
    assert await node.plan(AFTER) == []


async def ports_of(node: Node) -> tuple[set[int], set[int]]:
    """The host ports of web/api, as the registry and as its container have them."""
    reserved = await node.registry.call(node.registry.components.ports, "web", "api")
    return set(reserved.values()), {port for port, _ in node.world.containers["web-api"].published}


def test_a_start_that_moves_a_port_may_be_killed_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "PAUSES", (0.0,))
    (tmp_path / "before").mkdir()
    before = prepared(tmp_path / "before")
    taken: list[int] = []

    async def stop(node: Node) -> None:
        await node.lifecycle("stop", "web")
        taken.extend((await ports_of(node))[0])

    async def check(node: Node, end: int) -> None:
        await node.boot()
        assert await node.registry.call(node.registry.operations.transactions, "web") == [], end
        assert set(node.world.containers) == {"web-api", "web-work"}, end
        if node.world.containers["web-api"].running:
            reserved, published = await ports_of(node)
            assert reserved == published != set(taken), end
        assert {name: node.world.anonymous(name) for name in node.world.containers} == kept, end

    asyncio.run(live(before, tmp_path / "before", Life(), stop))
    kept = {name: before.anonymous(name) for name in before.containers}
    with socket.create_server(("127.0.0.1", *taken)):
        for end in range(100):
            folder, made, life = tmp_path / str(end), deepcopy(before), Life(end)
            shutil.copytree(tmp_path / "before", folder)
            asyncio.run(live(made, folder, life, lambda node: node.lifecycle("start", "web")))
            asyncio.run(live(made, folder, Life(), lambda node, end=end: check(node, end)))  # type: ignore[misc]
            if life.moments < end:
                break
    assert 40 < end < 99
    assert made.containers["web-api"].running


# --- anonymous volumes ---


def test_a_container_that_is_recreated_has_its_anonymous_volumes_again(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    (volume,) = made.anonymous("web-api").values()

    async def lose_and_start(node: Node) -> None:
        made.containers.clear()
        made.mounts.clear()
        await node.lifecycle("start", "web")

    asyncio.run(live(made, tmp_path, Life(), lose_and_start))
    assert made.anonymous("web-api") == {"/data": volume}


def test_a_container_that_a_failed_run_left_does_not_keep_the_name_or_the_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prepared(tmp_path)
    (volume,) = made.anonymous("web-api").values()
    made.containers["web-api"] = replace(made.containers["web-api"], orphaned=True)

    def fail(_podman: MemoryPodman, name: str) -> None:
        raise NotReady(f"{name} was created, not started")

    async def restart(node: Node) -> None:
        monkeypatch.setattr(MemoryPodman, "_begin", fail)
        await node.lifecycle("restart", "web", "api")
        monkeypatch.undo()
        left = made.containers["web-api"]
        assert (left.state, made.anonymous("web-api")) == ("created", {"/data": volume})
        await node.interrupted.finish_service("web")

    asyncio.run(live(made, tmp_path, Life(), restart))
    assert made.containers["web-api"].running
    assert set(made.containers) == {"web-api", "web-work"}
    assert made.anonymous("web-api") == {"/data": volume}


def test_what_an_earlier_agent_deployed_is_recorded_at_the_start(tmp_path: Path) -> None:
    made = prepared(tmp_path)

    async def forget_and_boot(node: Node) -> None:
        await node.registry.call(node.registry.volumes.remove, "web", "api")
        await node.boot()
        assert await node.registry.call(node.registry.volumes.select, "web", "api") == made.anonymous("web-api")

    asyncio.run(live(made, tmp_path, Life(), forget_and_boot))


def api_with(*volumes: str) -> ServiceSpec:
    """The service with its component api alone, and these volumes."""
    return ServiceSpec("web", components=(replace(API, volumes=volumes),))


def test_a_volume_of_the_definition_takes_the_place_of_an_anonymous_one_until_a_rollback(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    (volume,) = made.anonymous("web-api").values()

    async def check(node: Node) -> None:
        notes = await node.notes(api_with("pgdata:/data/"))
        assert notes == [f"the earlier content of /data is in the anonymous volume {volume}"]
        assert made.anonymous("web-api") == {}
        assert await node.notes(api_with("pgdata:/data/", "other:/other")) == []
        notes = await node.notes(api_with())
        assert notes == [f'/data is in an anonymous volume; to name it, add "{volume}:/data" to volumes']
        assert made.anonymous("web-api") == {"/data": volume}
        assert await node.notes(api_with(f"{volume}:/data")) == []
        assert made.anonymous("web-api") == {"/data": volume}

    asyncio.run(live(made, tmp_path, Life(), check))


def test_an_undeploy_keeps_anonymous_volumes_for_the_next_deploy(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    (volume,) = made.anonymous("web-api").values()

    async def check(node: Node) -> None:
        results = await Lifecycle(node.executor).undeploy("web")
        assert results[0].notes == [f"/data is kept in the anonymous volume {volume}"]
        await node.deploy(BEFORE)
        assert made.anonymous("web-api") == {"/data": volume}

    asyncio.run(live(made, tmp_path, Life(), check))


def test_a_prune_says_which_anonymous_volumes_it_keeps(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    (volume,) = made.anonymous("web-work").values()

    async def check(node: Node) -> None:
        *_, kept = await node.notes(FEWER, prune=True)
        assert kept == f"/data is kept in the anonymous volume {volume}"
        assert volume in made.volumes

    asyncio.run(live(made, tmp_path, Life(), check))


def test_a_volume_that_podman_has_lost_is_not_called_kept(tmp_path: Path) -> None:
    made = prepared(tmp_path)

    async def check(node: Node) -> None:
        made.volumes.clear()
        assert [each.notes for each in await Lifecycle(node.executor).undeploy("web")] == [[], []]

    asyncio.run(live(made, tmp_path, Life(), check))


def test_attempts_at_a_first_deploy_share_their_anonymous_volume(tmp_path: Path) -> None:
    made = world()
    made.declared[BROKEN] = ("/data",)
    broken = ServiceSpec("web", components=(replace(API, image=BROKEN),))

    async def check(node: Node) -> None:
        for _ in range(3):
            assert all(await node.deploy(broken))
        (volume,) = made.volumes
        (result,) = await Lifecycle(node.executor).undeploy("web")
        assert list(result.notes) == [f"/data is kept in the anonymous volume {volume}"]
        assert all(await node.deploy(broken))
        assert made.volumes == {volume}
        await Lifecycle(node.executor).undeploy("web", volumes=True)
        assert made.volumes == set()

    asyncio.run(live(made, tmp_path, Life(), check))


def test_the_volumes_of_what_was_undeployed_can_be_removed_afterwards(tmp_path: Path) -> None:
    made = prepared(tmp_path)

    async def check(node: Node) -> None:
        lifecycle = Lifecycle(node.executor)
        await lifecycle.undeploy("web", "work")
        await lifecycle.undeploy("web")
        with pytest.raises(NotFound):
            await lifecycle.undeploy("web")
        assert len(made.volumes) == 2
        (work,) = await lifecycle.undeploy("web", "work", volumes=True)
        assert (work.name, len(made.volumes)) == ("work", 1)
        await lifecycle.undeploy("web", volumes=True)
        assert made.volumes == set()

    asyncio.run(live(made, tmp_path, Life(), check))


def test_an_undeploy_with_volumes_removes_those_that_no_definition_names(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    (api,), (work,) = made.anonymous("web-api").values(), made.anonymous("web-work").values()

    async def check(node: Node) -> None:
        named = ServiceSpec("web", components=(replace(API, volumes=(f"{api}:/data", "named:/x")), WORK))
        await node.deploy(named)
        results = await Lifecycle(node.executor).undeploy("web", volumes=True)
        assert [list(result.notes) for result in results] == [[], []]
        assert made.volumes == {api, "named"}
        assert await node.notes(BEFORE) == [
            f'/data is in an anonymous volume; to name it, add "{made.anonymous(name)["/data"]}:/data" to volumes'
            for name in ("web-api", "web-work")
        ]
        assert work not in made.volumes

    asyncio.run(live(made, tmp_path, Life(), check))


def test_a_volume_that_is_gone_or_another_containers_is_not_mounted(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    (volume,) = made.anonymous("web-api").values()

    async def check(node: Node) -> None:
        await Lifecycle(node.executor).undeploy("web")
        made.volumes.discard(volume)
        first, second = await node.notes(api_with())
        assert first == f"/data: its anonymous volume {volume} is gone or another container's"
        assert second.startswith("/data is in an anonymous volume")
        assert made.anonymous("web-api")["/data"] not in ("", volume)

    asyncio.run(live(made, tmp_path, Life(), check))


def test_a_plan_says_that_data_will_be_in_an_anonymous_volume(tmp_path: Path) -> None:
    async def check(node: Node) -> None:
        (change,) = await node.executor.annotate(await node.plan(api_with()), await node.executor.examine())
        assert change.notes == (
            '/data will be in an anonymous volume; to name it, add "web-api-data:/data" to volumes',
        )

    asyncio.run(live(world(), tmp_path, Life(), check))


# --- the plan and what is done ---

images = st.sampled_from([OLD, NEW, JOB])
components = st.builds(
    lambda program, **others: ComponentSpec("api", program[0], restart=program[1], **others),
    st.sampled_from([(OLD, "unless-stopped"), (NEW, "on-failure"), (JOB, "no"), (JOB, "on-failure:2")]),
    network=st.sampled_from(["", "mcpnet"]),
    routes=st.sampled_from([(), (RouteSpec(port=8443),)]),
    env=st.sampled_from([(), ("A=1",)]),
)
services = st.lists(st.sampled_from(["api", "work"]), min_size=1, max_size=2, unique=True).flatmap(
    lambda names: st.tuples(*(components.map(lambda spec, name=name: replace(spec, name=name)) for name in names))  # type: ignore[misc]
)


@st.composite
def containers(draw: st.DrawFn, name: str, component: str) -> Container | None:
    """A container that somebody may have left under this name."""
    if draw(st.booleans()):
        return None
    labels = {LABEL_SERVICE: "web", LABEL_COMPONENT: component, LABEL_DEPLOY: str(draw(st.integers(0, 2)))}
    image = draw(images)
    state = draw(st.sampled_from(["running", "exited", "created"]))
    labels = draw(st.sampled_from([labels, labels, {}]))
    started, exited = draw(st.sampled_from([NOW, datetime.now(UTC)])), state == "exited" and draw(st.booleans())
    code = draw(st.sampled_from([0, 3])) if exited else 0
    return Container(f"id-{name}", name, image, state, code, started, labels, f"id-of-{image}", exited=exited)


@st.composite
def leftovers(draw: st.DrawFn) -> tuple[World, list[tuple[ComponentSpec, str, int]]]:
    """Any registry and podman state: rows (specification, desired state, deploy) and containers, also set aside."""
    made, rows = world(), []
    made.local = set(draw(st.lists(images)))
    for component in ("api", "work"):
        name = container_name("web", component)
        for each in (name, aside_name(name)):
            if (container := draw(containers(each, component))) is not None:
                made.containers[each] = container
        if draw(st.booleans()):
            spec = replace(draw(components), name=component)
            desired = draw(st.sampled_from(["running", "stopped", "ignore"]))
            rows.append((spec, desired, draw(st.integers(0, 2))))
    return made, rows


@settings(max_examples=150, deadline=None)
@given(leftovers(), services)
def test_a_plan_lists_the_steps_that_deploy_takes_and_is_empty_afterwards(
    left: tuple[World, list[tuple[ComponentSpec, str, int]]], specs: tuple[ComponentSpec, ...]
) -> None:
    made, rows = left
    service = ServiceSpec("web", components=specs)

    async def check(node: Node) -> None:
        await node.registry.call(node.registry.deploys.begin_after, 2)
        for position, (spec, desired, deploy) in enumerate(rows):
            await node.registry.call(
                node.registry.components.put, "web", position, spec, DesiredState(desired), "", deploy
            )
        planned = await node.plan(service)
        taken: list[tuple[str, str]] = []

        def report(event: StepEvent) -> None:
            if event.state is StepState.DONE:
                taken.append((event.component, event.title))

        errors = await node.deploy(service, report)
        blocked = [change for change in planned if change.action is Action.BLOCKED]
        assert len([error for error in errors if error]) == len(blocked)
        assert sorted(taken) == sorted((change.component, step.title) for change in planned for step in change.steps)
        assert await node.plan(service) == blocked

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(made, Path(folder), Life(), check))


# --- jobs ---


def test_a_job_that_ended_with_exit_code_0_is_done(tmp_path: Path) -> None:
    job = ServiceSpec("web", components=(replace(API, image=JOB, restart="no"),))

    async def check(node: Node) -> None:
        deployer = Deployer(node.executor)
        (result,) = await deployer.deploy(job, (), "kyle")
        assert (result.error, list(result.notes)) == ("", ["ended with exit code 0"])
        assert await node.plan(job) == []
        before = node.world.containers["web-api"].started
        await node.boot()
        assert node.world.containers["web-api"].started == before
        await node.lifecycle("start", "web")
        assert node.world.containers["web-api"].started != before, "it runs again when asked to"
        assert await node.plan(job) == []

    asyncio.run(live(world(), tmp_path, Life(), check))


# --- failures ---


def test_what_fails_is_undone_and_the_rest_is_done(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    broken = ServiceSpec("web", components=(replace(API, image=BROKEN), replace(WORK, image=NEW)))
    events: list[StepEvent] = []

    async def check(node: Node) -> None:
        errors = await node.deploy(broken, events.append)
        assert errors[0].startswith("the new container ended with exit code 3 soon after its start")
        assert errors[0].endswith("; the old container runs again")
        assert errors[1] == ""

    asyncio.run(live(made, tmp_path, Life(), check))
    assert {name: each.image for name, each in made.containers.items()} == {"web-api": OLD, "web-work": NEW}
    assert {each.state for each in made.containers.values()} == {"running"}
    undone = [event.title for event in events if event.state is StepState.UNDONE]
    assert undone == [
        f"run {BROKEN}",
        "rename web-api to web-api.old",
        "stop web-api",
        "reserve host ports for rest",
    ]


def test_a_new_container_in_a_crash_loop_is_removed_by_force(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    made.loops = {NEW}
    looping = ServiceSpec("web", components=(replace(API, image=NEW), WORK))

    async def check(node: Node) -> None:
        (error, _) = await node.deploy(looping)
        assert error == "the new container ended soon after its start, and was restarted; the old container runs again"

    asyncio.run(live(made, tmp_path, Life(), check))
    assert {name: each.image for name, each in made.containers.items()} == {"web-api": OLD, "web-work": OLD}
    assert made.stopped == [OLD], "podman can hardly stop one in a crash loop"


def test_steps_are_data_that_reads_back_the_same() -> None:
    state = asyncio.run(examined())
    steps = [step for change in state for step in change.steps]
    assert steps
    assert [Step.from_data(step.as_data()) for step in steps] == steps
    assert {step.phase for step in steps} == set(Phase)


async def examined() -> list[Change]:
    """The changes from a node that runs BEFORE to AFTER."""
    with tempfile.TemporaryDirectory() as folder:
        made, changes = world(), []

        async def work(node: Node) -> None:
            await node.deploy(BEFORE)
            changes.extend(await node.plan(AFTER))

        await live(made, Path(folder), Life(), work)
        return changes


def test_the_next_operation_on_a_service_first_finishes_what_is_left_of_another(tmp_path: Path) -> None:
    """Else its end would drop the steps that are left of the other components."""
    whole, folders = Life(), [tmp_path / "whole", tmp_path / "half"]
    for folder in folders:
        folder.mkdir()
    asyncio.run(live(prepared(folders[0]), folders[0], whole, VERBS["deploy"]))
    made = prepared(folders[1])
    asyncio.run(live(made, folders[1], Life(whole.moments // 2), VERBS["deploy"]))

    async def check(node: Node) -> None:
        await node.operations.run("web", "kyle", "stop", lambda: Lifecycle(node.executor).stop("web", "api"))
        assert await node.registry.call(node.registry.operations.transactions, "web") == []
        assert {name: each.state for name, each in made.containers.items()} == {
            "web-api": "exited",
            "web-work": "running",
        }
        (last, _) = await node.registry.call(node.registry.deploys.select, "web")
        assert last.result == "interrupted"

    asyncio.run(live(made, folders[1], Life(), check))


def test_nothing_is_pruned_where_another_component_fails(tmp_path: Path) -> None:
    made = prepared(tmp_path)

    async def check(node: Node) -> None:
        broken = ServiceSpec("web", components=(replace(API, image=BROKEN),))
        _, kept = await node.deploy(broken, prune=True)
        assert kept == "kept, although it was removed from the definition, because another component failed"
        assert set(node.world.containers) == {"web-api", "web-work"}
        events: list[StepEvent] = []
        assert await node.deploy(FEWER, events.append, prune=True) == ["", ""]
        titles = [event.title for event in events if event.state is StepState.DONE]
        assert titles.index("record it in the registry") < titles.index("stop and remove web-work")

    asyncio.run(live(made, tmp_path, Life(), check))


class BrokenUndo(Step):
    """A step with a bug in its undoing."""

    async def do(self, context: StepContext) -> None:
        raise NotReady(f"{context.component} fails")

    async def undo(self, context: StepContext) -> str:
        raise KeyError(context.component)


def test_a_bug_in_undoing_is_an_error_of_its_component_alone(tmp_path: Path) -> None:
    async def check(node: Node) -> None:
        context = node.executor.context("web", "api", 1)
        transaction = Transaction([BrokenUndo()], context, undone_on_failure=True)
        await transaction.run(Phase.REPLACE)
        assert str(transaction.error) == f"api fails; undo pending: internal error; see the agent's log; {TRIED_AGAIN}"

    asyncio.run(live(world(), tmp_path, Life(), check))
