"""The container that a component becomes, and putting an interrupted deploy in order."""

import asyncio
from dataclasses import replace

import pytest

from agent.podman.argv import NewContainer
from agent.podman.client import Container, Podman
from agent.services import rollout
from agent.services.rollout import new_container
from mcp.shared.spec import ComponentSpec, RouteSpec

WEB = ComponentSpec(name="web", image="localhost/web:1", env=("A=1",))
PLAIN = RouteSpec(port=443)
REST, ADMIN = RouteSpec("rest", 8443), RouteSpec("admin-2", 9443)


def test_everything_is_passed_on() -> None:
    component = ComponentSpec(
        name="api",
        image="localhost/web:1",
        network="mcpnet",
        user="0:0",
        restart="always",
        ports=("127.0.0.1:18443:8443",),
        volumes=("/srv/web:/srv/web",),
        cmd=("server",),
        env=("A=1",),
    )
    assert new_container("web", component, {}) == NewContainer(
        name="web-api",
        image="localhost/web:1",
        service="web",
        component="api",
        restart="always",
        network="mcpnet",
        user="0:0",
        ports=("127.0.0.1:18443:8443",),
        volumes=("/srv/web:/srv/web",),
        cmd=("server",),
        env=("A=1",),
        log_max_bytes=32_000_000,
    )
    assert new_container("web", WEB, {}).name == "web"


@pytest.mark.parametrize(
    ("changes", "host_ports", "ports", "env"),
    [
        # one unnamed route: PORT
        ({"routes": (PLAIN,)}, {"": 20001}, ("127.0.0.1:20001:20001",), ("A=1", "PORT=20001")),
        # one named route: both
        (
            {"routes": (REST,)},
            {"rest": 20001},
            ("127.0.0.1:20001:20001",),
            ("A=1", "PORT_REST=20001", "PORT=20001"),
        ),
        # several: PORT_NAME alone
        (
            {"routes": (REST, ADMIN)},
            {"rest": 20001, "admin-2": 20002},
            ("127.0.0.1:20001:20001", "127.0.0.1:20002:20002"),
            ("A=1", "PORT_REST=20001", "PORT_ADMIN_2=20002"),
        ),
        # an explicit mapping is kept, and PORT names its container port
        (
            {"routes": (PLAIN,), "ports": ("127.0.0.1:18443:8443",)},
            {"": 20001},
            ("127.0.0.1:18443:8443", "127.0.0.1:20001:8443"),
            ("A=1", "PORT=8443"),
        ),
        # what the definition says of PORT is never changed
        (
            {"routes": (PLAIN,), "env": ("PORT=9000",)},
            {"": 20001},
            ("127.0.0.1:20001:9000",),
            ("PORT=9000",),
        ),
        (
            {"routes": (REST,), "env": ("PORT=9000",)},
            {"rest": 20001},
            ("127.0.0.1:20001:9000",),
            ("PORT=9000", "PORT_REST=9000"),
        ),
        (
            {"routes": (REST, ADMIN), "env": ("PORT_REST=9000", "PORT=1")},
            {"rest": 20001, "admin-2": 20002},
            ("127.0.0.1:20001:9000", "127.0.0.1:20002:20002"),
            ("PORT_REST=9000", "PORT=1", "PORT_ADMIN_2=20002"),
        ),
    ],
)
def test_ports_of_routes(
    changes: dict[str, object], host_ports: dict[str, int], ports: tuple[str, ...], env: tuple[str, ...]
) -> None:
    made = new_container("web", replace(WEB, **changes), host_ports)  # type: ignore[arg-type]
    assert (made.ports, made.env) == (ports, env)


class Shelf(Podman):
    """A podman that is a dictionary of names and states."""

    def __init__(self, **states: str) -> None:
        super().__init__("podman", 1)
        self.states = {name.replace("_old", ".old"): state for name, state in states.items()}
        self.done: list[str] = []

    async def containers(self) -> list[Container]:
        return [
            Container(state, name, "a:1", state.split()[0], 0, None, {"mcp.deploy": state[-1]})
            for name, state in self.states.items()
        ]

    async def rename(self, name: str, new_name: str) -> None:
        assert new_name not in self.states
        self.states[new_name] = self.states.pop(name)
        self.done.append(f"rename {name} {new_name}")

    async def stop(self, name: str) -> None:
        self.done.append(f"stop {name}")

    async def remove_container(self, container: Container) -> None:
        self.states.pop(container.name, None)
        self.done.append(f"remove {container.name}")

    async def keep_log(self, container: Container, reason: str) -> None:
        self.done.append(f"keep {container.name} {reason}")


@pytest.mark.parametrize(
    ("shelf", "done", "left"),
    [
        (Shelf(), [], {}),
        (Shelf(web="running 1"), [], {"web": "running 1"}),
        (Shelf(web="exited 2"), [], {"web": "exited 2"}),
        (
            Shelf(web="running 2", web_old="exited 1"),
            ["keep web.old replaced", "remove web.old"],
            {"web": "running 2"},
        ),
        # a new one that is kept and was stopped since then is kept all the same
        (
            Shelf(web="exited 2", web_old="exited 1"),
            ["keep web.old replaced", "remove web.old"],
            {"web": "exited 2"},
        ),
        (
            Shelf(web="running 3", web_old="exited 2"),
            ["stop web", "keep web failed", "remove web", "rename web.old web"],
            {"web": "exited 2"},
        ),
        (Shelf(web_old="exited 2"), ["rename web.old web"], {"web": "exited 2"}),
        (Shelf(other="running"), [], {"other": "running"}),
    ],
)
def test_tidy(shelf: Shelf, done: list[str], left: dict[str, str]) -> None:
    found = asyncio.run(rollout.resolve_replacement_of(shelf, "web", 2, shelf.keep_log))
    assert (shelf.done, shelf.states) == (done, left)
    assert (found.identifier if found else None) == left.get("web")
    shelf.done.clear()
    again = asyncio.run(rollout.resolve_replacement_of(shelf, "web", 2, shelf.keep_log))
    assert (again, shelf.done) == (found, [])
