"""The machine set-up, for real: rootless podman, private storage, images, and the system roots."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from mcp.shared.resources import ROOT
from tests.component.processes import free_port
from tests.roots import Arm64, Root
from tests.waiting import wait_for
from tools import images
from tools.hostlib import account, private
from tools.hostlib.private import Private


def fetch(port: int) -> str:
    """The page on that port, or "" while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


def start(podman: Private, name: str, *options: str) -> None:
    """Start a container named and imaged so."""
    podman.run(["podman", "run", "--detach", "--name", name, *options, images.image(name).reference])


def inspect(podman: Private, name: str, template: str) -> str:
    """One value of `podman inspect`."""
    return podman.run(["podman", "inspect", "--format", template, name]).stdout.strip()


def test_podman_is_rootless(rootless: Private) -> None:
    answer = rootless.run(["podman", "info", "--format", "{{.Host.Security.Rootless}} {{.Store.GraphRoot}}"])
    assert answer.stdout.split() == ["true", str(rootless.storage)]
    assert rootless.uid != 0


def test_environment_is_clean(rootless: Private, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/tmp/leaks")
    monkeypatch.setenv("CONTAINER_HOST", "unix:///leaks")
    variables = dict(line.split("=", 1) for line in rootless.run(["env"]).stdout.splitlines())
    assert variables == dict(rootless.env)
    assert variables["HOME"] == str(rootless.home)


def test_logs_are_readable_as_a_k8s_file(rootless: Private) -> None:
    start(rootless, "web")
    log = Path(inspect(rootless, "web", "{{.HostConfig.LogConfig.Path}}"))
    wait_for(lambda: " stderr F web: warning 5\n" in log.read_text())
    first = log.read_text().splitlines()[0]
    assert first[35:] == " stdout F web 1.0.0: listening on port 8080"


@pytest.mark.parametrize("network", ["", "mcpnet"])
def test_published_port_answers_on_loopback(rootless: Private, network: str) -> None:
    if network:
        rootless.run(["podman", "network", "create", network])
    port = free_port()
    options = ["--network", network] if network else []
    start(rootless, "web", "--env", "PORT=1234", "--publish", f"127.0.0.1:{port}:1234", *options)
    wait_for(lambda: fetch(port) == "mcp test image 1.0.0\n")


def test_containers_of_one_network_find_each_other_by_name(rootless: Private) -> None:
    rootless.run(["podman", "network", "create", "names"])
    start(rootless, "web", "--network", "names")
    start(rootless, "worker", "--network", "names")
    rootless.run(["podman", "exec", "worker", "wget", "-q", "-O", "-", "http://web:8080/"])


def test_programs_end_as_they_should(rootless: Private) -> None:
    for name in ("fail", "brief", "stubborn", "worker"):
        start(rootless, name)
    wait_for(lambda: inspect(rootless, "fail", "{{.State.Status}} {{.State.ExitCode}}") == "exited 3")
    wait_for(lambda: inspect(rootless, "brief", "{{.State.Status}} {{.State.ExitCode}}") == "exited 0")
    rootless.run(["podman", "stop", "--time", "10", "worker"])
    assert inspect(rootless, "worker", "{{.State.ExitCode}}") == "0"
    rootless.run(["podman", "stop", "--time", "1", "stubborn"])
    assert inspect(rootless, "stubborn", "{{.State.ExitCode}}") == "137"


def test_health_check_follows_the_container(rootless: Private) -> None:
    done = rootless.run(["podman", "run", "--detach", "--name", "health", images.image("health").reference])
    assert done.stderr == ""
    check = ["podman", "healthcheck", "run", "health"]
    wait_for(lambda: rootless.run(check, check=False).returncode == 0)
    rootless.run(["podman", "exec", "health", "rm", "/run/healthy"])
    assert rootless.run(check, check=False).returncode == 1


def test_another_version_is_another_image(rootless: Private) -> None:
    newer = images.build(rootless, "web", "1.1.0")
    assert newer == "localhost/mcp-web:1.1.0"
    ids = [inspect(rootless, each, "{{.Id}}") for each in (newer, images.image("web").reference)]
    assert len(set(ids)) == 2


def test_private_podman_is_separate_and_leaves_nothing(rootless: Private) -> None:
    rootless.run(["podman", "create", "--name", "bystander", images.image("web").reference])
    with private.create() as other:
        assert other.run(["podman", "ps", "--all", "--quiet"]).stdout == ""
        assert other.run(["podman", "images", "--quiet"]).stdout == ""
        images.build(other, "web")
        other.run(["podman", "network", "create", "n"])
        start(other, "web", "--network", "n", "--publish", f"127.0.0.1:{free_port()}:8080")
        assert len(other.processes()) >= 4  # pause, conmon, the container, its network's
    other.remove()  # once more is harmless
    assert other.processes() == []
    assert not other.dir.exists()
    assert not other.runtime.exists()
    assert inspect(rootless, "bystander", "{{.State.Status}}") == "created"


def test_next_run_sweeps_what_a_killed_one_left(rootless: Private) -> None:
    code = """
import sys, time
from tools import images
from tools.hostlib import private
podman = private.create()
podman.run(["podman", "run", "--detach", images.build(podman, "stubborn")])
print(podman.dir.name, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        name = run.stdout.readline().strip()
        assert name
        assert name not in private.sweep(), "it is in use"
        run.send_signal(signal.SIGKILL)
    assert (rootless.dir.parent / name).is_dir()
    assert name in private.sweep()
    assert not (rootless.dir.parent / name).exists()
    assert rootless.dir.is_dir()


def test_ensure_is_quiet_and_quick_when_all_is_there() -> None:
    done = subprocess.run(
        ["/usr/bin/python3", str(ROOT / "tools/host.py"), "ensure", "--for", "test"],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("ranges", "first"),
    [
        ([], 100_000),
        ([("a", 100_000, 65536)], 165_536),
        ([("b", 165_536, 65536), ("a", 100_000, 65536)], 231_072),
        ([("a", 120_000, 10)], 120_010),
        ([("a", 165_536, 65536)], 100_000),
        ([("a", 1, 4_000_000)], 4_000_001),
    ],
)
def test_free_range_overlaps_no_other(ranges: list[tuple[str, int, int]], first: int) -> None:
    assert account.free_range(ranges) == first


def test_subordinate_ids_are_parsed() -> None:
    text = "a:100000:65536\n\nbroken\n1000:165536:65536\nc:x:y\n"
    assert account.subordinate(text) == [("a", 100_000, 65536), ("1000", 165_536, 65536)]


def test_debian13_is_another_system(debian13: Root, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from outside")
    code = "import os, sys; print(sys.version_info[:2], os.getuid(), os.getcwd(), open('in').read())"
    done = debian13.run(["python3", "-I", "-c", code], binds={tmp_path: "/mnt/work"}, cwd="/mnt/work")
    assert (done.stdout, done.stderr) == ("(3, 13) 0 /mnt/work from outside\n", "")


def test_debian13_cannot_be_changed_from_inside(debian13: Root) -> None:
    assert debian13.run(["touch", "/usr/x"]).returncode != 0
    assert debian13.run(["touch", "/srv/x"], uid=1000).returncode == 0
    assert not (debian13.path / "srv/x").exists()
    with pytest.raises(ValueError, match="/etc/x is not below"):
        debian13.argv(["true"], binds={Path("/tmp"): "/etc/x"})


def test_debian13_reaches_loopback_of_the_host(debian13: Root) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('localhost', {port}), 5); print('through')"
        assert debian13.run(["python3", "-c", code]).stdout == "through\n"


def test_arm64_really_runs(arm64: Arm64, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import platform, sys; print(platform.machine(), sys.argv[1:])")
    done = subprocess.run(arm64.argv(program, ["a b"]), capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("aarch64 ['a b']\n", "")


def test_no_mounts_are_left_on_the_host(debian13: Root, rootless: Private) -> None:
    debian13.run(["true"])
    mounts = Path("/proc/self/mountinfo").read_text()
    assert os.fspath(debian13.path) not in mounts
    assert os.fspath(rootless.dir) not in mounts


# Serves on a link-local address of a network of its own, and asks itself what it is, by three spellings of the address.
LINK_LOCAL = """
from concurrent.futures import ThreadPoolExecutor
from agent.admin.pki import make_ca, make_server_certificate
from mcp.client.agent import AgentClient
from mcp.config.configuration import Node
import grpc
from proto.mcp.v1 import mcp_pb2 as pb, mcp_pb2_grpc

class Agent(mcp_pb2_grpc.McpAgentServiceServicer):
    def NodeStatus(self, request, context):
        return pb.NodeStatusResponse(node_name="rift")

ca = make_ca("test")
pair = make_server_certificate(ca, ["fe80::9"])
server = grpc.server(ThreadPoolExecutor(1))
mcp_pb2_grpc.add_McpAgentServiceServicer_to_server(Agent(), server)
port = server.add_secure_port("[::]:0", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
server.start()
for host in ("[fe80::9%v0]", "[fe80::9%25v0]", "fe80::9%v0"):
    with AgentClient(Node("rift", f"{host}:{port}"), ca.certificate, "token") as agent:
        print(agent.node_status().node_name)
server.stop(None)
"""
NETWORK = (
    "ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v1 up && ip link set v0 up && "
    'ip address add fe80::9/64 dev v0 nodad && exec "$@"'
)


def test_a_link_local_address_with_its_zone() -> None:
    namespaces = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", NETWORK, "sh"]
    done = subprocess.run(
        [*namespaces, sys.executable, "-c", LINK_LOCAL], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "rift\n" * 3, "")
