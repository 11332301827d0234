#!/usr/bin/python3 -IS
"""A FAKE podman: no container ever runs. The component tests put it on PATH as `podman`.

It keeps its containers in the folder `state` beside the script that is run, takes exactly the command lines that
agent/podman/client.py builds, and refuses any other one. `test_fake_podman.py` runs the same commands against it and
against the real podman. How to make it misbehave: see FakePodman in fakes.py.

It is started some thousand times in a test run: what is slow to import comes where it is needed, and `podman` is a
script of a few lines that imports this file, which Python then has to compile only once.
"""
# pathlib takes as long to import as all the rest:
# ruff: noqa: PTH100, PTH104, PTH110, PTH118, PTH120, PTH123

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import sys
import time
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

STATE = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "state")
NEVER = -62135596800  # the year 1, as podman says it
BUILT_IN_NETWORKS = ("podman", "bridge", "host", "none")
IMAGE_ENV = ["PATH=/bin", "VERSION=1.0.0"]
# what the test images (tools/images.py) hold, by what `behaviour` says
PROGRAMS = ("web", "worker", "fail", "brief", "stubborn")

# command: (options that must be there, options that may be there, options with values, number of arguments)
FORMS: dict[str, tuple[set[str], set[str], set[str], int]] = {
    "version": ({"--format=json"}, set(), set(), 0),
    "info": ({"--format=json"}, set(), set(), 0),
    "ps": ({"--all", "--no-trunc", "--format=json"}, {"--external"}, set(), 0),
    "inspect": ({"--type=container"}, set(), set(), -1),
    "image inspect": (set(), set(), set(), -1),
    "images": ({"--format=json"}, set(), set(), 0),
    "healthcheck run": (set(), set(), set(), 1),
    "pull": ({"--quiet"}, set(), {"--authfile"}, 1),
    "volume ls": ({"--quiet"}, {"--filter=dangling=true"}, set(), 0),
    "network inspect": (set(), set(), set(), 1),
    "network create": (set(), set(), set(), 1),
    "run": (
        {"--detach", "--pull=never", "--log-driver"},
        {"--env-file=/dev/stdin", "--http-proxy=false"},
        {"--log-driver", "--log-opt", "--name", "--label", "--restart", "--network", "--user", "--publish", "--volume"}
        | {"--stop-timeout", "--stop-signal"}
        | {"--health-cmd", "--health-interval", "--health-timeout", "--health-start-period", "--health-retries"},
        -1,
    ),
    "create": (
        {"--image-volume=ignore", "--pull=never", "--log-driver"},
        {"--http-proxy=false"},
        {"--log-driver", "--log-opt", "--name", "--label", "--restart", "--network", "--publish", "--volume"}
        | {"--stop-timeout", "--stop-signal"}
        | {"--health-cmd", "--health-interval", "--health-timeout", "--health-start-period", "--health-retries"},
        -1,
    ),
    "cp": (set(), set(), set(), 2),
    "volume rm": (set(), set(), set(), 1),
    "start": (set(), set(), set(), 1),
    "stop": (set(), set(), set(), 1),
    "rename": (set(), set(), set(), 2),
    "rm": ({"--force", "--ignore", "--time=10"}, set(), set(), 1),
    "logs": ({"--timestamps"}, set(), {"--since"}, 1),
}


def main(argv: list[str]) -> int:
    order = take_order(argv)
    misbehave(order, "before")
    command, options, arguments = parse(argv)
    record(argv, refused=False)
    try:
        status = int(globals()["do_" + command.replace(" ", "_")](options, arguments) or 0)
    except SystemExit as end:
        status = int(end.code or 0)
    sys.stdout.flush()
    misbehave(order, "after")
    return status


# --- the command line ---


def parse(argv: list[str]) -> tuple[str, dict[str, list[str]], list[str]]:
    words = 2 if argv[:1] in (["image"], ["network"], ["healthcheck"], ["volume"]) else 1
    command, rest = " ".join(argv[:words]), argv[words:]
    if command not in FORMS:
        refuse(argv, f"unrecognized command `podman {command}`")
    required, flags, valued, count = FORMS[command]
    options: dict[str, list[str]] = {}
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        key, _, value = option.partition("=")
        if option not in required | flags and key not in valued:
            refuse(argv, f"unknown flag: {key}")
        options.setdefault(key, []).append(value)
    missing = {option for option in required if option.partition("=")[0] not in options}
    if missing or (len(rest) != count if count >= 0 else not rest):
        refuse(argv, f"the fake does not know `podman {command}` without {missing or 'its arguments'}")
    return command, options, rest


def refuse(argv: list[str], why: str) -> NoReturn:
    record(argv, refused=True)
    fail(why)


def fail(message: str, code: int = 125) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write(f"Error: {message}\n")
    sys.exit(code)


def record(argv: list[str], *, refused: bool) -> None:
    line = json.dumps({"argv": argv, "refused": refused, "environment": dict(os.environ)}) + "\n"
    descriptor = os.open(f"{STATE}/calls.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line.encode())
    os.close(descriptor)


# --- misbehaviour ---


def take_order(argv: list[str]) -> dict[str, Any]:
    """The first order that fits this command line and has not been used up."""
    if not os.path.exists(f"{STATE}/orders.json"):
        return {}
    with locked():
        orders: list[dict[str, Any]] = read("orders.json")
        found: dict[str, Any] = {}
        for order in orders:
            if order["after"]:
                order["after"] = [] if all(word in argv for word in order["after"]) else order["after"]
            elif not found and order["times"] != 0 and all(word in argv for word in order["argv"]):
                order["times"] -= 1
                found = order
        write("orders.json", orders)
    return flaky(found, argv) if found.get("do") == "flaky" else found


def flaky(order: dict[str, Any], argv: list[str]) -> dict[str, Any]:
    """Fail in so many of a hundred calls, before or after the real effect, or list nothing, or hang for a while."""
    chance = random.Random(f"{order['seed']} {order['times']}")
    if chance.randrange(100) >= order["percent"]:
        return {}
    if argv[0] == "ps" and chance.randrange(2):
        return {"do": "print", "when": "before", "message": chance.choice(["[]", "null", ""]), "code": 0}
    return {**order, "do": chance.choice(["fail"] * 9 + ["sleep"]), "when": chance.choice(["before", "after"])}


def misbehave(order: dict[str, Any], when: str) -> None:  # noqa: C901 - a flat list of orders
    if order.get("when") != when:
        return
    match order["do"]:
        case "sleep":
            time.sleep(order["seconds"])
        case "hold":
            open(f"{STATE}/holding.{os.getpid()}", "x").close()
            while os.path.exists(f"{STATE}/orders.json"):
                time.sleep(0.02)
        case "hang":
            if order["stubborn"]:
                import signal

                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            open(f"{STATE}/hanging.{os.getpid()}", "x").close()
            while True:
                time.sleep(60)
        case "garbage":
            sys.stdout.buffer.write(b"\x00\xff<html>{[\n\x1b[31m")
            sys.exit(0)
        case "print":
            sys.stdout.write(order["message"])
            sys.exit(order["code"])
        case "endless":
            while True:
                sys.stdout.write("y" * 65536)
        case "fail":
            fail(order["message"], order["code"])


# --- the containers ---


@contextmanager
def locked() -> Iterator[None]:
    descriptor = os.open(f"{STATE}/lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def world() -> Iterator[dict[str, Any]]:
    """The state, brought up to now; what is changed in it is kept unless a command fails."""
    with locked():
        state: dict[str, Any] = read("state.json")
        for container in state["containers"]:
            pass_time(container)
        yield state
        write("state.json", state)


def read(name: str) -> Any:
    with open(f"{STATE}/{name}", "rb") as file:
        return json.loads(file.read())


def write(name: str, value: object) -> None:
    with open(f"{STATE}/{name}.new", "w") as file:
        file.write(json.dumps(value))
    os.rename(f"{STATE}/{name}.new", f"{STATE}/{name}")


def find(state: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((each for each in state["containers"] if name in (each["name"], each["id"])), None)


def need(state: dict[str, Any], name: str) -> dict[str, Any]:
    container = find(state, name)
    if container is None:
        fail(f'no container with name or ID "{name}" found: no such container')
    return container


def pass_time(container: dict[str, Any]) -> None:
    """What a container did since the last look: it logged, ended, was restarted."""
    now = time.time()
    while container["state"] == "running" and container["lifetime"] is not None:
        end = container["started"] + max(container["lifetime"], 0.001)  # no run ends in the moment that it begins
        if end > now:
            break
        container.update(state="exited", exit_code=container["code"], finished=end)
        again = container["restart"] in ("always", "unless-stopped") or (
            container["restart"].startswith("on-failure") and container["code"] != 0
        )
        if again:
            container["restarts"] += 1
            begin(container, end + 0.1)
    while container["state"] == "running" and container["ticking"] and container["next_tick"] <= now:
        container["ticks"] += 1
        say(container, container["next_tick"], 1, f"{container['program']}: tick {container['ticks']}")
        container["next_tick"] += 1.0


def begin(container: dict[str, Any], now: float) -> None:
    program = container["program"]
    container.update(state="running", started=now, ticks=0, next_tick=now)
    say(container, now, 1, f"{program}: starting")
    if program == "fail":
        say(container, now, 2, "fail: cannot read the configuration")


def say(container: dict[str, Any], when: float, stream: int, text: str) -> None:
    container["logs"].append([when, stream, text])


def behaviour(state: dict[str, Any], image: str, cmd: list[str]) -> dict[str, Any]:
    """What the container will do: told by the image, or by its command's first word."""
    if cmd and cmd[0] not in PROGRAMS:
        return {"program": ""}
    program = cmd[0] if cmd else state["images"][image].get("program", "web")
    lifetime, code = {"fail": (0.0, 3), "brief": (2.0, 0)}.get(program, (None, 0))
    told = {"program": program, "lifetime": lifetime, "code": code, "ticking": program == "web"}
    return {**told, **state["images"][image]}


def host_ports(container: dict[str, Any]) -> list[tuple[str, int]]:
    found = []
    for mapping in container["ports"]:
        parts = mapping.partition("/")[0].rsplit(":", 2)
        found.append((parts[0] if len(parts) == 3 else "0.0.0.0", int(parts[-2])))
    return found


def check_program(state: dict[str, Any], container: dict[str, Any], code: int) -> None:
    if not container["program"]:
        write("state.json", state)  # the container stays, as with the real one
        fail(
            f'runc create failed: exec: "{container["cmd"][0]}": executable file not found in $PATH: '
            "OCI runtime attempted to invoke a command that was not found",
            code,
        )


def check_ports(state: dict[str, Any], container: dict[str, Any]) -> None:
    import socket

    taken = {port for each in state["containers"] if each["state"] == "running" for _, port in host_ports(each)}
    for address, port in host_ports(container):
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
                used = port in taken
            except OSError:
                used = True
        if used:
            write("state.json", state)  # the container stays, as with the real one
            fail(f"rootlessport listen tcp {address}:{port}: bind: address already in use", 126)


# --- the commands ---

Options = dict[str, list[str]]


def do_info(options: Options, arguments: list[str]) -> None:
    store = {"graphRoot": STATE + "/storage", "runRoot": STATE + "/run", "volumePath": STATE + "/storage/volumes"}
    with world() as state:
        number = len([each for each in state["containers"] if each["state"] != "storage"])
    print(json.dumps({"store": {**store, "containerStore": {"number": number}}}))


def do_version(options: Options, arguments: list[str]) -> None:
    print(json.dumps({"Client": {"APIVersion": "4.3.1", "Version": "4.3.1", "OsArch": "linux/amd64"}}))


def do_ps(options: Options, arguments: list[str]) -> None:
    with world() as state:
        listed = [each for each in state["containers"] if each["state"] != "storage" or "--external" in options]
        print(json.dumps([_listed(container) for container in listed], indent=2))


def _listed(container: dict[str, Any]) -> dict[str, Any]:
    return {
        "Command": container["cmd"],
        "ExitCode": container["exit_code"],
        "Exited": container["state"] == "exited",
        "Id": container["id"],
        "Image": container["image"],
        "ImageID": container["image_id"],
        "Labels": container["labels"],
        "Names": [container["name"]],
        "Ports": _published(container),
        "StartedAt": int(container["started"]) if container["started"] else NEVER,
        "State": container["state"],
        "Status": f"Up 1 second ago ({container['health_status']})" if container["state"] == "running" else "Exited",
    }


def _published(container: dict[str, Any]) -> list[dict[str, object]]:
    protocols = [mapping.partition("/")[2] or "tcp" for mapping in container["ports"]]
    return [
        {"host_ip": address.replace("0.0.0.0", ""), "host_port": port, "range": 1, "protocol": protocol}
        for (address, port), protocol in zip(host_ports(container), protocols, strict=True)
    ]


def do_inspect(options: Options, arguments: list[str]) -> None:
    with world() as state:
        found = {name: find(state, name) for name in arguments}
    print(json.dumps([_inspected(container) for container in found.values() if container]))
    for name, container in found.items():
        if container is None:
            fail(f"inspecting object: no such container {name}")


def _inspected(container: dict[str, Any]) -> dict[str, Any]:
    short = container["id"][:12]
    return {
        "Id": container["id"],
        "Name": container["name"],
        "State": {
            "Status": container["state"],
            "ExitCode": container["exit_code"],
            "StartedAt": iso_time(container["started"] or NEVER),
            "FinishedAt": iso_time(container["finished"] or NEVER),
            **({"Health": _health_state(container)} if container["health"] else {}),
        },
        "RestartCount": container["restarts"],
        "Image": container["image_id"],
        "ImageDigest": f"sha256:{container['image_id']}",
        "ImageName": container["image"],
        "Mounts": [
            {"Type": "volume", "Name": name, "Destination": target, "RW": True}
            for target, name in container.get("mounts", {}).items()
        ],
        "Config": {
            "Cmd": container["cmd"] or [f"/bin/{container['program']}"],
            "Env": [*IMAGE_ENV, "TERM=xterm", "container=podman", *container["env"], f"HOSTNAME={short}"],
            "Hostname": short,
            "CreateCommand": container["create_command"],
            "User": container["user"],
            "StopTimeout": container["stop_timeout"],
            "StopSignal": 15,
            "Labels": container["labels"],
            **({"Healthcheck": container["health"]} if container["health"] else {}),
        },
        "HostConfig": {
            "Binds": [f"{volume}:rprivate" for volume in container["volumes"]],
            "NetworkMode": "slirp4netns" if container["network"] == "podman" else "bridge",
            "PortBindings": bindings(container),
            "RestartPolicy": {"Name": container["restart"], "MaximumRetryCount": 0},
            "LogConfig": {"Type": container["log_driver"], "Tag": "", "Size": human_size(container["log_size"])},
        },
        "NetworkSettings": {
            "Networks": {} if container["network"] == "podman" else {container["network"]: {}},
            "Ports": bindings(container) if container["state"] == "running" else {},
        },
    }


def _health_state(container: dict[str, Any]) -> dict[str, Any]:
    log = container["check_log"]
    return {"Status": container["health_status"], "FailingStreak": len(log), "Log": log or None}


def iso_time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat()


def human_size(size: int) -> str:
    """A size as podman says it: to four digits, in decimal units."""
    number, units = float(size), ["B", "kB", "MB", "GB"]
    while number >= 1000:
        number /= 1000
        units.pop(0)
    return f"{number:.4g}{units[0]}"


def bindings(container: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for mapping, (address, port) in zip(container["ports"], host_ports(container), strict=True):
        ports, _, protocol = mapping.partition("/")
        inside = f"{ports.rpartition(':')[2]}/{protocol or 'tcp'}"
        found.setdefault(inside, []).append({"HostIp": "" if address == "0.0.0.0" else address, "HostPort": str(port)})
    return found


def image_id(state: dict[str, Any], name: str) -> str:
    """An image is what it does: one that is told to do something else is another image."""
    import hashlib

    return hashlib.sha256(json.dumps([name, state["images"][name]], sort_keys=True).encode()).hexdigest()


def local_image(state: dict[str, Any], name: str) -> str:
    """The image with that name, or with the digest in it, whose name and tag then do not count; empty: none."""
    digest = name.partition("@sha256:")[2]
    return next((known for known in state["images"] if known == name or image_id(state, known) == digest), "")


def do_image_inspect(options: Options, arguments: list[str]) -> None:
    with world() as state:
        names = {image_id(state, name): name for name in state["images"]}
        rows = []
        for asked in arguments:
            name = local_image(state, names.get(asked, asked))
            if not name:
                print("[]")
                fail(f"inspecting object: {asked}: image not known")
            rows.append(_inspected_image(state["images"][name], image_id(state, name)))
    print(json.dumps(rows))


def _inspected_image(image: dict[str, Any], identifier: str) -> dict[str, Any]:
    machine = os.uname().machine
    return {
        "Id": identifier,
        "Digest": f"sha256:{identifier}",
        "Architecture": image.get("architecture") or {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "Config": {
            "Cmd": [f"/bin/{image.get('program', 'web')}"],
            "Env": IMAGE_ENV,
            **({"Volumes": {target: {} for target in image["anonymous"]}} if "anonymous" in image else {}),
        },
    }


def do_images(options: Options, arguments: list[str]) -> None:
    with world() as state:
        ids = {name: image_id(state, name) for name in state["images"]}
        more = {"RepoTags": None, "Size": 2_000_000}
        rows = [{"Id": ids[name], "Names": [name], "Digest": f"sha256:{ids[name]}", **more} for name in ids]
    print(json.dumps(rows))


def do_healthcheck_run(options: Options, arguments: list[str]) -> int:
    with world() as state:
        container = find(state, arguments[0])
        if container is None:
            fail(f"unable to look up {arguments[0]} to perform a health check: no such container")
        if container["health"] is None:
            fail(f"has no defined healthcheck: container {container['id']}")
        if container["state"] != "running":
            fail(f"container {container['id']} is not running")
        image = state["images"].get(container["image"], {})
        healthy = image.get("healthy", True)
        note_check(container, healthy, image.get("check_output", ""))
    if not healthy:
        print("unhealthy")
    return 0 if healthy else 1


def note_check(container: dict[str, Any], healthy: bool, output: str) -> None:
    log = [] if healthy else [*container["check_log"], {"ExitCode": 1, "Output": output}]
    status = "unhealthy" if len(log) >= container["health"].get("Retries", 3) else container["health_status"]
    container.update(check_log=log[-5:], health_status="healthy" if healthy else status)


def do_pull(options: Options, arguments: list[str]) -> None:
    for path in options.get("--authfile", []):
        if not os.path.exists(path):
            fail(f"stat {path}: no such file or directory")
    with world() as state:
        if arguments[0] not in state["registry"]:
            fail(f"initializing source docker://{arguments[0]}: pinging container registry: connection refused")
        state["images"][arguments[0]] = state["registry"][arguments[0]]
    print(os.urandom(32).hex())


def do_network_inspect(options: Options, arguments: list[str]) -> None:
    name = arguments[0]
    with world() as state:
        if name not in (*BUILT_IN_NETWORKS, *state["networks"]):
            print("[]")
            fail(f"network {name}: unable to find network with name or ID {name}: network not found")
    print(json.dumps([{"name": name, "driver": "bridge"}]))


def do_network_create(options: Options, arguments: list[str]) -> None:
    with world() as state:
        if arguments[0] in state["networks"]:
            fail(f"network name {arguments[0]} already used: network already exists")
        state["networks"].append(arguments[0])
    print(arguments[0])


def do_run(options: Options, arguments: list[str]) -> None:
    env = sys.stdin.read().splitlines() if "--env-file" in options else []
    with world() as state:
        container = made(state, options, arguments, env)
        check_user(state, container, 126)
        check_program(state, container, 127)
        check_ports(state, container)
        begin(container, time.time())
    print(container["id"])


def do_create(options: Options, arguments: list[str]) -> None:
    with world() as state:
        container = made(state, options, arguments, [])
    print(container["id"])


def made(state: dict[str, Any], options: Options, arguments: list[str], env: list[str]) -> dict[str, Any]:
    """A new container, which was not started; it is among the others."""
    asked, cmd = arguments[0], arguments[1:]
    name = options["--name"][0]
    if not name[:1].isalnum() or not name.replace("_", "").replace(".", "").replace("-", "").isalnum():
        fail(f"names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument: {name}")
    image = local_image(state, asked)
    if not image:
        fail(f"{asked}: image not known")
    network = options.get("--network", ["podman"])[0]
    if network not in (*BUILT_IN_NETWORKS, *state["networks"]):
        fail(f"unable to find network with name or ID {network}: network not found")
    if other := find(state, name):
        fail(f'creating container storage: the container name "{name}" is already in use by {other["id"]}')
    container = {
        "id": os.urandom(32).hex(),
        "name": name,
        "image": re.sub("(:[^:/]*)?@", "@", asked),
        "image_id": image_id(state, image),
        "health": health(options, state["images"][image]),
        "health_status": "starting",
        "check_log": [],
        "cmd": cmd,
        "labels": dict(label.split("=", 1) for label in options.get("--label", [])),
        "restart": options.get("--restart", ["no"])[0],
        "stop_timeout": int(options.get("--stop-timeout", ["10"])[0]),
        "ports": options.get("--publish", []),
        "user": options.get("--user", [""])[0],
        "volumes": options.get("--volume", []),
        "mounts": mounts(state, options, state["images"][image]),
        "network": network,
        "log_driver": options["--log-driver"][0],
        "log_size": int(options.get("--log-opt", ["max-size=0"])[0].removeprefix("max-size=")),
        "env": env,
        "create_command": ["podman", *sys.argv[1:]],
        "state": "created",
        "started": None,
        "finished": None,
        "exit_code": 0,
        "restarts": 0,
        "logs": [],
        **behaviour(state, image, cmd),
    }
    state["containers"].append(container)
    return container


def mounts(state: dict[str, Any], options: Options, image: dict[str, Any]) -> dict[str, str]:
    """The volumes of a new container by target; those that do not exist are made."""
    found: dict[str, str] = {}
    targets = set()
    for volume in options.get("--volume", []):
        source, target = volume.split(":")[:2]
        targets.add(os.path.normpath(target))
        if source.startswith("/"):
            if not os.path.exists(source):
                fail(f"statfs {source}: no such file or directory")
        else:
            found[target] = source
    if "--image-volume" not in options:
        found.update({target: os.urandom(32).hex() for target in image.get("anonymous", ()) if target not in targets})
    state["volumes"] += [name for name in found.values() if name not in state["volumes"]]
    return found


def do_cp(options: Options, arguments: list[str]) -> None:
    import io
    import tarfile

    name, _, path = arguments[0].partition(":")
    with world() as state:
        container = find(state, name)
        if container is None:
            fail(f'container "{name}" does not exist')
        content = accounts(state, container).get(path)
    if content is None:
        fail(f'"{path}" could not be found on container {name}: no such file or directory')
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        member = tarfile.TarInfo(path.rpartition("/")[2])
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content.encode()))


def accounts(state: dict[str, Any], container: dict[str, Any]) -> dict[str, str]:
    """The passwd and group files of a container's image."""
    image: dict[str, Any] = state["images"].get(local_image(state, container["image"]), {})
    users = image.get("users", ["root", "nobody"])
    groups = ["root", "nogroup"]
    return {
        "/etc/passwd": "".join(f"{user}:x:1:1::/:/bin/sh\n" for user in users),
        "/etc/group": "".join(f"{group}:x:1:\n" for group in groups),
    }


def check_user(state: dict[str, Any], container: dict[str, Any], code: int) -> None:
    user, _, group = container["user"].partition(":")
    files = accounts(state, container)
    for what, name, kind in (("user", user, "passwd"), ("group", group, "group")):
        if name and not name.isdigit() and f"{name}:" not in files[f"/etc/{kind}"]:
            write("state.json", state)  # the container stays, as with the real one
            fail(f"unable to find {what} {name}: no matching entries in {kind} file", code)


def in_use(state: dict[str, Any], volume: str) -> list[str]:
    return [each["id"] for each in state["containers"] if volume in each.get("mounts", {}).values()]


def do_volume_ls(options: Options, arguments: list[str]) -> None:
    with world() as state:
        names = [name for name in state["volumes"] if "--filter" not in options or not in_use(state, name)]
    print("\n".join(sorted(names)))


def do_volume_rm(options: Options, arguments: list[str]) -> None:
    (name,) = arguments
    with world() as state:
        if name not in state["volumes"]:
            fail(f'no volume with name "{name}" found: no such volume', 1)
        if users := in_use(state, name):
            fail(f"volume {name} is being used by the following container(s): {users[0]}: volume is being used", 2)
        state["volumes"].remove(name)
    print(name)


def health(options: Options, image: dict[str, Any]) -> dict[str, Any] | None:
    """The health check of a new container: told by its options, or by its image."""
    if "--health-cmd" not in options:
        return {"Test": ["CMD", "true"], "Interval": 1_000_000_000} if "healthy" in image else None
    interval = float(options.get("--health-interval", ["30s"])[0].removesuffix("s"))
    timeout = float(options.get("--health-timeout", ["30s"])[0].removesuffix("s"))
    retries = int(options.get("--health-retries", ["3"])[0])
    times = {"Interval": int(interval * 1e9), "Timeout": int(timeout * 1e9), "Retries": retries}
    return {"Test": ["CMD", "true"], **times}


def do_start(options: Options, arguments: list[str]) -> None:
    with world() as state:
        container = need(state, arguments[0])
        if container["state"] == "running":
            return
        if container["state"] == "stopping":  # its `podman stop` was killed
            fail(f"container {container['id']} must be in Created or Stopped state to be started")
        check_user(state, container, 125)
        check_program(state, container, 125)
        check_ports(state, container)
        container.update(restarts=0, health_status="starting", check_log=[])
        begin(container, time.time())
    print(arguments[0])


def do_stop(options: Options, arguments: list[str]) -> None:
    with world() as state:
        container = need(state, arguments[0])
        runs = container["state"] in ("running", "stopping")
        stubborn = runs and container["program"] == "stubborn"
        if runs and not stubborn:
            say(container, time.time(), 1, f"{container['program']}: stopping")
            container.update(state="exited", exit_code=0, finished=time.time())
        elif stubborn:
            container.update(state="stopping")
    if stubborn:
        kill_after(container)
    print(arguments[0])


def kill_after(container: dict[str, Any]) -> None:
    """Kill a container that ignores SIGTERM, at the end of its stop timeout."""
    time.sleep(container["stop_timeout"])
    with world() as state:
        need(state, container["id"]).update(state="exited", exit_code=137, finished=time.time())
    seconds = container["stop_timeout"]
    sys.stderr.write(f"StopSignal SIGTERM failed to stop container {container['name']} in {seconds} seconds, killed\n")


def do_rename(options: Options, arguments: list[str]) -> None:
    with world() as state:
        container = need(state, arguments[0])
        if find(state, arguments[1]):
            fail(f"renaming container {container['id']}: name {arguments[1]} already in use, cannot rename container")
        container["name"] = arguments[1]


def do_rm(options: Options, arguments: list[str]) -> None:
    with world() as state:
        container = find(state, arguments[0])
        if container is None:
            return
        state["containers"].remove(container)
    print(arguments[0])


def do_logs(options: Options, arguments: list[str]) -> None:
    from datetime import UTC, datetime

    since = datetime.fromisoformat(options["--since"][0]).timestamp() if "--since" in options else 0.0
    with world() as state:
        container = need(state, arguments[0])
    if container["log_driver"] == "none":
        fail("this container is using the 'none' log driver, cannot read logs: this container is not logging output")
    for when, stream, text in container["logs"]:
        if when >= since:
            out = sys.stdout if stream == 1 else sys.stderr
            out.write(f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%S.%f000Z} {text}\n")
            out.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
