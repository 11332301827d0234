"""What `podman inspect` and `podman ps` tell beyond a container's state."""

import json
from pathlib import Path

import pytest

from agent.monitor.state import observed_state
from agent.podman.client import parse_containers
from agent.podman.details import ContainerDetails, parse_details
from mcp.shared.errors import Unavailable

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    ("version", "name", "restarts", "exit_code", "digest"),
    [("4.3.1", "web-brief", 0, 3, "sha256:8513c3ee"), ("5.4.2", "fail", 2, 1, "sha256:fca61623")],
)
def test_what_podman_says(version: str, name: str, restarts: int, exit_code: int, digest: str) -> None:
    (found,) = parse_details((DATA / f"podman-{version}-inspect.json").read_bytes()).items()
    assert found[0] == name
    assert (found[1].restarts, found[1].exit_code, found[1].ports, found[1].health) == (restarts, exit_code, (), "")
    assert found[1].digest.startswith(digest)


def row(**more: object) -> bytes:
    """A container as podman shows it."""
    return json.dumps([{"Name": "web", "State": {"ExitCode": 0}, "RestartCount": 1, **more}]).encode()


def test_ports_are_those_published() -> None:
    ports = {
        "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "20001"}, {"HostIp": "", "HostPort": "80"}],
        "53/udp": [{"HostIp": "10.0.0.1", "HostPort": "53"}],
        "9000/tcp": None,
    }
    shown = ("10.0.0.1:53->53/udp", "127.0.0.1:20001->8080/tcp", "0.0.0.0:80->8080/tcp")
    assert parse_details(row(NetworkSettings={"Ports": ports}))["web"].ports == shown
    stopped = row(NetworkSettings={"Ports": {}}, HostConfig={"PortBindings": ports})
    assert parse_details(stopped)["web"].ports == shown


@pytest.mark.parametrize("name", ["Health", "Healthcheck"])
def test_health(name: str) -> None:
    state = {"ExitCode": 0, name: {"Status": "unhealthy"}}
    assert parse_details(row(State=state))["web"] == ContainerDetails(1, "", (), 0, "unhealthy")


@pytest.mark.parametrize("output", [b"", b"null", b"{}x", b"[1]", b"[{}]", b'[{"Name": "a", "State": 1}]', b"[" * 9999])
def test_what_is_no_list_of_containers(output: bytes) -> None:
    with pytest.raises(Unavailable, match="something that is not a list of containers"):
        parse_details(output)


def test_restarts_in_the_list_where_podman_counts_them() -> None:
    for version, restarts in (("4.3.1", 0), ("5.4.2", 2)):
        listed = parse_containers((DATA / f"podman-{version}-ps.json").read_bytes())
        assert max(container.restarts for container in listed) == restarts


@pytest.mark.parametrize(
    ("status", "health", "state"),
    [
        ("Up 5 seconds (unhealthy)", "unhealthy", "degraded"),
        ("Up 5 seconds ago (healthy)", "healthy", "running"),
        ("Up 5 seconds ago (starting)", "starting", "running"),
        ("Up 5 seconds", "", "running"),
        ("Up 5 seconds (Paused)", "", "running"),
        ("", "", "running"),
    ],
)
def test_health_in_the_list(status: str, health: str, state: str) -> None:
    listed = [{"Id": "1", "Names": ["web"], "State": "running", "Status": status}]
    (container,) = parse_containers(json.dumps(listed).encode())
    assert (container.health, observed_state(container, "running")) == (health, state)
