"""The event loop under load: how long the agent answers nobody."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc

from agent.store.registry import Registry
from mcp.shared.names import container_name
from mcp.shared.spec import ComponentSpec, ServiceSpec
from mcp.shared.states import DeployResult, DesiredState
from mcp.shared.wire import service_to_wire
from proto.mcp.v1 import mcp_pb2 as pb
from tests.component.conftest import Rig
from tests.component.fakes import WEB
from tests.component.wire import Answer, Wire, connected
from tests.torture.conftest import Torture

OPERATORS = 20
GENEROUS = 5.0  # seconds, also on a machine that is ten times slower
COMPONENTS, SERVICES = 2000, 40  # of the largest plan that is accepted
ENV = tuple(f"VARIABLE_{number}={'x' * 90}" for number in range(50))
Call = Callable[[Wire], Answer]


def populate(rig: Rig, names: list[str]) -> None:
    """Give the agent services that run, with a history, as if each had been deployed."""
    rig.agent.define("first", f'name = "first"\nnode = "rift"\n[[components]]\nname = "web"\nimage = "{WEB}"\n')
    assert rig.agent.cli.run("deploy", "first").code == 0
    rig.agent.stop()
    model = rig.fake.containers()["first-web"]
    containers = [model]
    registry = Registry(rig.agent.home.database)
    for number, name in enumerate(names):
        spec = ComponentSpec("web", WEB, env=(f"NUMBER={number}",))
        deploy = registry.deploys.begin(ServiceSpec(name, components=(spec,)), "", "test")
        registry.deploys.end(deploy, DeployResult.DONE, "", {})
        registry.components.put(name, 0, spec, DesiredState.RUNNING, "", deploy)
        labels = {"mcp.service": name, "mcp.component": "web", "mcp.deploy": str(deploy)}
        own = {"name": container_name(name, "web"), "id": f"{number:064x}", "labels": {**model["labels"], **labels}}
        containers.append({**model, **own})
    registry.close()
    rig.fake.change(containers=containers)
    rig.restart()


def calls_of(names: list[str]) -> Iterator[Call]:
    """Return the calls of an operator, each on another service than the last one."""
    definitions = [service_to_wire(ServiceSpec(name, components=(ComponentSpec("web", WEB),))) for name in names]
    for name in itertools.cycle(names):
        yield lambda wire: wire.call("LiveCheck")
        yield lambda wire: wire.call("GetServiceStatus")
        yield lambda wire: wire.call("Plan", pb.PlanRequest(services=definitions, partial=True))
        yield lambda wire, name=name: wire.call("Logs", pb.LogsRequest(service=name, grep=["starting"], runs=True))  # type: ignore[misc]
        yield lambda wire, name=name: wire.call("History", pb.HistoryRequest(service=name))  # type: ignore[misc]


def work(rig: Rig, names: list[str], count: int, first: int) -> list[Answer]:
    """Make that many calls, beginning with another one than the other operators."""
    with connected(rig.agent) as wire:
        return [
            call(wire)
            for call in itertools.islice(calls_of(names[first:] + names[:first]), first % 5, first % 5 + count)
        ]


def largest_plan() -> bytes:
    """Return the largest plan that is accepted, of services that are not there."""
    services = [
        ServiceSpec(
            f"big{number}",
            components=tuple(ComponentSpec(f"c{part}", WEB, env=ENV) for part in range(COMPONENTS // SERVICES)),
        )
        for number in range(SERVICES)
    ]
    return pb.PlanRequest(services=map(service_to_wire, services), partial=True).SerializeToString()


def test_the_agent_answers_with_many_services_and_operators(rig: Rig, torture: Torture) -> None:
    names = [f"service{number}" for number in range(torture.count(100, ci=30))]
    count = torture.count(15, ci=5)
    populate(rig, names)
    with ThreadPoolExecutor(OPERATORS) as threads:
        found = list(threads.map(lambda first: work(rig, names, count, first), range(OPERATORS)))
    assert {answer.code for answers in found for answer in answers} == {grpc.StatusCode.OK}
    pause = longest_pause(rig)
    torture.figure(
        f"longest pause of the event loop with {len(names)} services and {OPERATORS} operators",
        f"{pause * 1000:.0f} ms",
    )
    assert pause < GENEROUS


def test_the_largest_plan_stops_nobody_else(rig: Rig, torture: Torture) -> None:
    plan = largest_plan()
    assert len(plan) > 8_000_000
    done = threading.Event()

    def others() -> int:
        with connected(rig.agent) as wire:
            for number in itertools.count(1):
                assert wire.call("LiveCheck").code is grpc.StatusCode.OK
                if done.is_set():
                    return number
        raise AssertionError

    with ThreadPoolExecutor(3) as threads, ExitStack() as stack:
        stack.callback(done.set)
        counting = threads.submit(others)
        with connected(rig.agent) as wire:
            answers = list(threads.map(lambda _: wire.call("Plan", plan), range(2)))
        done.set()
        assert counting.result() > 0
    assert {answer.code for answer in answers} == {grpc.StatusCode.OK}
    assert [len(answer.responses[0].changes) for answer in answers] == [COMPONENTS, COMPONENTS]
    pause = longest_pause(rig)
    torture.figure(f"longest pause of the event loop in plans of {len(plan) / 1e6:.1f} MB", f"{pause * 1000:.0f} ms")
    assert pause < GENEROUS


def test_a_larger_plan_is_refused(rig: Rig) -> None:
    plan = pb.PlanRequest.FromString(largest_plan())
    plan.services[0].components.add(name="one-more", image=WEB)
    with connected(rig.agent) as wire:
        answer = wire.call("Plan", plan)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.details == "services: have 2001 components, and at most 2000 are possible at once"


def longest_pause(rig: Rig) -> float:
    """Return what the agent has measured, in seconds."""
    with connected(rig.agent) as wire:
        return float(wire.call("NodeStatus").responses[0].longest_pause)
