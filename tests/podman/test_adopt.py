"""On real podman: what is adopted makes the same container again; what is not is refused naming every option."""

from typing import Any

import pytest

from agent.podman.argv import run_argv
from agent.podman.inspect import ContainerObject, parse_objects
from agent.services.adopt import judge
from agent.services.container import new_container
from tests.component.processes import free_port
from tools.hostlib.private import Private

WORKER = "localhost/mcp-worker:1.0.0"
# Different for each container, or of the operator's only.
OWN = ("Id", "Created", "State", "GraphDriver", "ExecIDs", "NetworkSettings", "lockNumber")
OWN_PATHS = ("ResolvConfPath", "HostnamePath", "HostsPath", "StaticDir", "OCIConfigPath", "ConmonPidFile", "PidFile")
OWN_CONFIG = ("Annotations", "CreateCommand", "Hostname", "Labels")

WHOLE = {
    "plain": [],
    "many": [
        *("--env=COLOUR=a b", "--env=TERM=vt100", "--user=0:0", "--restart=on-failure:3", "--stop-timeout=30"),
        *("--stop-signal=INT", "--log-driver=k8s-file", "--log-opt=max-size=64m", "--volume=adoptdata:/data:nocopy"),
        *("--volume=/tmp:/tmp/x:ro,z", "--mount=type=bind,src=/tmp,dst=/tmp/y,bind-propagation=slave"),
        *('--health-cmd=["/bin/test","-e","/"]', "--health-interval=5m", "--health-retries=7"),
        *("--health-timeout=9s", "--health-start-period=8s", "--publish=127.0.0.1:PORT:80", "--publish=PORT:81/udp"),
    ],
    "network": ["--network=adoptnet", "--log-driver=none", "--stop-timeout=0", "--restart=always"],
    "host": ["--network=host", "--env-merge=PATH=${PATH}:/x", "--stop-signal=RTMIN+3", "--sig-proxy=false", "--quiet"],
    "none": ["--network=none", "--http-proxy=false", "--init=false", "--hostname=", "--expose=90", "--attach=stdout"],
}
REFUSED = [
    *("--hostname=other", "--shm-size=128m", "--umask=0077", "--network-alias=db", "--network=adoptnet"),
    *("--sysctl=net.ipv4.ip_default_ttl=65", "--label=team=x", "--annotation=a=b", "--group-add=100"),
    *("--tmpfs=/t", "--cap-drop=CHOWN", "--add-host=db:10.0.0.1", "--dns-search=example.net"),
    *("--oom-score-adj=500", "--tz=UTC", "--sdnotify=conmon", "--timeout=600", "--init", "--read-only"),
    *("--ulimit=nofile=500:500", "--image-volume=tmpfs", "--unsetenv=VERSION"),
]


@pytest.fixture
def net(rootless: Private) -> Private:
    """A podman with the network of these tests."""
    rootless.run(["podman", "network", "create", "adoptnet"])
    return rootless


def inspected(podman: Private, name: str) -> ContainerObject:
    containers = podman.run(["podman", "inspect", "--type=container", name]).stdout
    images = podman.run(["podman", "image", "inspect", WORKER]).stdout
    (found,) = parse_objects(containers.encode(), images.encode())
    return found


def lasting(container: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an inspection that is the same for containers made alike."""
    config, host = container["Config"], container["HostConfig"]
    restart = {**host["RestartPolicy"], "Name": host["RestartPolicy"]["Name"] or "no"}
    env = sorted(entry for entry in config["Env"] if not entry.startswith("HOSTNAME="))
    return {
        **{key: value for key, value in container.items() if key not in (*OWN, *OWN_PATHS)},
        "Mounts": sorted(container["Mounts"], key=str),
        "Networks": sorted(container["NetworkSettings"].get("Networks") or {}),
        "Config": {**{key: value for key, value in config.items() if key not in OWN_CONFIG}, "Env": env},
        "HostConfig": {
            **host,
            "Binds": sorted(host["Binds"]),
            "RestartPolicy": restart,
            "LogConfig": {**host["LogConfig"], "Path": ""},
        },
    }


@pytest.mark.parametrize("words", WHOLE.values(), ids=WHOLE)
def test_what_is_adopted_makes_the_same_container(net: Private, words: list[str]) -> None:
    given = [word.replace("PORT", str(free_port())) for word in words]
    net.run(["podman", "run", "--detach", "--name=shop-web", *given, WORKER])
    old = inspected(net, "shop-web")
    adopted = judge(old, "shop", "web")
    assert (adopted.error, adopted.notes) == ("", ())
    assert adopted.spec is not None
    net.run(["podman", "rm", "--force", "--time=0", "shop-web"])
    new = new_container("shop", adopted.spec, {})
    env = net.dir / "adopted.env"
    env.write_text("\n".join(new.env))
    net.give(env)
    net.run(["podman", *(word.replace("/dev/stdin", str(env)) for word in run_argv(new))])
    assert lasting(inspected(net, "shop-web").container) == lasting(old.container)


def test_every_option_is_named(net: Private) -> None:
    net.run(["podman", "create", "--name=shop-web", *REFUSED, WORKER])
    error = judge(inspected(net, "shop-web"), "shop", "web").error
    named = {word.partition(" ")[0].partition("=")[0] for word in error.split("; ")}
    assert named == {word.partition("=")[0] for word in REFUSED} - {"--network"}


def test_one_made_over_the_api_is_compared_with_what_podman_reports(net: Private) -> None:
    net.run(["podman", "create", "--name=shop-web", "--hostname=other", "--shm-size=128m", "--umask=0077", WORKER])
    found = inspected(net, "shop-web")
    found.container["Config"]["CreateCommand"] = None
    error = judge(found, "shop", "web").error
    assert all(option in error for option in ("--hostname", "--shm-size", "--umask"))
