"""Every option of podman's `run`: a container made with it is adopted as it is, or refused with the option's name."""

from typing import Any

import pytest

from agent.podman import create_command
from agent.podman.argv import run_argv
from agent.podman.create_command import CreateCommand, Option, parse
from agent.podman.import_spec import component, problems
from agent.services.adopt import judge
from agent.services.container import new_container
from mcp.shared.spec import ComponentSpec, HealthSpec
from tests.recorded_options import VERSIONS, Made, containers, plain, recorded

# What a definition says of a container made so: the first option with its value, and fields.
EXPRESSED: dict[str, dict[str, Any]] = {
    "--env=COLOUR=a b": {"env": ("COLOUR=a b",)},
    "--env-file=/srv/mcp/env": {"env": ("COLOUR=a b",)},
    "--env-merge=PATH=${PATH}:/x": {"env": ("PATH=/bin:/x",)},
    "--health-cmd=true": {"health": HealthSpec(("/bin/sh", "-c", "true"))},
    "--health-interval=5s": {"health": HealthSpec(("/bin/sh", "-c", "true"), interval="5s")},
    "--health-retries=5": {"health": HealthSpec(("/bin/sh", "-c", "true"), retries=5)},
    "--health-start-period=20s": {"health": HealthSpec(("/bin/sh", "-c", "true"), start_period="20s")},
    "--health-timeout=5s": {"health": HealthSpec(("/bin/sh", "-c", "true"), timeout="5s")},
    "--log-driver=json-file": {"log_driver": "k8s-file", "log_max_size": "0"},
    "--log-driver=k8s-file": {"log_driver": "k8s-file", "log_max_size": "0"},
    "--log-driver=none": {"log_driver": "none"},
    "--mount=type=bind,src=/srv/mcp,dst=/data,bind-propagation=shared": {"volumes": ("/srv/mcp:/data:shared",)},
    "--mount=type=bind,src=/srv/mcp,dst=/data,ro": {"volumes": ("/srv/mcp:/data:ro",)},
    "--mount=type=volume,source=vol,target=/data": {"volumes": ("vol:/data",)},
    "--mount=type=volume,src=vol,dst=/data,U=true": {"volumes": ("vol:/data:U",)},
    "--network=bridge": {"network": "podman"},
    "--network=host": {"network": "host"},
    "--network=none": {"network": "none"},
    "--network=recnet": {"network": "recnet"},
    "--publish=127.0.0.1:23999:80": {"ports": ("127.0.0.1:23999:80",)},
    "--publish=24000:81/udp": {"ports": ("24000:81/udp",)},
    "--publish=24001-24003:82-84": {"ports": ("24001:82", "24002:83", "24003:84")},
    "--restart=always": {"restart": "always"},
    "--restart=on-failure:3": {"restart": "on-failure:3"},
    "--restart=unless-stopped": {"restart": "unless-stopped"},
    "--stop-signal=2": {"stop_signal": "SIGINT"},
    "--stop-signal=RTMIN+3": {"stop_signal": "SIGRTMIN+3"},
    "--stop-signal=SIGINT": {"stop_signal": "SIGINT"},
    "--stop-timeout=0": {"stop_timeout": "0s"},
    "--stop-timeout=10": {},
    "--stop-timeout=30": {"stop_timeout": "30s"},
    "--user=0:0": {"user": "0:0"},
    "--user=nobody": {"user": "nobody"},
    "--volume=/srv/mcp:/data:ro,z": {"volumes": ("/srv/mcp:/data:ro,z",)},
    "--volume=/srv/mcp:/data:shared": {"volumes": ("/srv/mcp:/data:shared",)},
    "--volume=vol:/data": {"volumes": ("vol:/data",)},
    "--volume=vol:/data:O": {"volumes": ("vol:/data:O",)},
    "--volume=vol:/data:U": {"volumes": ("vol:/data:U",)},
    "--volume=vol:/data:nocopy": {"volumes": ("vol:/data:nocopy",)},
}
# These leave the container as one that was made without them.
WITHOUT_EFFECT = {
    *("--arch=amd64", "--attach=stdout", "--authfile=/etc/hostname", "--cidfile=/srv/mcp/cid"),
    *("--conmon-pidfile=/srv/mcp/conmon.pid", "--decryption-key=/etc/hostname", "--detach", "--detach-keys=ctrl-x"),
    *("--disable-content-trust", "--expose=9000", "--http-proxy=false", "--log-driver=journald", "--name=record"),
    *("--log-opt=max-size=64m", "--network=private", "--no-healthcheck", "--os=linux", "--pidfile=/srv/mcp/pid"),
    *("--platform=linux/amd64", "--publish-all", "--pull=never", "--quiet", "--replace", "--restart=no", "--retry=2"),
    *("--retry-delay=2s", "--sig-proxy=false", "--stop-signal=term", "--tls-verify=false", "--variant=v8"),
    "--volume=/data",  # an anonymous volume
}
# Names in the refusal that are not the option's.
NAMED = {
    "--env-host": "",
    "--ip=10.89.7.7": "--ip ",
    "--entrypoint=/bin/worker": "it has no command although its image has one",
    "--label=team=x": "--label=team",
    "--label-file=/srv/mcp/env": "--label=COLOUR",
    "--log-opt=path=/srv/mcp/log.txt": "--log-opt=path",
    "--log-opt=tag=x": "--log-opt=tag",
    "--mount=type=tmpfs,dst=/t": "--mount=type=tmpfs",
    "--network=recnet:alias=db": "options of a network (recnet:alias=db)",
    "--network=recnet:ip=10.89.7.9": "options of a network (recnet:ip=10.89.7.9)",
    "--network=slirp4netns:mtu=1400": "options of a network (slirp4netns:mtu=1400)",
    "--network=pasta:--mtu=1400": "options of a network (pasta:--mtu=1400)",
    "--publish=24005:85/sctp": "--publish of 85/sctp",
    "--read-only-tmpfs=false": "--read-only ",
    "--rmi=false": "--rm ",
}
# Found without the command that made a container only on some podman, or never: podman does not report them.
RANDOM_PORT = "--publish=86"


def fields(made: Made) -> dict[str, Any]:
    """The fields of its specification that a plain container's does not have so."""
    base, spec = component("x", plain(made.version).inspected()), component("x", made.inspected())
    return {name: value for name, value in vars(spec).items() if value != getattr(base, name)}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plain_container_is_adopted_on_both_debians(version: str) -> None:
    inspected = plain(version).inspected()
    expected = ComponentSpec("x", "localhost/mcp-worker:1.0.0", restart="no", log_driver="journald")
    assert component("x", inspected) == expected
    assert problems(inspected) == []
    assert problems(plain(version).inspected(with_command=False)) == []


@pytest.mark.parametrize("made", containers(), ids=str)
def test_every_option_is_expressed_or_refused(made: Made) -> None:
    first, found = made.words[0], problems(made.inspected())
    if first.endswith("=false") and first not in (*NAMED, "--passwd=false", "--systemd=false"):
        assert (found, fields(made)) == ([], {})
    elif first in EXPRESSED:
        assert (found, fields(made)) == ([], EXPRESSED[first] if made.verb else {})
    elif first in WITHOUT_EFFECT:
        assert (found, fields(made)) == ([], {})
    elif first == RANDOM_PORT:
        assert found == []
        assert [port.rpartition(":")[2] for port in fields(made)["ports"]] == ["86"]
    elif first == "--env-host":
        assert found == []
        assert any(entry.startswith("XDG_RUNTIME_DIR=") for entry in fields(made)["env"])
    else:
        named = NAMED.get(first, f"--{made.option}")
        assert [text for text in found if named.strip() in text], found


@pytest.mark.parametrize("version", VERSIONS)
def test_the_tables_know_the_options_of_podman(version: str) -> None:
    data = recorded(version)
    for key, flags, shorts in (
        ("options", create_command.FLAGS | {"help"}, create_command.SHORTS),
        ("globals", create_command.GLOBAL_FLAGS, create_command.GLOBAL_SHORTS),
    ):
        for name, kind in data[key].items():
            if name.startswith("-"):
                assert shorts[name[1:]] == kind
            else:
                assert (name in flags) == (kind == ""), name
    known = create_command.NO_EFFECT | create_command.REPORTED | {*create_command.CHECKS, *create_command.DEFAULTS}
    later = {"creds", "cert-dir"}  # of later podmans
    assert known <= {name for each in VERSIONS for name in recorded(each)["options"]} | later


def test_what_a_definition_makes_can_be_adopted() -> None:
    spec = ComponentSpec(
        name="web",
        image="localhost/x:1",
        network="net",
        user="0:0",
        restart="on-failure:3",
        ports=("127.0.0.1:80:80", "81:81/udp"),
        volumes=("/srv:/data:ro,z", "vol:/v"),
        cmd=("a", "--hostname=b"),
        env=("A=b",),
        health=HealthSpec(("true", "x"), "5s", "6s", 4, "7s"),
        stop_timeout="30s",
        stop_signal="SIGINT",
        http_proxy=True,
    )
    for one in (spec, ComponentSpec("web", "localhost/x:1")):
        command = parse(["podman", *run_argv(new_container("shop", one, {}, 7))])
        assert command is not None
        assert list(create_command.problems(command, one.volumes)) == []


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("podman run -d --name shop x --privileged", [("detach", "true"), ("name", "shop")]),
        ("/usr/bin/podman container run -dit x", [("detach", "true"), ("interactive", "true"), ("tty", "true")]),
        ("podman create -p8080:80 -p=81:81 -p 82:82 x", [("publish", p) for p in ("8080:80", "81:81", "82:82")]),
        ("podman container create -itv/a:/b x", [("interactive", "true"), ("tty", "true"), ("volume", "/a:/b")]),
        ("podman run --tty=false --rm=1 --init=T x", [("tty", "false"), ("rm", "true"), ("init", "true")]),
        ("podman run --net host -- x", [("network", "host")]),
        ("podman run --new=1 --newer 2 x", [("new", "1"), ("newer", "2")]),
        ("podman run -dm 64m -h x y", [("detach", "true"), ("memory", "64m"), ("hostname", "x")]),
        ("podman run -d=false --env=A=b=c x", [("detach", "false"), ("env", "A=b=c")]),
    ],
)
def test_command_lines(text: str, options: list[tuple[str, str]]) -> None:
    assert parse(text.split()) == CreateCommand((), tuple(Option(*pair) for pair in options))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("podman --log-level=debug --syslog --root /x run x", []),
        ("podman --runtime crun -r run x", ["podman's option --runtime"]),
        ("podman --module=web create x", ["podman's option --module"]),
        ("podman run --sysctl a=b --hostname=c --network-alias d x", ["--sysctl", "--hostname", "--network-alias"]),
        ("podman run --brand-new x", ["--brand-new"]),
        ("podman run -h c -m 1g x", ["--hostname", "--memory"]),
        ("podman run --hostname= --memory=0 --umask=0022 --sdnotify=container --pid=private x", []),
        ("podman run -v /a:/b:idmap x", ["--volume option idmap"]),
        ("podman run -v /a:/b/:rw,rbind x", []),
        ("podman run --mount type=bind,src=/a,dst=/b,idmap x", ["--mount option idmap"]),
        ("podman run --health-interval=disable x", ["--health-interval=disable"]),
        ("podman run --log-opt max-size=1m,tag=x x", ["--log-opt=tag"]),
    ],
)
def test_refusals_name_the_option(text: str, words: list[str]) -> None:
    command = parse(text.split())
    assert command is not None
    found = list(create_command.problems(command, ["/a:/b"]))
    assert len(found) == len(words)
    assert all(text.startswith(f"{word} cannot be expressed") for text, word in zip(found, words, strict=True))


@pytest.mark.parametrize("text", ["", "podman", "podman kube play x.yaml", "podman container clone x", "podman -v"])
def test_other_commands_say_nothing_of_options(text: str) -> None:
    assert parse(text.split()) is None


def test_a_container_made_over_the_api_is_adopted_with_a_note() -> None:
    made = plain("5.4.2")
    assert judge(made.inspected(), "record", "record").notes == ()
    (note,) = judge(made.inspected(with_command=False), "record", "record").notes
    assert note.startswith("not made by podman run or podman create")


# Options that podman does not report at all, or not on one of the two.
UNREPORTED = {
    *("cgroup-parent", "cpu-rt-period", "cpu-rt-runtime", "device", "device-cgroup-rule", "gpus", "group-entry"),
    *(
        "hostuser",
        "image-volume",
        "init-path",
        "ip",
        "ipc",
        "ip6",
        "mac-address",
        "memory-swappiness",
        "network",
        "no-hosts",
    ),
    *("passwd-entry", "personality", "security-opt", "sysctl", "systemd", "unsetenv", "unsetenv-all", "ulimit"),
}


@pytest.mark.parametrize("made", [made for made in containers() if made.verb], ids=str)
def test_what_podman_reports_counts_without_a_command(made: Made) -> None:
    with_command, without = problems(made.inspected()), problems(made.inspected(with_command=False))
    assert bool(without) == bool(with_command) or made.option in UNREPORTED
