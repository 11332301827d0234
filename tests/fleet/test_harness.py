"""The nodes themselves: they are real, they can be rebooted, and nothing of them is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from mcp.nodes.layout import UID
from mcp.shared.resources import ROOT
from tests.waiting import wait_for
from tools.hostlib.machine import HostError
from tools.nodelib import cgroups, fleet, network
from tools.nodelib.fleet import Fleet
from tools.nodelib.node import Node

WEB = ["podman", "run", "--detach", "--name", "web", "--publish", "8080:8080", "localhost/mcp-web:1.0.0"]
LONE = f"lone{os.getpid()}"  # another run of these tests has another
OWNER = """
import sys, time
from tools.nodelib import fleet
made = fleet.create({sys.argv[1]: "13"}, account=False)
print(made.number, flush=True)
time.sleep(600)
"""


def page(node: Node) -> bytes:
    body: bytes = urllib.request.urlopen(f"http://{node.address}:8080/", timeout=5).read()
    return body


def traces(number: int, name: str) -> list[str]:
    """List what this machine has of a node, and of its fleet, unless another run has taken its number."""
    found = [str(folder) for folder in cgroups.folders(f"mcp-nodes-{number}-{name}") if folder.exists()]
    spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split()
    found += [space for space in spaces if space == network.namespace(number, name)]
    mounts = Path("/proc/mounts").read_text().splitlines()
    found += [line for line in mounts if f"{fleet.BASE}/{number}/nodes/{name}/" in line]
    with contextlib.suppress(BlockingIOError):
        taken = fleet._locked(number)
        links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
        bridge = network.bridge(number)
        found += [line for line in links.splitlines() if line.startswith((f"{bridge} ", f"{bridge}p"))]
        found += [str(path) for path in fleet.BASE.glob(f"{number}/**/*")][:1]
        taken.lock.close()
    return found


@pytest.mark.parametrize(("name", "codename"), [("twelve", "bookworm"), ("thirteen", "trixie")])
def test_a_node_is_the_debian_that_it_says(nodes: Fleet, name: str, codename: str) -> None:
    node = nodes[name]
    assert f"VERSION_CODENAME={codename}" in node.run(["cat", "/etc/os-release"]).stdout
    assert node.run(["hostname"]).stdout.strip() == name
    assert node.run(["ps", "-o", "comm=", "-p", "1"]).stdout.strip() == "systemd"
    assert node.run(["systemctl", "is-system-running"]).stdout.strip() == "running"


def test_nodes_are_told_apart(nodes: Fleet) -> None:
    ids = {node.run(["cat", "/etc/machine-id"]).stdout for node in nodes.nodes.values()}
    assert len(ids) == 2
    assert all(len(each) == 33 for each in ids)
    seen = {node.run(["systemctl", "show", "--property=InvocationID", "ssh"]).stdout for node in nodes.nodes.values()}
    assert len(seen) == 2


def test_nodes_reach_each_other_by_name(nodes: Fleet) -> None:
    ask = "import socket; print(socket.create_connection(('thirteen', 22), 5).recv(7).decode())"
    assert nodes["twelve"].run(["python3", "-c", ask]).stdout.strip() == "SSH-2.0"


def test_ssh_lets_us_in_as_root(nodes: Fleet) -> None:
    for name in nodes.nodes:
        done = subprocess.run(
            nodes.ssh(name, "id", "-un", "&&", "hostname"), capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == ["root", name]


def test_the_account_is_what_podman_needs(node: Node) -> None:
    found = node.run(["sh", "-c", "id -u; id -nG; loginctl show-user mcp --property=Linger --value; pwd"], user="mcp")
    uid, groups, linger, home = found.stdout.splitlines()
    assert (uid, home, linger) == (str(UID), "/srv/mcp", "yes")
    assert groups.split() == ["mcp", "systemd-journal"]
    node.add_account()  # once more changes nothing
    assert node.run(["sh", "-c", "cat /etc/subuid /etc/subgid"]).stdout.count("mcp:") == 2


def test_a_command_that_fails_says_so(node: Node) -> None:
    with pytest.raises(HostError, match="`false --x` as mcp failed with 1"):
        node.run(["false", "--x"], user="mcp")
    with pytest.raises(HostError, match="took longer than"):
        node.run(["sleep", "111"], timeout=0.5)
    wait_for(lambda: node.run(["pgrep", "-x", "sleep"], check=False).returncode == 1)


def test_containers_run_as_debian_has_them(node: Node) -> None:
    node.run(WEB, user="mcp")
    try:
        wait_for(lambda: "listening" in node.run(["podman", "logs", "web"], user="mcp").stdout)
        assert page(node) == b"mcp test image 1.0.0\n"
        info = node.run(["podman", "info", "--format", "{{.Host.LogDriver}} {{.Store.GraphDriverName}}"], user="mcp")
        assert info.stdout.split() == ["journald", "overlay"]
        said = node.run(["journalctl", "--output=cat", "CONTAINER_NAME=web"], user="mcp").stdout
        assert "web 1.0.0: listening on port 8080" in said
        node.run(["podman", "network", "create", "between"], user="mcp")
        other = ["podman", "run", "--rm", "--network", "between", "localhost/mcp-web:1.0.0", "echo", "hello"]
        assert node.run(other, user="mcp").stdout == "hello\n"
    finally:
        node.run(["podman", "rm", "--force", "--time", "0", "web"], user="mcp")


@pytest.mark.parametrize("graceful", [True, False])
def test_a_reboot_keeps_the_disk_and_nothing_else(node: Node, graceful: bool) -> None:
    before = node.run(["cat", "/proc/sys/kernel/random/boot_id", "/etc/machine-id"]).stdout
    node.write("/srv/mcp/kept", "kept\n", owner="mcp", mode=0o600)
    node.run(["touch", "/run/lost"])
    node.run([*WEB[:3], "--name", "rebooted", "localhost/mcp-web:1.0.0"], user="mcp")
    node.reboot(graceful=graceful)
    assert node.run(["cat", "/srv/mcp/kept"], user="mcp").stdout == "kept\n"
    assert node.run(["stat", "-c", "%U:%G %a", "/srv/mcp/kept"]).stdout == "mcp:mcp 600\n"
    assert node.run(["test", "-e", "/run/lost"], check=False).returncode == 1
    assert node.run(["cat", "/etc/machine-id"]).stdout in before
    running = node.run(["podman", "ps", "--quiet"], user="mcp")
    assert running.stdout == ""
    node.run(["podman", "rm", "--force", "rebooted"], user="mcp")


def test_fleets_do_not_get_in_each_others_way(nodes: Fleet) -> None:
    with fleet.create({LONE: "12"}, account=False) as other:
        assert other.number != nodes.number
        assert other[LONE].run(["id", "mcp"], check=False).returncode == 1
        assert nodes["twelve"].run(["id", "-u", "mcp"]).stdout.strip() == str(UID)
    assert traces(other.number, LONE) == []
    assert nodes["twelve"].run(["hostname"]).stdout.strip() == "twelve"


def test_what_a_killed_run_left_the_next_one_removes() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, LONE], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    number = int(owner.stdout.readline())
    owner.send_signal(signal.SIGKILL)
    owner.wait(10)
    fleet.sweep()  # or it was another run beside this one that has removed it
    wait_for(lambda: not traces(number, LONE), what="the removal of what was left")


def test_an_interrupted_run_removes_its_nodes_itself() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, LONE], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    number = int(owner.stdout.readline())
    owner.send_signal(signal.SIGINT)
    owner.wait(20)
    assert traces(number, LONE) == []


def test_a_kept_fleet_stays_until_it_is_to_go() -> None:
    nodes_py = [sys.executable, "-I", str(ROOT / "tools/nodes.py")]
    done = subprocess.run([*nodes_py, "up", f"{LONE}=13"], capture_output=True, text=True, check=True)
    words = done.stdout.split()
    config = words[words.index("-F") + 1]
    assert LONE not in fleet.sweep()
    said = subprocess.run(["ssh", "-F", config, LONE, "id", "-u", "mcp"], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(UID)
    number = int(Path(config).parent.name)
    assert f"Fleet {number} stays up" in done.stdout
    down = subprocess.run([*nodes_py, "down", str(number)], capture_output=True, text=True, check=True)
    assert down.stdout == f"removed {LONE}\n"
    assert traces(number, LONE) == []


@pytest.mark.parametrize("arguments", [["up", "rift=11"], ["up", "rift"], ["sideways"]])
def test_a_wrong_command_line_is_exit_2(arguments: list[str]) -> None:
    argv = [sys.executable, "-I", str(ROOT / "tools/nodes.py"), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_without_root_it_is_one_line() -> None:
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", "/usr/bin/python3", "-I"]
    done = subprocess.run([*argv, "tools/nodes.py", "up"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, os.geteuid()
    assert done.stderr == "nodes: only root can boot nodes\n"
