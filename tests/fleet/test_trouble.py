"""Nodes in trouble, shown as what they are: by `mcp ps` in one line each, and by the doctor; others beside them."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from agent.admin import pki
from agent.admin.pki import KeyPair, make_server_certificate
from tests.agents import Outcome
from tests.fleet import upgrades
from tests.fleet.install import PORT, Installed, install
from tests.fleet.upgrades import WEB, Upgrades, make
from tests.nodes import load_images
from tests.waiting import wait_for
from tools.nodelib import fleet as fleets
from tools.nodelib.fleet import Fleet
from tools.nodelib.node import Node

PODMAN_SECONDS = 3  # the agents' limit here
HANGS = "#!/bin/sh\nexec sleep 600\n"
COMPONENT = WEB[WEB.index("[[") :]
DISK = 400 * 1024**2  # bytes; the agent and its cache are a quarter of it


@pytest.fixture(scope="module")
def authority() -> KeyPair:
    return pki.make_ca("MCP test CA")


@pytest.fixture(scope="module")
def site(nodes: Fleet, authority: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> Upgrades:
    """Both nodes with an agent that runs a service each, and an operator with ssh."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upgrades, "make_ca", lambda _: authority)
        made = make(nodes, tmp_path_factory.mktemp("operator"))
    for name, node in nodes.nodes.items():
        node.run(["sh", "-c", f"echo 'runtime_timeout = \"{PODMAN_SECONDS}s\"' >>/srv/mcp/mcp-agent.toml"])
        node.run(["systemctl", "start", "mcp-agent.service"])
        (made.folder / "services" / f"web-{name}.toml").write_text(WEB.format(node=name))
        assert made.mcp("deploy", f"web-{name}").code == 0
    return made


def shown(site: Upgrades, code: int) -> tuple[Outcome, dict[str, str]]:
    """`mcp ps`, and the state of each node's row."""
    done = site.mcp("ps", "--json")
    assert done.code == code, done
    return done, {row["node"]: row["state"] for row in json.loads(done.stdout)}


def troubles(site: Upgrades, node: str, *, code: int = 1) -> dict[str, tuple[str, str]]:
    """What the doctor finds on a node that is not fine: check -> (level, what and what to do)."""
    done = site.mcp("doctor", "--json", node)
    assert done.code == code, done
    found = json.loads(done.stdout)[0]["findings"]
    return {
        each["check"]: (each["level"], f"{each['what']}; {each['do'] or ''}") for each in found if each["level"] != "ok"
    }


# --- podman ---


def test_podman_that_hangs(site: Upgrades) -> None:
    node = site.node("twelve")
    node.write("/usr/local/bin/podman", HANGS, mode=0o755)
    try:
        began = time.monotonic()
        done, states = shown(site, 1)
        assert time.monotonic() - began < PODMAN_SECONDS + 30
        assert states == {"twelve": "error", "thirteen": "running"}
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("mcp: twelve: podman ps")
        assert f"did not end within {PODMAN_SECONDS} s" in done.stderr

        deploy = site.mcp("deploy", "web-twelve")
        assert (deploy.code, len(deploy.stderr.splitlines())) == (1, 1), deploy
        assert f"did not end within {PODMAN_SECONDS} s" in deploy.stderr

        found = troubles(site, "twelve")
        assert found.keys() == {"podman", "agent-podman"}
        assert "podman does not respond: `podman info` as mcp did not end within 15 s" in found["podman"][1]
        assert "ssh twelve ps -u mcp" in found["podman"][1]
        assert f"did not end within {PODMAN_SECONDS} s" in found["agent-podman"][1]
    finally:
        node.run(["rm", "/usr/local/bin/podman"])
    assert shown(site, 0)[1] == {"twelve": "running", "thirteen": "running"}
    wait_for(lambda: node.run(["pgrep", "-u", "mcp", "-f", "^sleep 600$"], check=False).returncode == 1)


# --- nodes and agents that are not there ---


def test_a_node_that_nothing_leads_to_and_an_agent_that_is_stopped(site: Upgrades) -> None:
    config = site.cli.config
    kept, nowhere = config.read_text(), site.node("twelve").address.rpartition(".")[0] + ".99"
    config.write_text(f'{kept}[[nodes]]\nname = "nowhere"\naddress = "{nowhere}:{PORT}"\n')
    site.node("twelve").run(["systemctl", "stop", "mcp-agent.service"])
    try:
        done, states = shown(site, 4)
    finally:
        config.write_text(kept)
        site.node("twelve").run(["systemctl", "start", "mcp-agent.service"])
    assert states == {"twelve": "unreachable", "thirteen": "running", "nowhere": "unreachable"}
    errors = done.stderr.splitlines()
    assert len(errors) == 2
    assert "refuses the connection; check that mcp-agent runs there" in errors[0]
    assert errors[1].startswith(f"mcp: nowhere: {nowhere}:{PORT}")
    assert "No route to host" in errors[1] or "does not respond" in errors[1]


def test_a_token_that_has_expired(site: Upgrades) -> None:
    argv = ["/usr/bin/python3", "-I", upgrades.AGENT, "token", "add", "brief", "--expires", "1s"]
    token = site.node("thirteen").run(argv, user="mcp").stdout.strip()
    time.sleep(1.5)
    done = site.cli.run("ps", "--node", "thirteen", env={"MCP_TOKEN": token})
    assert (done.code, len(done.errors)) == (3, 1)
    assert "expired" in done.stderr
    looked = site.cli.run("doctor", "thirteen", env={"MCP_TOKEN": token})
    assert looked.code == 1
    assert "expired" in looked.stdout


# --- time ---


def shifted(days: int) -> type[datetime]:
    """A clock that is wrong by so many days: what a certificate looks like that was made then."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Shifted":
            moved = datetime.now(tz) + timedelta(days=days)
            return cls.fromtimestamp(moved.timestamp(), tz)

    return Shifted


@contextmanager
def certificate_of(node: Node, authority: KeyPair, days: int) -> Iterator[None]:
    """The agent shows a certificate that was made so many days from now, and was valid for 10."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pki, "datetime", shifted(days))
        pair = make_server_certificate(authority, [node.address], days=10)
    node.run(["cp", "-a", "/srv/mcp/certs", "/srv/mcp/certs.good"])
    node.write("/srv/mcp/certs/cert.pem", pair.certificate, owner="mcp")
    node.write("/srv/mcp/certs/key.pem", pair.key, owner="mcp", mode=0o600)
    restart(node)
    try:
        yield
    finally:
        node.run(["sh", "-c", "cd /srv/mcp && rm -r certs && mv certs.good certs"])
        restart(node)


def restart(node: Node) -> None:
    """Restart the agent; systemd counts how often, and would refuse."""
    node.run(["systemctl", "reset-failed", "mcp-agent.service"])
    node.run(["systemctl", "restart", "mcp-agent.service"])


@pytest.mark.parametrize(
    ("days", "words"), [(-20, "certificate has expired; renew it"), (2, "is not yet valid; a clock is wrong")]
)
def test_a_certificate_of_another_time(site: Upgrades, authority: KeyPair, days: int, words: str) -> None:
    with certificate_of(site.node("thirteen"), authority, days):
        done, states = shown(site, 4)
        assert states == {"twelve": "running", "thirteen": "unreachable"}
        assert len(done.stderr.splitlines()) == 1
        assert words in done.stderr
        found = troubles(site, "thirteen")
    assert found.keys() == {"agent"}
    assert words in found["agent"][1]


def test_a_certificate_that_ends_soon(site: Upgrades, authority: KeyPair) -> None:
    with certificate_of(site.node("thirteen"), authority, 0):
        assert shown(site, 0)[1] == {"twelve": "running", "thirteen": "running"}
        found = troubles(site, "thirteen", code=0)
    assert found.keys() == {"certificate"}
    assert "mcp node provision thirteen" in found["certificate"][1]


def test_a_clock_that_is_wrong(site: Upgrades) -> None:
    """A stand-in: all nodes have the machine's clock, so this one's `date` lies."""
    node = site.node("twelve")
    lies = '#!/bin/sh\nexec /bin/date --date="2 hours ago" "$@"\n'
    node.write("/usr/local/bin/date", lies, mode=0o755)
    try:
        found = troubles(site, "twelve")
    finally:
        node.run(["rm", "/usr/local/bin/date"])
    assert found.keys() == {"clock"}
    assert "the clock is 7200.0" in found["clock"][1].replace("7199.9", "7200.0")
    assert "behind this machine's" in found["clock"][1]
    assert "`ssh twelve timedatectl set-ntp true`" in found["clock"][1]


# --- the disk ---


@pytest.fixture(scope="module", params=["12", "13"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A node whose /srv is a small disk, with an agent that runs a service there."""
    with fleets.create({"small": str(request.param)}, account=False) as fleet:
        node = fleet["small"]
        mount_disk(node)
        node.add_account()
        load_images(node)
        made = install(node, tmp_path_factory.mktemp("operator"))
        made.systemctl("start", "mcp-agent.service")
        made.define("web", COMPONENT)
        made.mcp("deploy", "web")
        yield made


def mount_disk(node: Node) -> None:
    """Mount a file as a disk on /srv; it goes with the node, and so does its device."""
    file = node.folder / "disk"
    with file.open("wb") as disk:
        disk.truncate(DISK)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", file], check=True)
    argv = ["losetup", "--find", "--show", str(file)]
    device = Path(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip())
    try:
        number = device.name.removeprefix("loop")
        node.run(["sh", "-euc", 'mknod -m 600 "$1" b 7 "$2"; mount "$1" /srv', "sh", f"/dev/loop{number}", number])
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)  # once it is unmounted, if it is mounted


# One large file leaves some blocks, which the file system keeps for itself, and files of one block get.
FILL = """\
mkdir /srv/filler
cat /dev/zero >/srv/filler/most 2>/dev/null
for round in 1 2 3; do
    sync
    number=0
    while echo x >"/srv/filler/$round.$number"; do number=$((number + 1)); done 2>/dev/null
done
"""


def test_a_full_disk(small: Installed) -> None:
    node = small.node
    small.define("more", COMPONENT.replace("8080:8080", "8081:8080"))
    pid = small.pid
    node.run(["sh", "-c", FILL])
    try:
        done = small.cli.run("deploy", "-q", "more")
        assert done.code == 1
        assert len(done.stderr.splitlines()) == 1, done
        assert "disk is full" in done.stderr, done

        assert small.states()["web/web"] == "running"
        looked = small.cli.run("doctor", "small")
        assert looked.code == 1
        assert "the disk is full" in looked.stdout
        assert small.pid == pid, small.log()
    finally:
        node.run(["rm", "-r", "/srv/filler"])
    small.mcp("deploy", "more")
    assert small.states() == {"web/web": "running", "more/web": "running"}
    assert small.pid == pid
    assert "Traceback" not in small.log()
