#!/usr/bin/python3
"""Record `podman inspect` of containers made with each option of `podman run`, on a Debian 12 and a Debian 13 node.

Writes `tests/unit/data/podman-VERSION-options.json.xz`: the options that `podman run --help` lists, the inspection of a
plain container and of its image, and by option the arguments of a container made with it and what that changes in the
inspection. Needs root, and two minutes. Exit status: 0 done, 1 failed (with one line on stderr).
"""

import json
import lzma
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a file: make `tools` and `mcp` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mcp.shared.resources import ROOT
from tools import images
from tools.hostlib import machine
from tools.hostlib.machine import HostError
from tools.nodelib import fleet
from tools.nodelib.node import Node

NODES = {"thirteen": "13", "twelve": "12"}
DATA = ROOT / "tests/unit/data"
OPTION = re.compile(r"^ +(?:-(\w), )?--([a-z0-9-]+)(?: (\S.*?))?(?:  .*)?$", re.MULTILINE)
LEFT_OUT = ("help",)
Place = tuple[str, ...]  # of a value in the inspection
# Make a container, print its inspection, and remove it with what the options leave behind.
MAKE = """
podman "$@" >/dev/null && podman inspect --type=container "$0"; code=$?
{ podman rm --force --time=0 --ignore "$0"; case "$*" in *--pod*) podman pod rm --force --ignore recpod; esac
rm -f /srv/mcp/cid /srv/mcp/podid /srv/mcp/pid /srv/mcp/conmon.pid; } >/dev/null 2>&1
exit $code
"""
NAME = "record"
IMAGE = images.image("worker").reference

# Example values by option; flags need none. Each `;` begins another example.
VALUES = {
    "add-host": "db:10.0.0.1",
    "annotation": "a=b",
    "arch": "amd64",
    "attach": "stdout",
    "authfile": "/etc/hostname",
    "blkio-weight": "100",
    "blkio-weight-device": "/dev/null:100",
    "cap-add": "NET_ADMIN",
    "cap-drop": "CHOWN",
    "cgroup-conf": "memory.high=1073741824",
    "cgroup-parent": "other.slice",
    "cgroupns": "host",
    "cgroups": "disabled",
    "chrootdirs": "/var/x",
    "cidfile": "/srv/mcp/cid",
    "conmon-pidfile": "/srv/mcp/conmon.pid",
    "cpu-period": "50000",
    "cpu-quota": "50000",
    "cpu-rt-period": "1000",
    "cpu-rt-runtime": "1000",
    "cpu-shares": "512",
    "cpus": "0.5",
    "cpuset-cpus": "0",
    "cpuset-mems": "0",
    "creds": "a:b",
    "decryption-key": "/etc/hostname",
    "detach-keys": "ctrl-x",
    "device": "/dev/fuse",
    "device-cgroup-rule": "c 10:229 rwm",
    "device-read-bps": "/dev/null:1mb",
    "device-read-iops": "/dev/null:1000",
    "device-write-bps": "/dev/null:1mb",
    "device-write-iops": "/dev/null:1000",
    "dns": "10.0.0.1",
    "dns-option": "ndots:2",
    "dns-search": "example.net",
    "entrypoint": "/bin/worker",
    "env": "COLOUR=a b",
    "env-file": "/srv/mcp/env",
    "env-merge": "PATH=${PATH}:/x",
    "expose": "9000",
    "gidmap": "0:0:1000",
    "gpus": "all",
    "group-add": "100",
    "group-entry": "x:x:1000:",
    "health-cmd": "true",
    "health-interval": "5s --health-cmd=true;disable --health-cmd=true",
    "health-log-destination": "events_logger --health-cmd=true",
    "health-max-log-count": "7 --health-cmd=true",
    "health-max-log-size": "700 --health-cmd=true",
    "health-on-failure": "kill --health-cmd=true",
    "health-retries": "5 --health-cmd=true",
    "health-start-period": "20s --health-cmd=true",
    "health-startup-cmd": "true --health-cmd=true",
    "health-startup-interval": "7s --health-startup-cmd=true --health-cmd=true",
    "health-startup-retries": "7 --health-startup-cmd=true --health-cmd=true",
    "health-startup-success": "7 --health-startup-cmd=true --health-cmd=true",
    "health-startup-timeout": "7s --health-startup-cmd=true --health-cmd=true",
    "health-timeout": "5s --health-cmd=true",
    "hostname": "other",
    "hosts-file": "none",
    "hostuser": "mcp",
    "image-volume": "tmpfs",
    "init-path": "/usr/libexec/podman/catatonit --init",
    "ip": "10.89.7.7 --network=recnet",
    "ip6": "fd00::7 --network=recnet6",
    "ipc": "host",
    "label": "team=x",
    "label-file": "/srv/mcp/env",
    "log-driver": "journald;none;k8s-file;json-file",
    "log-opt": "max-size=64m;tag=x --log-driver=journald;path=/srv/mcp/log.txt",
    "mac-address": "92:d0:c6:0a:29:33 --network=recnet",
    "memory": "64m",
    "memory-reservation": "64m",
    "memory-swap": "128m --memory=64m",
    "memory-swappiness": "50",
    "mount": (
        "type=bind,src=/srv/mcp,dst=/data,ro;type=volume,source=vol,target=/data;type=tmpfs,dst=/t"
        ";type=bind,src=/srv/mcp,dst=/data,bind-propagation=shared;type=volume,src=vol,dst=/data,U=true"
    ),
    "name": NAME,
    "network": (
        "host;none;recnet;slirp4netns:mtu=1400;bridge;private;recnet:alias=db;pasta:--mtu=1400;recnet:ip=10.89.7.9"
    ),
    "network-alias": "db --network=recnet",
    "oom-score-adj": "500",
    "os": "linux",
    "passwd-entry": "x",
    "personality": "LINUX32",
    "pid": "host",
    "pidfile": "/srv/mcp/pid",
    "pids-limit": "100",
    "platform": "linux/amd64",
    "pod": "new:recpod",
    "pod-id-file": "/srv/mcp/podid",
    "preserve-fd": "3",
    "preserve-fds": "1",
    "publish": "127.0.0.1:23999:80;24000:81/udp;24001-24003:82-84;24005:85/sctp;86",
    "pull": "never",
    "rdt-class": "x",
    "requires": "base",
    "restart": "always;on-failure:3;no;unless-stopped",
    "retry": "2",
    "retry-delay": "2s",
    "sdnotify": "conmon",
    "seccomp-policy": "image",
    "secret": "recsecret",
    "security-opt": "no-new-privileges;label=disable;seccomp=unconfined;mask=/proc/x",
    "shm-size": "128m",
    "shm-size-systemd": "128m --systemd=always",
    "stop-signal": "SIGINT;2;RTMIN+3;term",
    "stop-timeout": "30;10;0",
    "subgidname": "mcp",
    "subuidname": "mcp",
    "sysctl": "net.ipv4.ip_default_ttl=65",
    "systemd": "always;false",
    "timeout": "600",
    "tmpfs": "/t",
    "tz": "Europe/Berlin",
    "uidmap": "0:0:1000",
    "ulimit": "nofile=500:500",
    "umask": "0077",
    "unsetenv": "VERSION",
    "user": "0:0;nobody",
    "userns": "keep-id",
    "uts": "host",
    "variant": "v8",
    "volume": "vol:/data;/srv/mcp:/data:ro,z;vol:/data:U;/srv/mcp:/data:shared;vol:/data:O;/data;vol:/data:nocopy",
    "volumes-from": "base",
    "workdir": "/run",
}
FLAGS_WITH = {"rmi": "--rm", "read-only-tmpfs": "--read-only", "rootfs": ""}
FALSE = ("http-proxy", "passwd", "sig-proxy", "read-only-tmpfs", "tls-verify")  # flags that are set without being given


def main() -> int:
    """Record on both nodes; report expected failures in one line."""
    return machine.exit_code("record", _record_all)


def _record_all() -> None:
    with fleet.create(NODES) as made:
        for node in made.nodes.values():
            print(record(node))


def record(node: Node) -> Path:
    """Record a node's podman, and return the file."""
    options = _options(node, "run")
    examples = [(name, words) for name in options for words in _examples(name, options)]
    _prepare(node)
    plain, again = (_make(node, [])["inspect"] for _ in range(2))
    volatile = set(_differences(plain, again)) | {("Config", "CreateCommand")}
    data = {
        "options": options,
        "globals": _options(node),
        "image": json.loads(node.run(["podman", "image", "inspect", IMAGE], user="mcp").stdout)[0],
        "plain": plain,
        "made": [_made(node, name, words, plain, volatile) for name, words in examples],
    }
    version = node.run(["podman", "version", "--format={{.Client.Version}}"], user="mcp").stdout.strip()
    path = DATA / f"podman-{version}-options.json.xz"
    path.write_bytes(lzma.compress(json.dumps(data, indent=1).encode()))
    return path


def _options(node: Node, *verb: str) -> dict[str, str]:
    """Return the kind of value of each option in podman's help, empty for a flag, also by `-` and its short name."""
    text = node.run(["podman", *verb, "--help"], user="mcp").stdout.partition("Options:")[2]
    found = list(OPTION.finditer(text))
    return {match[2]: match[3] or "" for match in found} | {f"-{match[1]}": match[2] for match in found if match[1]}


def _prepare(node: Node) -> None:
    archive = images.archive([images.image(name) for name in images.names()])
    node.run(["podman", "load", "--quiet"], user="mcp", stdin=archive)
    node.write("/srv/mcp/env", "COLOUR=a b\n", owner="mcp")
    for argv in (
        ["podman", "network", "create", "--subnet=10.89.7.0/24", "recnet"],
        ["podman", "network", "create", "--ipv6", "--subnet=fd00::/64", "recnet6"],
        ["podman", "volume", "create", "vol"],
        ["podman", "secret", "create", "recsecret", "/srv/mcp/env"],
        ["podman", "create", "--name=base", IMAGE],
    ):
        node.run(argv, user="mcp")


def _examples(name: str, options: dict[str, str]) -> Iterator[list[str]]:
    if name.startswith("-") or name in LEFT_OUT:
        return
    if not options[name]:
        values = ["=false"] if name in FALSE else [""] if name == "detach" else ["", "=false"]
        yield from ([f"--{name}{value}", *FLAGS_WITH.get(name, "").split()] for value in values)
    elif name not in VALUES:
        raise HostError(f"no example of --{name}: add one to tools/record.py")
    else:
        for example in VALUES[name].split(";"):
            value, *more = example.split(" --")
            yield [f"--{name}={value}", *(f"--{word}" for word in more)]


def _made(node: Node, option: str, words: list[str], plain: dict[str, Any], volatile: set[Place]) -> dict[str, Any]:
    """Make a container with an option, and return what that changes, or podman's error."""
    made = _make(node, words)
    if "inspect" in made:
        changes = _differences(plain, made.pop("inspect"))
        made["changes"] = [(path, value) for path, value in changes.items() if path not in volatile]
    return {"option": option, "words": words, **made}


def _make(node: Node, words: list[str]) -> dict[str, Any]:
    """Run a container, or if that fails only create it, and inspect it."""
    for verb in (["run", "--detach"], ["create"]):
        argv = ["sh", "-c", MAKE, NAME, *verb, f"--name={NAME}", *words, IMAGE]
        done = node.run(argv, user="mcp", check=False)
        if done.returncode == 0:
            return {"verb": verb[0], "inspect": _normal(done.stdout)}
    return {"verb": "", "error": done.stderr.strip().rpartition("\n")[2]}


def _normal(inspected: str) -> dict[str, Any]:
    """Return the container with zeros for its id, also where that is cut, and with its variables in order."""
    identifier = str(json.loads(inspected)[0]["Id"])
    text = inspected.replace(identifier, "0" * len(identifier)).replace(identifier[:12], "0" * 12)
    container: dict[str, Any] = json.loads(text)[0]
    container["Config"]["Env"].sort()
    return container


def _differences(old: Any, new: Any, path: Place = ()) -> dict[Place, Any]:
    """Return the new values by path where two objects differ; lists are compared whole, missing values are None."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = (((*path, key), old.get(key), new.get(key)) for key in sorted({*old, *new}))
        return {where: value for step, one, two in pairs for where, value in _differences(one, two, step).items()}
    return {} if old == new else {path: new}


if __name__ == "__main__":
    sys.exit(main())
