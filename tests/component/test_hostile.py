"""Answers of an agent that was taken over: one line that names the node, and the other nodes' output."""

import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from agent.admin.pki import KeyPair
from mcp.client import answers
from proto.mcp.v1 import mcp_pb2 as pb
from tests.agents import Cli, Outcome, write_cli_config
from tests.component.conftest import Rig
from tests.component.definitions import service
from tests.component.wire import METHODS
from tests.hostile import HostileAgent, hostile_agent

import grpc  # isort: skip - wire has set its environment

DONE, FAILED = range(2)
HINT = "; no agent answers like that: do not trust the node before you know why"
WHEN = Timestamp(seconds=1_800_000_000)
SPEC = pb.ComponentSpec(name="api", image="localhost/web:1.0")


@pytest.fixture(scope="module")
def evil(ca: KeyPair) -> Iterator[HostileAgent]:
    """The node rift2."""
    with hostile_agent(ca) as agent:
        yield agent


@pytest.fixture(scope="module")
def cli(shared: Rig, evil: HostileAgent) -> Cli:
    """The CLI with the honest node rift, where web runs, and rift2, of which shop is."""
    agent = shared.agent
    agent.define("web", service())
    assert agent.cli.run("deploy", "-q", "web").code == DONE
    agent.define("shop", service("shop", node="rift2"))
    return replace(agent.cli, config=write_cli_config(agent.home, agent.address, evil.address))


def info(name: str = "shop", *components: str, definition: str = "shop") -> pb.ServiceInfo:
    """A registered service."""
    names = components or ("api",)
    spec = pb.ServiceSpec(name=definition, components=[pb.ComponentSpec(name=each, image="x:1") for each in names])
    return pb.ServiceInfo(name=name, components=[pb.ComponentInfo(name=each) for each in names], definition=spec)


def event(number: int, name: str = "shop") -> pb.EventInfo:
    """An event."""
    return pb.EventInfo(service=name, component="api", new_state="running", number=number, timestamp=WHEN)


def state(**fields: Any) -> pb.LiveCheckResponse:
    """The state of one component."""
    return pb.LiveCheckResponse(
        services=[pb.ServiceInfo(name="shop", components=[pb.ComponentInfo(name="api", **fields)])]
    )


BARE = pb.ServiceInfo(name="shop", definition=info().definition)
FIRST = pb.FileChunk(service="shop", path="x", size=5)

Attack = tuple[tuple[str, ...], dict[str, Iterable[Message | bytes]], str]

# The command asks both nodes; rift2 answers like that; and that is what is wrong with it.
BESIDE_OTHERS: dict[str, Attack] = {
    "a definition of another service": (
        ("service", "export", "-o", "OUT"),
        {"ListServices": [pb.ListServicesResponse(services=[info("shop", definition="web")])]},
        'definition.name: "web" instead of shop',
    ),
    "a name that leads up": (
        ("service", "export", "-o", "OUT"),
        {"ListServices": [pb.ListServicesResponse(services=[info("../web", definition="../web")])]},
        'services.definition.name: "../web" is not a valid name',
    ),
    "a component that is not there": (
        ("list",),
        {
            "ListServices": [
                pb.ListServicesResponse(services=[pb.ServiceInfo(name="shop", definition=info().definition)])
            ]
        },
        'definition of shop: "api" is not one of its components',
    ),
    "a service twice": (
        ("list",),
        {"ListServices": [pb.ListServicesResponse(services=[info(), info()])]},
        'services: "shop" is there twice',
    ),
    "a time after the year 9999": (
        ("ps",),
        {"LiveCheck": [state(started=Timestamp(seconds=2**60))]},
        "components.started: is outside the years 1 to 9999",
    ),
    "a time with too many nanoseconds": (
        ("ps",),
        {"LiveCheck": [state(started=Timestamp(seconds=1, nanos=-1))]},
        "components.started: is outside the years 1 to 9999",
    ),
    "restarts below zero": (
        ("ps",),
        {"LiveCheck": [state(restarts=-1)]},
        "components.restarts: -1 is negative",
    ),
    "a text without end": (
        ("ps",),
        {"LiveCheck": [state(image="x" * 2_000_000)]},
        "services.components.image: has more than 1048576 characters",
    ),
    "more components than there are": (
        ("ps",),
        {"LiveCheck": [pb.LiveCheckResponse(services=[pb.ServiceInfo()] * 100_001)]},
        "services: has more than 100000 entries",
    ),
    "a message without end": (
        ("ps",),
        {"LiveCheck": [b"\x0a" + b"\xff" * 4 + b"\x0f" + bytes(answers.MESSAGE_LIMIT + 1)]},
        "larger than max",
    ),
    "no message": (("ps",), {"LiveCheck": [b"\xff\xff\xff"]}, "deserializing response"),
    "no answer at all": (("ps",), {"LiveCheck": []}, "no message"),
    "no percentage": (
        ("node", "list"),
        {"NodeStatus": [pb.NodeStatusResponse(cpu_usage_percent=float("nan"))]},
        "cpu_usage_percent: nan is not a percentage",
    ),
    "more room than there is": (
        ("agent", "status"),
        {"NodeStatus": [pb.NodeStatusResponse(disk_free_bytes=2, disk_total_bytes=1)]},
        "disk_free_bytes: is more than there is",
    ),
    "an unknown kind of account": (
        ("whoami",),
        {"WhoAmI": [pb.WhoAmIResponse(user="kyle", account_type="root")]},
        'account_type: "root" is none of human, system',
    ),
    "events backwards": (("events",), {"Events": [event(2), event(1)]}, "number: 1 after 2"),
    "more events than asked for": (("events", "-n", "1"), {"Events": [event(1), event(2)]}, "more than 1 events"),
    "runs of more than the data": (
        ("logs", "--all"),
        {"Logs": [pb.LogsResponse(data=b"x\n", sources=[pb.LogSource()], run_source=[0], run_length=[3])]},
        "run_length: does not cover the 2 bytes of data",
    ),
    "a run of no source": (
        ("logs", "--all"),
        {"Logs": [pb.LogsResponse(data=b"x\n", sources=[pb.LogSource()], run_source=[7], run_length=[2])]},
        "run_source: 7 of 1 sources",
    ),
    "a run of nothing": (
        ("logs", "--all", "--json"),
        {"Logs": [pb.LogsResponse(sources=[pb.LogSource()], run_source=[0], run_length=[0], watermark="")]},
        "run_length: is 0",
    ),
    "a watermark that is no time": (
        ("logs", "--all"),
        {"Logs": [pb.LogsResponse(data=b"x\n", watermark="zzzz")]},
        'watermark: "zzzz" is not a time',
    ),
    "components without end": (
        ("logs", "--all"),
        {"Logs": (pb.LogsResponse(data=b"x\n", service="shop", component=f"c{n}") for n in itertools.count())},
        "more than 10000 sources",
    ),
}


def check(done: Outcome, problem: str, *, node: str = "rift2") -> None:
    """One line names the node and the problem."""
    lines = [line for line in done.errors if line.startswith(f"mcp: {node}: ")]
    assert len(lines) == 1, done
    assert done.code == FAILED, done
    if problem:
        assert lines[0].startswith(f"mcp: {node}: malformed answer: ")
        assert problem in lines[0], done
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("attack", BESIDE_OTHERS)
def test_one_line_and_what_the_other_node_says(cli: Cli, evil: HostileAgent, tmp_path: Path, attack: str) -> None:
    argv, said, problem = BESIDE_OTHERS[attack]
    evil.say(**said)
    done = cli.run(*(word.replace("OUT", str(tmp_path / "out")) for word in argv))
    check(done, problem)
    assert done.stdout or argv[0] in ("logs", "events"), done  # of which the honest node has none yet
    if argv[:2] == ("service", "export"):
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["web.toml"]
        assert 'node = "rift"' in (tmp_path / "out" / "web.toml").read_text()


ALONE: dict[str, Attack] = {
    "the history of another service": (
        ("history", "shop"),
        {
            "History": [
                pb.HistoryResponse(entries=[pb.HistoryEntry(number=1, definition=info(definition="web").definition)])
            ]
        },
        'definition.name: "web" instead of shop',
    ),
    "another deploy": (
        ("history", "shop", "show", "1"),
        {"History": [pb.HistoryResponse(entries=[pb.HistoryEntry(number=2, definition=info().definition)])]},
        "number: 2 was not asked for",
    ),
    "another service's entry": (
        ("purge", "shop", "--node", "rift2", "--dry-run"),
        {"PurgeComponent": [pb.PurgeResponse(results=[pb.PurgeResult(service="web", component="api", purged=True)])]},
        'service: "web" instead of shop',
    ),
    "a definition that was not asked for": (
        ("sync", "shop"),
        {
            "ListServices": [pb.ListServicesResponse()],
            "SyncDesiredState": [pb.SyncDesiredStateResponse(results=[pb.ServiceSyncResult(name="web")])],
        },
        '"web" was not asked for',
    ),
    "a step beyond the last": (
        ("restart", "shop"),
        {"LifecycleStream": [pb.DeployEvent(step=pb.StepEvent(number=2, count=1))]},
        "step 2 of 1",
    ),
    "an event that is none": (("restart", "shop"), {"LifecycleStream": [pb.DeployEvent()]}, "event: is missing"),
    "an adopted container with a bad name": (
        ("adopt", "--all", "--dry-run", "--node", "rift2"),
        {"AdoptContainers": [pb.AdoptContainersResponse(results=[pb.AdoptResult(service="`x`", success=True)])]},
        '"`x`" is not a valid name',
    ),
    "no checksum of a push": (
        ("push", "FILE", "shop/x"),
        {"PushFileStream": [pb.PushFileStreamResponse(size=5)]},
        'sha256: "" is no checksum',
    ),
    "more than was announced": (
        ("pull", "shop/x", "OUT"),
        {"PullFileStream": itertools.chain([FIRST], itertools.repeat(pb.FileChunk(data=b"xxx")))},
        "more than the 5 bytes that were announced",
    ),
    "chunks without data": (
        ("pull", "shop/x", "OUT"),
        {"PullFileStream": itertools.chain([FIRST], itertools.repeat(pb.FileChunk()))},
        "an empty chunk",
    ),
    "another file": (
        ("pull", "shop/x", "OUT"),
        {"PullFileStream": [pb.FileChunk(service="shop", path="y")]},
        'path: "y" instead of x',
    ),
    "a setuid file": (
        ("pull", "shop/x", "OUT"),
        {"PullFileStream": [pb.FileChunk(service="shop", path="x", mode=0o4755)]},
        "mode 4755",
    ),
    "less than was announced": (
        ("pull", "shop/x", "OUT"),
        {"PullFileStream": [FIRST, pb.FileChunk(data=b"x", sha256="0" * 64)]},
        "1 of the 5 bytes that were announced",
    ),
    "no end": (
        ("pull", "shop/x", "OUT"),
        {"PullFileStream": [FIRST, pb.FileChunk(data=b"hello")]},
        "the file ends before its last chunk",
    ),
}


@pytest.mark.parametrize("attack", ALONE)
def test_one_line_and_nothing_is_written(cli: Cli, evil: HostileAgent, tmp_path: Path, attack: str) -> None:
    argv, said, problem = ALONE[attack]
    (tmp_path / "file").write_text("hello")
    evil.say(**said)
    done = cli.run(
        *(word.replace("OUT", str(tmp_path / "out")).replace("FILE", str(tmp_path / "file")) for word in argv)
    )
    check(done, problem)
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_message_that_is_long_once_unpacked(shared: Rig, cli: Cli, ca: KeyPair) -> None:
    """A thousand bytes may arrive as one."""
    with hostile_agent(ca, compression=grpc.Compression.Gzip) as agent:
        agent.say(LiveCheck=[state(image="x" * (answers.MESSAGE_LIMIT + 1))])
        before = cli.config.read_text()
        config = write_cli_config(shared.agent.home, shared.agent.address, agent.address)
        done = replace(cli, config=config).run("ps")
        cli.config.write_text(before)
    check(done, "larger than max")
    assert "web" in done.stdout


def test_what_a_node_says_is_quoted_where_it_is_pasted(cli: Cli, evil: HostileAgent) -> None:
    """As in the command that removes what is kept."""
    kept = pb.ComponentResult(name="`reboot`", success=True, dropped="kept")
    evil.say(
        ListServices=[pb.ListServicesResponse()], Deploy=[pb.DeployResponse(results=[kept])], Plan=[pb.PlanResponse()]
    )
    done = cli.run("deploy", "-q", "shop")
    assert "mcp undeploy --node rift2 'shop/`reboot`'" in done.stdout, done


def test_a_node_that_says_nothing_does_not_hold_up_the_logs_of_others(cli: Cli, evil: HostileAgent) -> None:
    """It sent blocks without a later time, and so all others had to wait for it."""
    end = time.monotonic() + 60

    def blocks() -> Iterator[Message]:
        while time.monotonic() < end:
            yield pb.LogsResponse(watermark="0001-01-01T00:00:00.000000000Z")
            time.sleep(0.01)

    evil.say(Logs=blocks())
    process = cli.popen("logs", "--all")
    assert process.stdout is not None
    assert "web" in process.stdout.readline()
    assert time.monotonic() < end
    process.kill()
    process.wait()


# --- declarations ---


def _answered() -> dict[str, Descriptor]:
    """Every message in an answer of an agent."""
    found: dict[str, Descriptor] = {}
    left = [method.output_type for method in METHODS.values()]
    while left:
        descriptor = left.pop()
        if descriptor.name not in found:
            found[descriptor.name] = descriptor
            left += [each.message_type for each in descriptor.fields if each.message_type is not None]
    return found


def test_rules_are_of_fields_that_exist() -> None:
    known = _answered()
    for message, rules in answers.RULES.items():
        assert set(rules) <= set(known[message].fields_by_name), message


def test_numbers_that_count_have_a_rule() -> None:
    """Signed ones that are not: exit codes, and parts of definitions, which have rules of their own."""
    signed = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
    for name, descriptor in _answered().items():
        for each in descriptor.fields:
            if each.cpp_type in signed and name not in ("RouteSpec", "HealthSpec", "Timestamp"):
                assert each.name == "exit_code" or each.name in answers.RULES.get(name, {}), (name, each.name)
