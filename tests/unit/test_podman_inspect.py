"""Details of containers, from what podman 4.3.1 and 5.4.2 really printed, and from variations of it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.podman.inspect import ContainerDetails, ContainerObject, HealthCheck, parse_details, parse_objects
from mcp.shared.errors import Unavailable

DATA = Path(__file__).parent / "data"
NEVER = "0001-01-01T00:00:00Z"
BEGAN, BEFORE, AFTER = (f"2026-11-23T00:02:59.{digits}Z" for digits in ("413287264", "200019322", "907313116"))


def unix(second: int, fraction: str) -> float:
    """A time on the day on which podman's output was recorded, at 16 h."""
    return datetime.fromisoformat(f"2026-11-22T16:{second // 60:02}:{second % 60:02}.{fraction}+00:00").timestamp()


RECORDED = {
    "4.3.1": ContainerDetails(
        identifier="9c33803e1da4deea949bc8daf205275816fd744dae0a1cc3d7f8b82eeceb0a58",
        name="web-brief",
        state="exited",
        exit_code=3,
        image="localhost/mcp-fail:1.0.0",
        image_id="2155bce718927f5addcc74e50387ff2f7a4404fde339c9ed2a7e63ab4b6ce327",
        digest="sha256:8513c3eec90a87ca52dfea52953775f48119cb9cedb429ccb6a2e9a237d6fef3",
        started=unix(118, "785594"),
        ended=unix(118, "786856"),
        log_driver="k8s-file",
        log_path=Path(
            "/srv/mcp-test/private/afec9e4f/storage/overlay-containers/"
            "9c33803e1da4deea949bc8daf205275816fd744dae0a1cc3d7f8b82eeceb0a58/userdata/ctr.log"
        ),
    ),
    "5.4.2": ContainerDetails(
        identifier="eae574f68bd68c8cbcb1a0746e03d37e532559fde752304157ee0b60606271f0",
        name="fail",
        state="exited",
        exit_code=1,
        image="localhost/x:1.0.0",
        image_id="aabb56d0117be1a9456c6fe8ef81c64a1a5a29597e5d82592c9943aedc9aab24",
        digest="sha256:fca61623e14e672bc26f15df679bbcc4596173dbf686965b02d534d22d789fbc",
        started=unix(603, "006325"),
        ended=unix(603, "007579"),
        restarts=2,
        log_driver="k8s-file",
        log_path=Path(
            "/var/p/vfs-containers/eae574f68bd68c8cbcb1a0746e03d37e532559fde752304157ee0b60606271f0/userdata/ctr.log"
        ),
    ),
}


def recorded(version: str) -> bytes:
    """The output of a real podman."""
    return (DATA / f"podman-{version}-inspect.json").read_bytes()


@pytest.mark.parametrize("version", RECORDED)
def test_recorded_containers(version: str) -> None:
    assert parse_details(recorded(version)) == [RECORDED[version]]
    assert RECORDED[version].version == "1.0.0"


def row(status: str = "running", code: int = 0, **more: Any) -> dict[str, Any]:
    """A container as podman prints it; `State` adds to its state."""
    state = {"Status": status, "ExitCode": code, **more.pop("State", {})}
    return {"Id": "id1", "Name": "web", "State": state, **more}


def parsed(*args: Any, **more: Any) -> ContainerDetails:
    (details,) = parse_details(json.dumps([row(*args, **more)]).encode())
    return details


def test_the_smallest_container() -> None:
    assert parsed() == ContainerDetails("id1", "web", "running", 0)
    assert parse_details(b"[]") == []


def test_anonymous_volumes() -> None:
    anonymous = "0123456789abcdef" * 4
    mounts = [
        {"Type": "volume", "Name": anonymous, "Destination": "/var/lib/pg/data"},
        {"Type": "volume", "Name": anonymous[::-1], "Destination": "/x/"},
        {"Type": "volume", "Name": "named", "Destination": "/y"},
        {"Type": "bind", "Source": "/srv/web", "Destination": "/z"},
    ]
    assert parsed(Mounts=mounts).anonymous_volumes == {"/var/lib/pg/data": anonymous, "/x": anonymous[::-1]}
    assert parsed(Mounts=None).anonymous_volumes == {}


def test_published_ports() -> None:
    ports = {
        "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "20001"}, {"HostIp": "", "HostPort": "80"}],
        "53/udp": [{"HostIp": "10.0.0.1", "HostPort": "53"}],
        "9000/tcp": None,
    }
    shown = ("10.0.0.1:53->53/udp", "127.0.0.1:20001->8080/tcp", "0.0.0.0:80->8080/tcp")
    assert parsed(NetworkSettings={"Ports": ports}).ports == shown
    assert parsed("exited", NetworkSettings={"Ports": {}}, HostConfig={"PortBindings": ports}).ports == shown


@pytest.mark.parametrize("key", ["Health", "Healthcheck"])
def test_health(key: str) -> None:
    assert parsed(State={key: {"Status": "unhealthy"}}).health == "unhealthy"


@pytest.mark.parametrize(
    ("check", "patience"),
    [
        ({"Test": ["CMD", "true"]}, 90.0),
        ({"Test": ["CMD", "true"], "Interval": 2_000_000_000, "Retries": 5, "StartPeriod": 500_000_000}, 10.5),
    ],
)
def test_patience_with_a_health_check(check: object, patience: float) -> None:
    parsed_check = parsed(Config={"Healthcheck": check}).check
    assert parsed_check is not None
    assert parsed_check.patience == patience


@pytest.mark.parametrize("check", [None, {}, {"Test": []}, {"Test": ["NONE"]}])
def test_no_health_check(check: object) -> None:
    assert parsed(Config={"Healthcheck": check}).check is None


def test_a_health_check_with_what_it_printed_last() -> None:
    test = ["CMD-SHELL", "curl -f localhost"]
    check = {"Test": test, "Timeout": 2_500_000_000, "Interval": 4_000_000_000, "StartPeriod": 60_000_000_000}
    log = [{"ExitCode": 1, "Output": "first"}, {"ExitCode": 1, "Output": "no route\nto host\n"}]
    details = parsed(State={"Health": {"Status": "unhealthy", "Log": log}}, Config={"Healthcheck": check})
    assert details.check == HealthCheck(("CMD-SHELL", "curl -f localhost"), 4, 2.5, 3, 60)
    assert details.check_output == "no route\nto host\n"
    assert parsed(State={"Health": {"Status": "starting", "Log": None}}).check_output == ""


@pytest.mark.parametrize(
    ("config", "seconds", "name"),
    [
        ({}, 10, "SIGTERM"),
        ({"StopTimeout": 0, "StopSignal": 15}, 0, "SIGTERM"),
        ({"StopTimeout": 25, "StopSignal": "SIGINT"}, 25, "SIGINT"),
        ({"StopTimeout": 4294967295, "StopSignal": 37}, 3600, "SIGRTMIN+3"),
    ],
    ids=["unknown", "podman 4", "podman 5", "endless"],
)
def test_how_it_is_stopped(config: dict[str, object], seconds: int, name: str) -> None:
    details = parsed(Config=config)
    assert (details.stop_seconds, details.stop_signal) == (seconds, name)


@pytest.mark.parametrize(
    ("label", "deploy"), [("7", 7), ("", 0), ("-1", 0), ("9" * 19, 0), ("٣", 0), ("a", 0), (None, 0)]
)
def test_the_deploy_that_created_it(label: str | None, deploy: int) -> None:
    assert parsed(Config={"Labels": {"mcp.deploy": label} if label is not None else None}).deploy == deploy


def test_times_and_monitor() -> None:
    details = parsed(State={"StartedAt": "2026-11-23T01:02:59.907313116+01:00", "FinishedAt": NEVER, "ConmonPid": 7})
    assert details.started == datetime(2026, 11, 23, 0, 2, 59, 907313, UTC).timestamp()
    assert (details.ended, details.conmon) == (0.0, 7)


@pytest.mark.parametrize(
    ("state", "has_process"), [("running", True), ("paused", True), ("stopping", True), ("exited", False)]
)
def test_has_process(state: str, has_process: bool) -> None:
    assert parsed(state.upper()).has_process == has_process


def known(status: str, code: int, finished: str, started: str = BEGAN) -> int | None:
    return parsed(status, code, State={"StartedAt": started, "FinishedAt": finished}).known_exit_code


@pytest.mark.parametrize("status", ["created", "exited"])  # after a reboot, as podman 4.3 and 5.4 have it
@pytest.mark.parametrize("finished", [NEVER, BEFORE], ids=["first run", "a later run"])
def test_a_run_that_a_power_cut_ended_has_no_exit_code(status: str, finished: str) -> None:
    assert known(status, 0, finished) is None


def test_a_container_that_never_ran_has_no_exit_code() -> None:
    assert known("created", 0, NEVER, NEVER) is None


def test_a_run_that_ended_has_its_exit_code() -> None:
    assert known("exited", 0, AFTER) == 0
    assert known("exited", 137, AFTER) == 137
    assert known("exited", 1, BEFORE) == 1, "one that fails at once may have ended before podman had noted its start"
    assert known("exited", 0, "2026-11-23T01:02:59.907313116+01:00") == 0


def test_objects_have_their_image() -> None:
    containers = [row(Image="img1"), {**row(Image="gone"), "Name": "db"}]
    image = {"Id": "img1", "Config": {"Cmd": ["web"]}}
    web, db = parse_objects(json.dumps(containers).encode(), json.dumps([image]).encode())
    assert web == ContainerObject(ContainerDetails("id1", "web", "running", 0, image_id="img1"), containers[0], image)
    assert (db.details.name, db.container, db.image) == ("db", containers[1], {})


@pytest.mark.parametrize("output", [b"", b"{}", b"[1]", b"[{}]", b"<html>", b"[" * 9999])
def test_objects_of_an_unexpected_form(output: bytes) -> None:
    with pytest.raises(Unavailable, match=r"^unexpected output of podman inspect: not a list of containers$"):
        parse_objects(output, b"[]")
    with pytest.raises(Unavailable, match=r"^unexpected output of podman image inspect: not a list of im"):
        parse_objects(b"[]", output)
