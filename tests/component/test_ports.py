"""Host ports: those of routes move when somebody else has them, explicit ones are checked before anything stops."""

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.component.conftest import Rig
from tests.component.definitions import component, route, service
from tests.component.fakes import WEB2
from tests.component.processes import free_port
from tests.component.test_interrupted import ok

ROUTED = service("web", component("api", more=route("rest")))


def port_of(rig: Rig) -> int:
    """The host port of the route, as the registry and the container have it."""
    with closing(sqlite3.connect(rig.agent.home.database)) as connection:
        ((number,),) = connection.execute("SELECT host_port FROM ports").fetchall()
    assert rig.fake.containers()["web-api"]["ports"] == [f"127.0.0.1:{number}:{number}"]
    return int(number)


@contextmanager
def listening(port: int) -> Iterator[None]:
    """Something else that listens on a port."""
    with socket.create_server(("127.0.0.1", port)):
        yield


@contextmanager
def connected_from(port: int) -> Iterator[None]:
    """A connection that goes out from a port, as from one of the ephemeral range."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", port))
        client.connect(server.getsockname())
        yield


def deploy(rig: Rig) -> int:
    rig.agent.define("web", ROUTED)
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    return port_of(rig)


def test_ports_are_drawn_outside_of_the_ephemeral_range(rig: Rig) -> None:
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:  # noqa: PTH123 - a line of the kernel's
        first, last = map(int, file.read().split())
    assert not first <= deploy(rig) <= last


@pytest.mark.parametrize("taken", [listening, connected_from])
@pytest.mark.parametrize("verb", ["start", "restart", "deploy"])
def test_a_port_that_is_taken_moves(rig: Rig, verb: str, taken: object) -> None:
    old = deploy(rig)
    ok(rig.agent.cli.run("stop", "-q", "web"))
    assert callable(taken)
    with taken(old):
        done = rig.agent.cli.run(verb, "-q", "web")
        assert done.code == 0, done
    new = port_of(rig)
    assert new != old
    assert done.errors == [f"web/api: route rest: host port {old} is taken, moved to {new}"]
    assert list(rig.fake.running()) == ["web-api"]
    assert list(rig.fake.containers()) == ["web-api"]
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert port_of(rig) == new


def test_recover_moves_a_port_of_a_stopped_and_of_a_lost_container(rig: Rig) -> None:
    old = deploy(rig)
    for containers in ([{**rig.fake.containers()["web-api"], "state": "exited"}], []):
        rig.fake.change(containers=containers)
        with listening(old):
            (row,) = json.loads(rig.agent.cli.run("agent", "recover", "rift", "--json").stdout)
        assert row["done"], row
        assert row["notes"] == [f"route rest: host port {old} is taken, moved to {port_of(rig)}"]
        old = port_of(rig)


def test_a_port_that_the_running_container_has_stays(rig: Rig) -> None:
    old = deploy(rig)
    with listening(old):  # the fake's containers do not listen themselves
        rig.agent.define("web", service("web", component("api", WEB2, more=route("rest"))))
        done = rig.agent.cli.run("deploy", "-q", "web")
    assert "address already in use" in done.stderr  # of the fake, to which that is another program
    assert port_of(rig) == old


def refused(rig: Rig, mapping: str) -> str:
    before = rig.fake.lives()
    rig.agent.define("web", service("web", component("api", more=f'ports = ["{mapping}"]')))
    done = rig.agent.cli.run("deploy", "-q", "web")
    assert (done.code, len(done.errors)) == (1, 1), done
    assert rig.fake.lives() == before
    return done.errors[0].removeprefix("mcp: web/api: ")


def test_an_explicit_port_that_is_taken_is_found_before_anything_stops(rig: Rig) -> None:
    rig.agent.define("web", service("web"))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    port, other = free_port(), free_port()
    with listening(port):
        said = refused(rig, f"127.0.0.1:{port}:80")
    program = f"choose another one, or stop the program: `ss -ltnp 'sport = :{port}'`"
    assert said == f"host port 127.0.0.1:{port} is in use by another program; {program}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", port))
        assert refused(rig, f"127.0.0.1:{port}:53/udp").startswith(f"host port 127.0.0.1:{port}/udp is in use by")
    said = refused(rig, "192.0.2.9:8080:80")
    assert said.startswith("host port 192.0.2.9:8080: this node has no address 192.0.2.9; ")

    mail = rig.agent.define("mail", service("mail", component("smtp", more=f'ports = ["127.0.0.1:{other}:25"]')))
    ok(rig.agent.cli.run("deploy", "-q", "mail"))
    mail.unlink()  # else mcp itself refuses the other one
    with listening(other):
        said = refused(rig, f"127.0.0.1:{other}:80")
    assert said == f"host port 127.0.0.1:{other} is published by the container mail-smtp; choose another one"


def test_an_explicit_port_may_move_between_the_components_of_a_service(rig: Rig) -> None:
    port = free_port()
    mapped, plain = f'ports = ["127.0.0.1:{port}:80"]', ""
    rig.agent.define("web", service("web", component("a", more=mapped), component("b", more=plain)))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    swapped = service("web", component("a", more=plain), component("b", more=mapped))
    rig.agent.define("web", swapped)
    with listening(port):
        before = rig.fake.lives()
        done = rig.agent.cli.run("deploy", "-q", "web/b")
        taken = f"host port 127.0.0.1:{port} is published by the container web-a"
        assert done.errors == [f"mcp: web/b: {taken}; choose another one, or change web/a first"]
        assert rig.fake.lives() == before
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert [rig.fake.containers()[f"web-{name}"]["ports"] for name in "ab"] == [[], [f"127.0.0.1:{port}:80"]]
    with listening(port):  # it is not given up before: components are replaced in order
        rig.agent.define("web", service("web", component("a", more=mapped), component("b", more=plain)))
        done = rig.agent.cli.run("deploy", "-q", "web/a")
        assert done.errors[0].endswith("is published by the container web-b; choose another one, or change web/b first")
