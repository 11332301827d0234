"""The fake podman is honest: the same commands, given to it and to real rootless podman, come to the same."""

import dataclasses
import json
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.podman import import_spec
from agent.podman.argv import NewContainer, logs_argv, run_argv, trial_argv
from agent.podman.inspect import ANONYMOUS, ContainerDetails, parse_details, parse_objects
from agent.podman.output import parse_count, parse_places, parse_version
from mcp.shared.spec import ComponentSpec, HealthSpec, log_size_text
from tests.component.fakes import BRIEF, FAIL, MISSING, WEB, FakePodman
from tests.component.processes import free_port
from tools import images
from tools.hostlib.private import Private

Done = tuple[int, str, str]
Podman = Callable[..., Done]


def fake_runner(fake: FakePodman) -> Podman:
    """Runs commands on the fake."""

    def run(*argv: str, stdin: str = "") -> Done:
        command = [str(fake.folder / "podman"), *argv]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=30)
        return done.returncode, done.stdout, done.stderr

    return run


def real_runner(rootless: Private) -> Podman:
    """Runs commands on real podman; its stdin must be its own user's, to be opened as /dev/stdin."""

    def run(*argv: str, stdin: str = "") -> Done:
        piped = ["sh", "-c", 'printf %s "$0" | podman "$@"', stdin, *argv]
        done = rootless.run(piped, check=False, timeout=60)
        return done.returncode, done.stdout, done.stderr

    return run


def new(name: str, image: str, **more: Any) -> list[str]:
    """The command line that makes a container, as the agent builds it."""
    settings = {"restart": "no", "service": "web", "component": "api", **more}
    return run_argv(NewContainer(name=name, image=image, **settings))


def trial(name: str, image: str, **more: Any) -> list[str]:
    """The command line that makes a container on trial."""
    settings = {"restart": "no", "service": "web", "component": "api", **more}
    return trial_argv(NewContainer(name=name, image=image, **settings))


COUNT = ["info", "--format=json"]
PS = ["ps", "--all", "--no-trunc", "--format=json"]
INSPECT = ["inspect", "--type=container"]
RM = ["rm", "--force", "--ignore", "--time=10"]
UNUSED = ["volume", "ls", "--filter=dangling=true", "--quiet"]


# What is done, and what the message must contain where it fails.
SCRIPT: list[tuple[Sequence[str], str]] = [
    (["version", "--format=json"], ""),
    (COUNT, ""),
    (PS, ""),
    (["image", "inspect", WEB], ""),
    (["image", "inspect", MISSING], "image not known"),
    (["images", "--format=json"], ""),
    (["image", "inspect", "localhost/mcp-web:9@DIGEST"], ""),
    (new("d", "localhost/mcp-web:9@DIGEST"), ""),
    (PS, ""),
    ([*RM, "d"], ""),
    (new("h", WEB, health=HealthSpec(("true",), interval="1m", retries=2), deploy=7), ""),
    (["healthcheck", "run", "h"], ""),
    (COUNT, ""),
    (["stop", "h"], ""),
    (["healthcheck", "run", "h"], "is not running"),
    ([*RM, "h"], ""),
    (new("h", WEB), ""),
    (["healthcheck", "run", "h"], "has no defined healthcheck"),
    ([*RM, "h"], ""),
    (["healthcheck", "run", "h"], "no such container"),
    (["pull", "--quiet", MISSING], "initializing source docker://localhost/mcp-missing:1.0.0"),
    (
        ["pull", "--quiet", "--authfile=/nonexistent/auth.json", MISSING],
        "stat /nonexistent/auth.json: no such file or directory",
    ),
    (["volume", "ls", "--quiet"], ""),
    (new("v", WEB, volumes=("testvolume:/data",)), ""),
    (["volume", "ls", "--quiet"], ""),
    ([*RM, "v"], ""),
    (["network", "inspect", "testnet"], "network not found"),
    (["network", "inspect", "podman"], ""),
    (["network", "create", "testnet"], ""),
    (["network", "inspect", "testnet"], ""),
    (["network", "create", "testnet"], "network already exists"),
    (new("w", WEB, restart="unless-stopped", ports=("127.0.0.1:PORT:8080",), env=("A=b c", "D='e'")), ""),
    (new("w", WEB), 'the container name "w" is already in use by'),
    (new("x", WEB, ports=("127.0.0.1:PORT:8080",)), "bind: address already in use"),
    (PS, ""),
    ([*RM, "x"], ""),
    ([*RM, "x"], ""),
    (new("x", MISSING), "image not known"),
    (new("x", WEB, network="nonet"), "unable to find network with name or ID nonet: network not found"),
    (new("x", WEB, volumes=("/proc/nowhere:/x",)), "statfs /proc/nowhere: no such file or directory"),
    (new("x", WEB, cmd=("nosuch",)), "OCI runtime attempted to invoke a command that was not found"),
    ([*INSPECT, "x"], ""),
    ([*INSPECT, "x", "w"], ""),
    (["start", "x"], "executable file not found in $PATH"),
    ([*RM, "x"], ""),
    (new("x", WEB, network="testnet", user="0:0", volumes=("/tmp:/tmp:ro",), cmd=("worker",)), ""),
    ([*RM, "x"], ""),
    (new("n", WEB, log_driver="none"), ""),
    (logs_argv("n", ""), "this container is using the 'none' log driver, cannot read logs"),
    ([*RM, "n"], ""),
    (new("q", FAIL), ""),
    (["SLEEP", "1"], ""),
    ([*INSPECT, "q"], ""),
    (PS, ""),
    (logs_argv("q", ""), ""),
    (logs_argv("q", "2040-01-01T00:00:00.000000000Z"), ""),
    (["stop", "q"], ""),
    (new("k", BRIEF), ""),
    (["start", "k"], ""),
    ([*INSPECT, "k"], ""),
    (["SLEEP", "2"], ""),
    ([*INSPECT, "k"], ""),
    (["rename", "q", "w"], "name w already in use"),
    (["rename", "q", "q.old"], ""),
    (["rename", "q", "g"], 'no container with name or ID "q" found: no such container'),
    (["start", "q"], 'no container with name or ID "q" found: no such container'),
    (["stop", "q"], 'no container with name or ID "q" found: no such container'),
    (logs_argv("q", ""), 'no container with name or ID "q" found: no such container'),
    ([*INSPECT, "q"], "no such container"),
    (trial("t", WEB, volumes=("named:/x",), ports=("127.0.0.1:PORT:8080",)), ""),
    (PS, ""),
    ([*INSPECT, "t"], ""),
    (["cp", "t:/etc/passwd", "-"], ""),
    (["cp", "t:/etc/nosuch", "-"], "could not be found on container t: no such file or directory"),
    (["cp", "nosuch:/etc/passwd", "-"], 'container "nosuch" does not exist'),
    (trial("t", WEB), 'the container name "t" is already in use by'),
    (UNUSED, ""),
    (["volume", "rm", "named"], "is being used by the following container(s)"),
    ([*RM, "t"], ""),
    (UNUSED, ""),
    (["volume", "rm", "named"], ""),
    (["volume", "rm", "named"], 'no volume with name "named" found: no such volume'),
    (trial("t", WEB, volumes=("/proc/nowhere:/x",)), "statfs /proc/nowhere: no such file or directory"),
    (trial("t", MISSING), "image not known"),
    (trial("t", WEB, network="nonet"), "unable to find network with name or ID nonet: network not found"),
    (new("t", WEB, user="nobodyx"), "unable to find user nobodyx: no matching entries in passwd file"),
    (["start", "t"], "unable to find user nobodyx: no matching entries in passwd file"),
    ([*RM, "t"], ""),
    (new("t", WEB, user="nobody:wheel"), "unable to find group wheel: no matching entries in group file"),
    ([*RM, "t"], ""),
    (["stop", "w"], ""),
    (PS, ""),
    (["start", "w"], ""),
    ([*INSPECT, "w"], ""),
    ([*RM, "w"], ""),
    ([*RM, "q.old"], ""),
    ([*RM, "k"], ""),
    (PS, ""),
    (["bogus"], "unrecognized command `podman bogus`"),
    (["ps", "--bogus"], "unknown flag: --bogus"),
    (new("--privileged", WEB), "invalid argument"),
    (["start", "--privileged"], "unknown flag: --privileged"),
]


def summary(argv: Sequence[str], done: Done, message: str) -> object:
    """What must be the same: the status, the part of the output that the agent reads, and the message."""
    code, out, err = done
    if message:
        assert message in err, f"{argv}: {err!r} does not say {message!r}"
    said = _read(argv[0], out) if code == 0 else out
    return [code, said]


def _read(command: str, out: str) -> object:
    if command == "ps":
        return sorted((str(row["Names"]), *_row(row)) for row in json.loads(out))
    if command == "inspect":
        return [(row["State"]["Status"], row["RestartCount"], _detail(details)) for row, details in _inspected(out)]
    if command in ("cp", "volume"):
        return _names(out)
    if command == "image":
        return [(len(row["Id"]), len(row["Digest"]), row["Architecture"]) for row in json.loads(out)]
    if command == "network":
        return [row["name"] for row in json.loads(out)] if out.startswith("[") else out
    if command == "images":
        named = {name: len(row["Digest"]) for row in json.loads(out) for name in row["Names"]}
        return [named[WEB], named[FAIL], named[BRIEF]]
    if command in ("info", "version"):
        answer = out.encode()
        return parse_count(answer) if command == "info" and parse_places(answer) else len(parse_version(answer)) > 0
    if command == "logs":  # only that there is something: the programs' words are their own
        return len(out.splitlines())
    return re.sub(r"^[0-9a-f]{64}$", "ID", out, flags=re.MULTILINE)


def _names(out: str) -> list[str]:
    """The users in an archived passwd(5) file, or the names of volumes but for anonymous ones."""
    if "\0" in out:
        return sorted(line.split(":")[0] for line in out.replace("\0", "\n").splitlines() if ":x:" in line)
    return [name for name in out.split() if not ANONYMOUS.fullmatch(name)]


def _inspected(out: str) -> list[tuple[dict[str, Any], ContainerDetails]]:
    return list(zip(json.loads(out), parse_details(out.encode()), strict=True))


def _detail(details: ContainerDetails) -> tuple[object, ...]:
    # the two hosts' ports differ
    ports = [re.sub(r"\b(2[0-9]|3[01])[0-9]{3}\b", "PORT", port) for port in details.ports]
    times = details.started > 0, details.ended > 0
    return details.exit_code, details.known_exit_code, times, details.deploy, len(details.digest), ports, details.health


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    ours = {key: value for key, value in row["Labels"].items() if key.startswith("mcp.")}
    image = re.sub("@sha256:[0-9a-f]{64}$", "@DIGEST", row["Image"])
    ports = [(port["host_ip"], port["range"], port["protocol"]) for port in row["Ports"] or ()]
    return row["State"], row["ExitCode"], image, sorted(ours.items()), row["StartedAt"] > 0, len(row["Id"]), ports


def play(run: Podman, port: int) -> list[object]:
    """The script's outcome, step by step."""
    steps: list[object] = []
    digest = json.loads(run("image", "inspect", WEB)[1])[0]["Digest"]
    for argv, message in SCRIPT:
        if argv[0] == "SLEEP":
            time.sleep(float(argv[1]))
            continue
        words = [word.replace("PORT", str(port)) if word.startswith("--publish") else word for word in argv]
        words = [word.replace("DIGEST", digest) for word in words]
        env = "A=b c\nD='e'\n" if "--env-file=/dev/stdin" in argv else ""
        steps.append([list(argv), summary(argv, run(*words, stdin=env), message)])
    return steps


@pytest.fixture
def fake(tmp_path: Path) -> FakePodman:
    """A fake with nothing in it."""
    return FakePodman.install(tmp_path / "bin")


def test_the_fake_does_what_podman_does(rootless: Private, fake: FakePodman) -> None:
    real, pretended = play(real_runner(rootless), free_port()), play(fake_runner(fake), free_port())
    assert [(ours, theirs) for ours, theirs in zip(pretended, real, strict=True) if ours != theirs] == []


def test_of_several_containers_those_are_shown_that_there_are(rootless: Private, fake: FakePodman) -> None:
    for run in (real_runner(rootless), fake_runner(fake)):
        assert run(*new("w", WEB))[0] == 0
        code, out, err = run(*INSPECT, "nosuch", "w")
        assert code == 125
        assert "no such container" in err
        assert [each.name for each in parse_details(out.encode())] == ["w"]
        run(*RM, "w")


def test_anonymous_volumes_are_made_and_stay_alike(rootless: Private, fake: FakePodman) -> None:
    image = images.Image("web", "1.0.0-data", volumes=("/data", "/var/lib/pg/data"))
    images.build_all(rootless, [image])
    fake.add_image(image.reference, anonymous=["/data", "/var/lib/pg/data"])
    for run in (real_runner(rootless), fake_runner(fake)):
        assert run(*new("w", image.reference, volumes=("named:/data/",)))[0] == 0
        (first,) = parse_details(run(*INSPECT, "w")[1].encode())
        assert first.anonymous_volumes.keys() == {"/var/lib/pg/data"}
        (volume,) = first.anonymous_volumes.values()
        assert volume not in run(*UNUSED)[1].split()
        assert run(*trial("t", image.reference))[0] == 0
        assert parse_details(run(*INSPECT, "t")[1].encode())[0].anonymous_volumes == {}
        run(*RM, "t")
        run(*RM, "w")
        assert {volume, "named"} <= set(run(*UNUSED)[1].split())
        assert run(*new("w", image.reference, volumes=(f"{volume}:/var/lib/pg/data",)))[0] == 0
        (second,) = parse_details(run(*INSPECT, "w")[1].encode())
        assert second.anonymous_volumes["/var/lib/pg/data"] == volume
        assert len(second.anonymous_volumes) == 2
        run(*RM, "w")


def test_restarts_are_counted_alike(rootless: Private, fake: FakePodman) -> None:
    for run in (real_runner(rootless), fake_runner(fake)):
        assert run(*new("q", FAIL, restart="unless-stopped"))[0] == 0
        time.sleep(2)
        (container,) = json.loads(run(*INSPECT, "q")[1])
        assert container["RestartCount"] > 2
        run(*RM, "q")


def test_the_environment_arrives(rootless: Private, fake: FakePodman) -> None:
    argv = new("w", WEB, env=("PORT=9999", "A=b c"))
    real, pretended = real_runner(rootless), fake_runner(fake)
    for run in (real, pretended):
        assert run(*argv, stdin="PORT=9999\nA=b c\n")[0] == 0
    (container,) = json.loads(real(*INSPECT, "w")[1])
    assert {"PORT=9999", "A=b c"} <= set(container["Config"]["Env"])
    assert fake.containers()["w"]["env"] == ["PORT=9999", "A=b c"]


def test_the_fake_refuses_what_the_agent_does_not_build(fake: FakePodman) -> None:
    run = fake_runner(fake)
    for argv in (["ps"], ["run", WEB], ["exec", "w", "sh"], [*RM, "--all"], ["rm", "w"], ["network", "rm", "n"]):
        code, out, err = run(*argv)
        assert (code, out, err.startswith("Error: ")) == (125, "", True)
    assert all(call["refused"] for call in fake.calls())


@pytest.mark.parametrize(
    "more",
    [
        {"restart": "always", "ports": ("127.0.0.1:PORT:8080",), "env": ("A=b c",)},
        {"network": "testnet", "user": "0:0", "volumes": ("/tmp:/tmp:ro",), "cmd": ("worker", "-v")},
        {"log_max_bytes": 1_500_000_000},
        {"log_max_bytes": 0},
        {"log_driver": "none"},
    ],
)
def test_specifications_are_read_back_alike(rootless: Private, fake: FakePodman, more: dict[str, Any]) -> None:
    read = []
    said = {key: value for key, value in more.items() if key != "log_max_bytes"}
    if said.get("log_driver") != "none":
        said["log_max_size"] = log_size_text(more.get("log_max_bytes", 0))
    for run, port in ((real_runner(rootless), str(free_port())), (fake_runner(fake), str(free_port()))):
        run("network", "create", "testnet")
        argv = [word.replace("PORT", port) for word in new("w", WEB, **more)]
        assert run(*argv, stdin="A=b c\n" if "env" in more else "")[0] == 0
        out = run(*INSPECT, "w")[1].encode()
        (container,) = parse_objects(out, run("image", "inspect", parse_details(out)[0].image_id)[1].encode())
        spec = import_spec.component("w", container)
        assert list(import_spec.problems(container)) == []
        read.append(dataclasses.replace(spec, ports=tuple(p.replace(port, "PORT") for p in spec.ports)))
    assert read[0] == read[1]
    assert read[0] == ComponentSpec("w", WEB, **{"restart": "no", **said})
