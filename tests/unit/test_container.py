"""The container that a component becomes."""

from dataclasses import replace

import pytest

from agent.podman.argv import NewContainer
from agent.services.container import new_container
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
