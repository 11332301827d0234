"""Bounds of what comes from outside, and of what the agent does at once."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.logs import grep
from agent.logs.grep import Filter, Workers
from agent.logs.model import Batch, Position
from agent.monitor import pauses
from agent.monitor.pauses import PauseWatch
from agent.podman import client
from agent.podman.client import Podman
from agent.services import rollback
from agent.services.plan import NodeState, plan
from agent.services.steps import CheckPorts
from agent.store import deploys
from agent.store.registry import Registry
from mcp.shared import proc, wire
from mcp.shared.errors import InvalidFile, InvalidInput
from mcp.shared.fields import LIST_LIMIT, problems
from mcp.shared.ports import Claim, clashes
from mcp.shared.spec import ComponentSpec, ServiceSpec
from mcp.shared.states import DeployResult, DesiredState
from mcp.shared.toml import FILE_LIMIT, read_text
from proto.mcp.v1 import mcp_pb2 as pb

WEB = ComponentSpec("web", "localhost/web:1")
API = replace(WEB, name="api")


# --- definitions ---


def test_a_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "web.toml"
    file.write_text("#" * FILE_LIMIT)
    assert len(read_text(file)) == FILE_LIMIT
    file.write_text("#" * (FILE_LIMIT + 1))
    with pytest.raises(InvalidFile, match="is larger than 1 MiB; mount large data as a file"):
        read_text(file)


def test_a_definition_above_the_limit_is_refused() -> None:
    message = pb.ServiceSpec(name="web", components=[wire.component_to_wire(replace(WEB, cmd=("x" * FILE_LIMIT,)))])
    with pytest.raises(InvalidInput, match='service: "web" is larger than 1 MiB; mount large data as a file'):
        wire.service_from_wire(message)


def test_a_list_above_the_limit_is_refused_and_not_looked_into() -> None:
    service = ServiceSpec("web", components=(replace(WEB, ports=("x",) * (LIST_LIMIT + 1)),))
    assert list(problems(service)) == ["components[0].ports: has 1001 entries, and at most 1000 are possible"]


def test_only_the_first_problems_are_named() -> None:
    message = pb.ServiceSpec(name="web", components=[wire.component_to_wire(replace(WEB, ports=("x",) * LIST_LIMIT))])
    with pytest.raises(InvalidInput) as caught:
        wire.service_from_wire(message)
    assert caught.value.what.count("; ") == wire.PROBLEMS_SHOWN - 1


claims = st.lists(
    st.builds(
        Claim,
        st.sampled_from("abc"),
        st.uuids().map(str),
        st.sampled_from(["host port 1/tcp", "host port 2/tcp"]),
        st.sampled_from([None, ip_address("127.0.0.1"), ip_address("10.0.0.1"), ip_address("::1")]),
    ),
    max_size=12,
)


@given(claims)
def test_clashes_are_those_of_a_comparison_of_all_pairs(every: list[Claim]) -> None:
    def slowly() -> Iterator[tuple[Claim, Claim]]:
        for number, claim in enumerate(every):
            yield from [(claim, other) for other in every[:number] if claim.clashes_with(other)][:1]

    assert list(clashes(every)) == list(slowly())


def test_only_components_with_ports_know_what_is_replaced_before_them() -> None:
    many = [replace(WEB, name=f"c{number}") for number in range(10)]
    service = ServiceSpec("web", components=(*many, replace(WEB, name="last", ports=("8080:80",))))
    changes = plan([service], NodeState((), (), {}), partial=True)
    checks = [step for change in changes for step in change.steps if isinstance(step, CheckPorts)]
    assert [len(step.freed) for step in checks] == [10]


# --- the history ---


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Registry]:
    """A registry that keeps ten deploys of each service."""
    opened = Registry(tmp_path / "mcp.db", keep_deploys=10)
    yield opened
    opened.close()


def deploy(
    db: Registry, *components: ComponentSpec, only: str = "", ok: bool = True, name: str = "shop", env: str = ""
) -> int:
    """Record a deploy, and return its number."""
    changed = tuple(replace(component, env=(f"A={env}",)) if env else component for component in components)
    number = db.deploys.begin(ServiceSpec(name, components=changed), only, "ann")
    db.deploys.end(number, DeployResult.DONE if ok else DeployResult.FAILED, "", {})
    return number


def numbers(db: Registry, name: str = "shop") -> list[int]:
    """Return the numbers of the kept deploys, newest first."""
    return [row.number for row in db.deploys.select(name)]


def test_the_newest_deploys_are_kept(db: Registry) -> None:
    db.components.put("shop", 0, WEB, DesiredState.RUNNING)
    made = [deploy(db, WEB, env=str(number)) for number in range(25)]
    assert numbers(db) == [*reversed(made[-10:]), made[-11]], "and the one before, to which those after it belong"
    other = deploy(db, WEB, name="other")
    assert numbers(db, "other") == [other]


def test_what_a_rollback_returns_to_is_kept_before_any_number_of_failures(db: Registry) -> None:
    good = [deploy(db, WEB, env=str(number)) for number in range(5)]
    bad = [deploy(db, WEB, env="bad", ok=False) for _ in range(30)]
    again = [deploy(db, WEB, env="4") for _ in range(30)]
    assert set(numbers(db)) == {*again[-10:], again[-11], good[3], good[2], good[1]}
    assert not set(bad) & set(numbers(db))


def test_deploys_of_one_component_stay_complete(db: Registry) -> None:
    deploy(db, WEB, API, env="1")
    deploy(db, WEB, API, env="2", only="web")
    for number in range(40):
        deploy(db, WEB, API, env=f"api {number}", only="api")
    entries = db.deploys.select("shop")
    number, definition = rollback.choose("shop", entries, {}, entries[5].number)
    assert {component.name: list(component.env) for component in definition.components} == {
        "web": ["A=2"],
        "api": [f"A=api {number - 3}"],
    }


def test_services_that_are_gone_share_a_number_of_deploys(db: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploys, "GONE_DEPLOYS", 5)
    db.components.put("shop", 0, WEB, DesiredState.RUNNING)
    kept = deploy(db, WEB)
    for number in range(8):
        deploy(db, WEB, name=f"gone{number}")
    assert numbers(db) == [kept]
    assert [bool(numbers(db, f"gone{number}")) for number in range(8)] == [False] * 3 + [True] * 5


def test_a_deploy_in_progress_is_kept(db: Registry) -> None:
    running = db.deploys.begin(ServiceSpec("shop", components=(WEB,)), "", "ann")
    for number in range(20):
        deploy(db, WEB, env=str(number))
    assert running in numbers(db)


# --- processes ---


class Counted:
    """In the place of proc.run: counts the processes at once, each of which ends once it is let go."""

    def __init__(self) -> None:
        """Hold every process."""
        self.running: list[str] = []
        self.most = 0
        self.let_go = asyncio.Event()

    async def run(self, argv: list[str], **_options: object) -> proc.Completed:
        """Run until let go."""
        self.running.append(argv[1])
        self.most = max(self.most, len(self.running))
        try:
            await self.let_go.wait()
        finally:
            self.running.remove(argv[1])
        return proc.Completed(tuple(argv), 0, b"[]", b"")

    async def check(self, argv: list[str], **options: object) -> bytes:
        """Run until let go."""
        return (await self.run(argv, **options)).stdout


def test_podman_runs_few_processes_at_once_and_none_waits_for_a_pull(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        counted, podman = Counted(), Podman("podman", 15)
        monkeypatch.setattr(proc, "run", counted.run)
        monkeypatch.setattr(proc, "check", counted.check)
        queries = [asyncio.create_task(podman.image_ids()) for _ in range(50)]
        pulls = [asyncio.create_task(podman._check(["pull", "x"])) for _ in range(50)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (counted.running.count("images"), counted.running.count("pull")) == (client.PROCESSES, client.PULLS)
        for task in (*queries[:20], *pulls[:20]):  # those that run, and others that wait
            task.cancel()
        await asyncio.gather(*queries[:20], *pulls[:20], return_exceptions=True)
        await asyncio.sleep(0)
        assert (counted.running.count("images"), counted.running.count("pull")) == (client.PROCESSES, client.PULLS)
        counted.let_go.set()
        assert await asyncio.gather(*queries[20:]) == [{}] * 30
        await asyncio.gather(*pulls[20:])
        assert counted.most == client.PROCESSES + client.PULLS

    asyncio.run(work())


def test_searches_share_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grep, "WORKERS", 2)
    started: list[asyncio.subprocess.Process] = []
    start = grep._start

    async def counted() -> asyncio.subprocess.Process:
        started.append(await start())
        return started[-1]

    monkeypatch.setattr(grep, "_start", counted)

    async def search(workers: Workers, number: int) -> bytes:
        async with Filter([f"^{number}$"], workers=workers) as wanted:
            lines = b"".join(b"%d\n" % line for line in range(20))
            batch = Batch(lines, [(len(lines), False)], Position("0"), Position("1"))
            return (await wanted.select(batch, False, "--"))[0].data

    async def work() -> None:
        workers = Workers()
        found = await asyncio.gather(*(search(workers, number) for number in range(12)))
        assert found == [b"%d\n" % number for number in range(12)]
        assert len(started) == 2
        assert all([await process.wait() is not None for process in started]), "the last filter ends them"

    asyncio.run(work())


def test_a_pause_of_the_event_loop_is_measured(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pauses, "LOGGED", 0.1)

    async def work() -> None:
        watch = PauseWatch()
        task = asyncio.create_task(watch.run())
        await asyncio.sleep(0)
        time.sleep(pauses.INTERVAL + 0.3)
        while watch.longest == 0:
            await asyncio.sleep(0.01)
        task.cancel()
        assert watch.longest >= 0.3

    asyncio.run(work())
    assert "the event loop paused" in caplog.text
