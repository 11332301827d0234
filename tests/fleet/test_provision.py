"""`mcp node provision` on bare nodes, by the built program: Debian 12 as root, Debian 13 through sudo.

The tests build on each other, as an operator's work does, so that each node is set up once.
"""

import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp.nodes.layout import UID
from tests.agents import Outcome
from tests.fleet.operator import Operator
from tests.nodes import boot_bare, load_images
from tests.zipapps import PYTHON, built
from tools.nodelib.fleet import Fleet
from tools.nodelib.node import Node

PORT = 9444
CONFIG = "/srv/mcp/mcp-agent.toml"
# What a dry run might change: accounts, files, units, packages.
LOOK = """\
getent passwd; getent group; cat /etc/subuid /etc/subgid; dpkg-query -W
find /etc /srv /var/lib/systemd /root -xdev -printf '%p %m %U %s %T@\\n' | sort
systemctl list-units --all --plain --no-legend 'user@[1-9]*' 'mcp*'
"""
# A repository of one package, made again from what is installed: the nodes have no network.
MIRROR = """\
mkdir -p /var/mirror/new/DEBIAN
cd /var/mirror
dpkg-query --status catatonit | grep -v '^Status:' >new/DEBIAN/control
dpkg --listfiles catatonit | while read -r path; do if test -f "$path"; then cp --parents "$path" new; fi; done
dpkg-deb --build new catatonit.deb >&2
{ dpkg-deb --field catatonit.deb; echo "Filename: ./catatonit.deb"; echo "Size: $(stat -c %s catatonit.deb)"
echo "SHA256: $(sha256sum catatonit.deb | cut -d' ' -f1)"; } >Packages
dpkg --purge --force-depends catatonit >&2
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
"""


@pytest.fixture(scope="module")
def bare() -> Iterator[Fleet]:
    """Nodes as debootstrap leaves them: no user mcp."""
    made = boot_bare({"twelve": "12", "thirteen": "13"})
    yield made
    made.remove()


@pytest.fixture(scope="module")
def operator(bare: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """The operator of both nodes: root on twelve, and on thirteen `deploy`, who has sudo but no rights by it yet."""
    made = Operator(tmp_path_factory.mktemp("operator"), bare)
    thirteen = bare["thirteen"]
    thirteen.run(["useradd", "--create-home", "--shell", "/bin/sh", "deploy"])
    script = "install -d -m 0700 -o deploy /home/deploy/.ssh && install -m 0600 -o deploy $1 /home/deploy/.ssh/"
    thirteen.run(["sh", "-euc", script, "sh", "/root/.ssh/authorized_keys"])
    made.write_config(*tables(bare))
    return made


def tables(bare: Fleet, **more: str) -> list[dict[str, str]]:
    """The nodes for mcp.toml; `more` are keys of thirteen's."""
    twelve = {"name": "twelve", "address": f"{bare['twelve'].address}:{PORT}"}
    thirteen = {"name": "thirteen", "address": f"{bare['thirteen'].address}:{PORT}", "ssh": "deploy@thirteen"}
    return [twelve, {**thirteen, "sudo": "sudo", **more}]


def provision(operator: Operator, *arguments: str) -> Outcome:
    return operator.cli.run("node", "provision", *arguments, timeout=180)


def refused(outcome: Outcome, code: int) -> str:
    """The one line of an error with that exit code."""
    assert (outcome.code, len(outcome.errors)) == (code, 1), outcome
    return outcome.errors[0]


def states(outcome: Outcome) -> set[str]:
    """ok, changed, would change: what the steps were."""
    lines = outcome.stdout.splitlines()[:-1]
    return {line[:13].strip() for line in lines} - {""}


def titles(outcome: Outcome, state: str) -> list[str]:
    """The steps that were in a state."""
    return [line[14:] for line in outcome.stdout.splitlines() if line[:13].strip() == state]


def last_line(outcome: Outcome) -> str:
    return outcome.stdout.splitlines()[-1]


def page(node: Node) -> bytes:
    body: bytes = urllib.request.urlopen(f"http://{node.address}:8080/", timeout=5).read()
    return body


def look_at(node: Node, folder: str) -> str:
    """Everything in a folder, with owners and modes."""
    return node.run(["find", folder, "-printf", "%p %m %U %s %T@\\n"]).stdout


def snapshot(node: Node) -> str:
    return node.run(["sh", "-c", LOOK]).stdout


# --- what is refused, with nothing changed ---


def test_a_dry_run_shows_every_step_and_changes_nothing(bare: Fleet, operator: Operator) -> None:
    before, ours = snapshot(bare["twelve"]), sorted(operator.config.parent.iterdir())
    done = provision(operator, "twelve", "--dry-run")
    assert done.code == 0, done
    assert states(done) == {"ok", "would change"}
    assert last_line(done) == f"twelve: {len(titles(done, 'would change'))} changes would be made (dry run)"
    for command in (f"groupadd --system --gid {UID} mcp", "loginctl enable-linger mcp", "systemctl daemon-reload"):
        assert f"  {command}\n" in done.stdout
    assert done.stdout.index("enable-linger") < done.stdout.index("mcp-agent.new version")
    assert snapshot(bare["twelve"]) == before
    assert sorted(operator.config.parent.iterdir()) == ours


def test_a_uid_that_is_taken_is_refused(bare: Fleet, operator: Operator) -> None:
    before = snapshot(bare["twelve"])
    said = refused(provision(operator, "twelve", "--uid", "33"), 1)
    assert said == "mcp: twelve: UID 33 is www-data's; choose a free one with --uid N"
    assert snapshot(bare["twelve"]) == before


def test_a_group_of_that_name_with_another_gid_is_refused(bare: Fleet, operator: Operator) -> None:
    bare["twelve"].run(["groupadd", "--system", "--gid", "701", "mcp"])
    before = snapshot(bare["twelve"])
    said = refused(provision(operator, "twelve"), 1)
    assert said.startswith(
        f"mcp: twelve: a group mcp with the GID 701 exists, but mcp is to have the UID and GID {UID}"
    )
    assert snapshot(bare["twelve"]) == before
    bare["twelve"].run(["groupdel", "mcp"])


def test_the_wrong_architecture_is_refused(bare: Fleet, operator: Operator) -> None:
    operator.write_config(*tables(bare, arch="arm64"))
    bare["thirteen"].write("/etc/sudoers.d/deploy", "deploy ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
    said = refused(provision(operator, "thirteen"), 1)
    assert said == 'mcp: thirteen is amd64, but mcp.toml has arm64; correct it: arch = "amd64"'
    operator.write_config(*tables(bare))


def test_sudo_that_wants_a_password_is_one_line(bare: Fleet, operator: Operator) -> None:
    bare["thirteen"].write("/etc/sudoers.d/deploy", "deploy ALL=(ALL) ALL\n", mode=0o440)
    said = refused(provision(operator, "thirteen"), 1)
    assert said.startswith("mcp: thirteen: sudo: a password is required; sudo cannot prompt for a password here")
    operator.write_config(*tables(bare, sudo=""))
    assert "does not log in as root; set how" in refused(provision(operator, "thirteen"), 1)
    operator.write_config(*tables(bare))


def test_an_unknown_and_a_changed_host_key_are_refused(operator: Operator, bare: Fleet) -> None:
    good = operator.known_hosts.read_text()
    operator.known_hosts.write_text("")
    said = refused(provision(operator, "twelve"), 4)
    assert "Host key verification failed. Its host key is unknown; log in once by hand" in said
    keys = {line.split()[0]: line.split()[2] for line in good.splitlines()}
    other = keys[bare["thirteen"].address]
    operator.known_hosts.write_text(f"{bare['twelve'].address} ssh-ed25519 {other}\n")
    config = operator.ssh_config.read_text()
    for checking in ("yes", "no"):  # with "no" ssh warns, and goes on with a key
        operator.ssh_config.write_text(config.replace("HostKeyChecking yes", f"HostKeyChecking {checking}"))
        said = refused(provision(operator, "twelve"), 4)
        assert f"Its host key has changed: Offending ED25519 key in {operator.known_hosts}:1; if the node was" in said
    operator.ssh_config.write_text(config)
    operator.known_hosts.write_text(good)


def test_a_dead_host_and_a_login_by_password_only_are_refused(bare: Fleet, operator: Operator) -> None:
    dead = {"name": "dead", "address": "10.0.0.9:9444", "ssh": bare["twelve"].address.rpartition(".")[0] + ".99"}
    operator.write_config(*tables(bare), dead)
    began = time.monotonic()
    assert "connect to host" in refused(provision(operator, "dead"), 4)
    assert time.monotonic() - began < 60
    # not on Debian 13, whose sshd refuses everybody from here for a while after that
    locked = {"name": "locked", "address": f"{bare['twelve'].address}:{PORT}", "ssh": "nobody@twelve"}
    operator.write_config(*tables(bare), locked)
    assert "Permission denied (publickey,password).; log in with a key" in refused(provision(operator, "locked"), 4)
    operator.write_config(*tables(bare))


# --- Debian 12, as root ---


def test_a_bare_debian_12_becomes_a_node(bare: Fleet, operator: Operator) -> None:
    announced = titles(provision(operator, "twelve", "--dry-run"), "would change")
    done = provision(operator, "twelve")
    assert done.code == 0, done
    assert titles(done, "changed") == announced
    assert last_line(done) == f"twelve: ready, {len(announced)} changes"
    assert states(done) == {"ok", "changed"}
    assert "twelve responds on" in done.stdout
    node = bare["twelve"]
    modes = node.run(["stat", "-c", "%U %a", "/srv/mcp", "/srv/mcp/certs", "/srv/mcp/certs/key.pem", "/srv/mcp/mcp.db"])
    assert modes.stdout.split("\n")[:4] == ["mcp 750", "mcp 750", "mcp 600", "mcp 600"]
    for secret in ("ca.key", "token"):
        assert (operator.config.parent / secret).stat().st_mode & 0o777 == 0o600
    assert not node.run(["find", "/srv/mcp", "-name", "*.key"]).stdout  # the CA's key stays with the operator
    for user in ("root", "mcp"):
        listed = node.run(["sh", "-c", "cd / && mcp-agent token list"], user=user).stdout
        assert len(listed.splitlines()) == 2
    owners = node.run(["sh", "-c", "stat -c %U /srv/mcp/mcp.db* /srv/mcp/.cache/mcp; ls -d /root/.cache/mcp || true"])
    assert set(owners.stdout.split()) == {"mcp"}
    refused_by = node.run(["setpriv", "--reuid=nobody", "--clear-groups", "mcp-agent", "version"], check=False)
    assert (refused_by.returncode, refused_by.stderr) == (1, "mcp-agent: only root and mcp can run it\n")


def test_again_it_changes_nothing_and_says_so(bare: Fleet, operator: Operator) -> None:
    before = bare["twelve"].run(["systemctl", "show", "--property=InvocationID", "mcp-agent"]).stdout
    for arguments in ([], ["--dry-run"]):
        done = provision(operator, "twelve", *arguments)
        assert (done.code, states(done)) == (0, {"ok"}), done
        assert done.stdout.endswith("nothing to change\n")
    assert bare["twelve"].run(["systemctl", "show", "--property=InvocationID", "mcp-agent"]).stdout == before


def test_links_that_user_mcp_lays_lead_root_nowhere(bare: Fleet, operator: Operator) -> None:
    node = bare["twelve"]
    node.run(["install", "-d", "-m", "0755", "/etc/victim"])
    before = look_at(node, "/etc/victim")
    for path in ("certs", ".config"):
        node.run(["sh", "-euc", 'cd; mv "$1" own; ln -s /etc/victim "$1"', "sh", path], user="mcp")
        # as after the very first installation, where root would still choose the storage
        node.run(["sh", "-euc", "cd ~/.local/share/containers; mv storage kept"], user="mcp")
        assert "ermission" in refused(provision(operator, "twelve"), 1)
        node.run(["sh", "-euc", 'cd; rm "$1"; mv own "$1"', "sh", path], user="mcp")
        node.run(["sh", "-euc", "cd ~/.local/share/containers; mv kept storage"], user="mcp")
        assert look_at(node, "/etc/victim") == before
    assert states(provision(operator, "twelve")) == {"ok"}


def test_a_configuration_of_the_node_s_names_no_file_of_root_s(bare: Fleet, operator: Operator) -> None:
    node = bare["twelve"]
    good = node.run(["cat", CONFIG]).stdout
    for path, said in (("/etc/victim/cert.pem", "Permission denied"), ("-fprint", "are not absolute paths")):
        node.write(CONFIG, good.replace("/srv/mcp/certs/cert.pem", path), owner="mcp", mode=0o600)
        before = look_at(node, "/etc/victim")
        assert said in refused(provision(operator, "twelve"), 1)
        assert look_at(node, "/etc/victim") == before
    node.write(CONFIG, good, owner="mcp", mode=0o600)
    assert provision(operator, "twelve").code == 0


def test_a_run_logs_in_once_also_behind_a_jump_host(bare: Fleet, operator: Operator) -> None:
    host = f"Host inner\n  HostName {bare['twelve'].address}\n  ProxyJump thirteen\n\n"
    operator.ssh_config.write_text(host + operator.ssh_config.read_text())
    for name in ("twelve", "inner"):
        operator.write_config({"name": "twelve", "address": f"{bare['twelve'].address}:{PORT}", "ssh": name})
        before = logins(bare["twelve"])
        assert states(provision(operator, "twelve", "--dry-run")) == {"ok"}
        assert len(logins(bare["twelve"])) == len(before) + 1
    assert f" from {bare['thirteen'].address} port " in logins(bare["twelve"])[-1]
    operator.write_config(*tables(bare))


def logins(node: Node) -> list[str]:
    """What its sshd says of each: Accepted publickey for root from ADDRESS port PORT ssh2: ED25519 SHA256:..."""
    said = node.run(["journalctl", "--quiet", "--output=cat", "--unit=ssh", "--grep=Accepted publickey"], check=False)
    return said.stdout.splitlines()


def pushed_first(operator: Operator, node: Node) -> None:
    """A file is pushed, and a folder is mounted, before the service was ever deployed."""
    load_images(node)
    folder = operator.config.parent / "services"
    folder.mkdir(exist_ok=True)
    volumes = 'volumes = ["/srv/fresh/data:/data", "/srv/fresh/app.toml:/app.toml:ro"]'
    text = f'image = "localhost/mcp-worker:1.0.0"\n{volumes}\n'
    (folder / "fresh.toml").write_text(f'name = "fresh"\nnode = "{node.name}"\n[[components]]\nname = "fresh"\n{text}')
    done = operator.cli.run("push", str(folder / "fresh.toml"), "fresh/app.toml")
    assert (done.code, done.errors) == (0, []), done
    done = operator.cli.run("deploy", "-q", "fresh", timeout=120)  # the other nodes have no agent yet
    unknown = "mcp: warning: cannot tell which services still run on "
    assert (done.code, [line for line in done.errors if not line.startswith(unknown)]) == (0, []), done
    modes = node.run(["stat", "-c", "%U %a", "/srv/fresh", "/srv/fresh/data"]).stdout.split("\n")
    assert modes[:2] == ["mcp 700", "mcp 755"]
    assert node.run(["podman", "exec", "fresh", "cat", "/app.toml"], user="mcp").stdout.startswith('name = "fresh"')
    node.run(["install", "-d", "-m", "0755", "/srv/foreign"])
    assert node.run(["rmdir", "/srv/foreign"], user="mcp", check=False).returncode != 0
    assert operator.cli.run("undeploy", "fresh", timeout=120).code == 0


def test_a_push_and_a_mount_work_before_the_first_deploy(bare: Fleet, operator: Operator) -> None:
    pushed_first(operator, bare["twelve"])


def test_a_group_of_srv_that_somebody_has_chosen_stays(bare: Fleet, operator: Operator) -> None:
    node = bare["twelve"]
    node.run(["sh", "-euc", "chgrp www-data /srv && chmod g-w,-t /srv"])
    said = refused(provision(operator, "twelve"), 1)
    assert said.endswith("/srv is of the group www-data: allow mcp to create folders in it"), said
    node.run(["sh", "-euc", "chmod g+w /srv && usermod --append --groups www-data mcp"])
    assert states(provision(operator, "twelve")) == {"ok"}
    node.run(["sh", "-euc", "gpasswd --delete mcp www-data && chgrp root /srv"])
    assert states(provision(operator, "twelve")) == {"ok", "changed"}
    assert node.run(["stat", "-c", "%U %G %a", "/srv"]).stdout == "root mcp 1775\n"


def test_a_deploy_works_at_once(bare: Fleet, operator: Operator) -> None:
    node = bare["twelve"]
    load_images(node)
    operator.define("web", node)
    done = operator.cli.run("deploy", "-q", "web", timeout=120)
    assert done.code == 0, done
    assert page(node) == b"mcp test image 1.0.0\n"


def test_a_certificate_that_ends_soon_is_renewed_while_containers_run(bare: Fleet, operator: Operator) -> None:
    node, folder = bare["twelve"], operator.config.parent
    agent = ["/usr/bin/python3", "-I", "/srv/mcp/mcp-agent"]
    request = node.run([*agent, "cert", "request", "--key", "/srv/mcp/certs/key.pem", "twelve"], user="mcp").stdout
    ca = ["--ca", str(folder / "ca.pem"), "--ca-key", str(folder / "ca.key"), "--days", "10"]
    sign = [PYTHON, "-I", str(built("mcp-agent")), "cert", "sign", *ca, node.address]
    soon = subprocess.run(sign, input=request, capture_output=True, text=True, check=True).stdout
    node.write("/srv/mcp/certs/cert.pem", soon, owner="mcp")
    began = node.run(["podman", "inspect", "--format", "{{.State.StartedAt}}", "web"], user="mcp").stdout
    done = provision(operator, "twelve")
    assert done.code == 0, done
    changed = [line for line in done.stdout.splitlines() if line.startswith("changed")]
    assert [line.split()[1] for line in changed] == ["certificate", "the"], changed
    assert "in 9 days" in changed[0]
    assert "the agent is restarted; containers keep running" in changed[1]
    assert page(node) == b"mcp test image 1.0.0\n"
    assert node.run(["podman", "inspect", "--format", "{{.State.StartedAt}}", "web"], user="mcp").stdout == began
    assert states(provision(operator, "twelve")) == {"ok"}


def test_a_certificate_of_ones_own_must_be_for_the_node(bare: Fleet, operator: Operator, tmp_path: Path) -> None:
    agent = [PYTHON, "-I", str(built("mcp-agent")), "cert"]
    key, cert, folder = tmp_path / "own.key", tmp_path / "own.pem", operator.config.parent
    request = subprocess.run([*agent, "request", "--key", str(key), "x"], capture_output=True, check=True).stdout
    ca = ["--ca", str(folder / "ca.pem"), "--ca-key", str(folder / "ca.key")]
    own = ("--cert", str(cert), "--key", str(key))
    before = bare["twelve"].run(["sh", "-c", "sha256sum /srv/mcp/certs/*"]).stdout
    cert.write_bytes(subprocess.run([*agent, "sign", *ca, "x"], input=request, capture_output=True, check=True).stdout)
    assert f"does not cover {bare['twelve'].address}" in refused(provision(operator, "twelve", *own), 1)
    assert bare["twelve"].run(["sh", "-c", "sha256sum /srv/mcp/certs/*"]).stdout == before
    names = ["x", bare["twelve"].address]
    good = subprocess.run([*agent, "sign", *ca, *names], input=request, capture_output=True, check=True).stdout
    cert.write_bytes(good)
    done = provision(operator, "twelve", *own)
    assert (done.code, states(done)) == (0, {"ok", "changed"}), done
    assert bare["twelve"].run(["cat", "/srv/mcp/certs/cert.pem"]).stdout == good.decode()
    assert states(provision(operator, "twelve", *own)) == {"ok"}
    assert (
        refused(provision(operator, "twelve", "--cert", str(cert)), 2) == "mcp: --cert and --key must be given together"
    )


def test_another_operator_s_certificate_is_not_replaced_unasked(
    bare: Fleet, operator: Operator, tmp_path: Path
) -> None:
    other = Operator(tmp_path, bare)
    other.write_config(*tables(bare))
    before = bare["twelve"].run(["sh", "-c", "sha256sum /srv/mcp/certs/*"]).stdout
    assert "another authority than" in refused(provision(other, "twelve"), 1)
    assert bare["twelve"].run(["sh", "-c", "sha256sum /srv/mcp/certs/*"]).stdout == before
    assert not [*other.config.parent.glob("ca.*")]
    assert provision(other, "twelve", "--replace-certificate", "--account", "other").code == 0
    assert refused(provision(operator, "twelve"), 1)
    assert provision(operator, "twelve", "--replace-certificate").code == 0
    assert states(provision(operator, "twelve")) == {"ok"}


# --- Debian 13, through sudo, with a package from a mirror, and interrupted all the time ---


def test_a_missing_package_comes_from_the_node_s_own_mirror(bare: Fleet, operator: Operator) -> None:
    node = bare["thirteen"]
    node.write("/etc/sudoers.d/deploy", "deploy ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
    node.run(["sh", "-euc", MIRROR])
    assert "would change  packages: catatonit\n" in provision(operator, "thirteen", "--dry-run").stdout
    said = refused(provision(operator, "thirteen"), 1)
    assert said.startswith(
        "mcp: thirteen: apt-get: E: Package 'catatonit' has no installation candidate; "
        "run `apt-get install catatonit` there"
    ), said
    assert node.run(["id", "mcp"], check=False).returncode == 1
    node.write("/etc/apt/sources.list", "deb [trusted=yes] file:/var/mirror ./\n")


def test_killed_again_and_again_it_ends_as_a_node(bare: Fleet, operator: Operator) -> None:
    arguments = ("node", "provision", "thirteen", "--uid", "4321", "--account", "alice")
    for lines in (2, 4, 6, 9, 11, 12, 13, 14, 15, 17, 18, 19):
        run = operator.cli.popen(*arguments)
        assert run.stdout is not None
        for _ in range(lines):
            run.stdout.readline()
        run.kill()
        run.communicate(timeout=60)
    done = provision(operator, *arguments[2:])
    assert done.code == 0, done
    node = bare["thirteen"]
    assert node.user("mcp").uid == 4321
    assert node.run(["sh", "-c", "cat /etc/subuid /etc/subgid"]).stdout.count("mcp:") == 2
    assert not node.run(
        ["sh", "-c", "ls -A /srv/mcp /srv/mcp/certs | grep -E '^[^.].*[.][A-Za-z0-9]{6}$' || true"]
    ).stdout
    assert states(provision(operator, "thirteen")) == {"ok"}
    assert "--uid" in refused(provision(operator, "thirteen", "--uid", "4322"), 1)


def test_both_nodes_take_the_same_operator(bare: Fleet, operator: Operator) -> None:
    listed = operator.cli.run("node", "list")
    assert listed.code == 0, listed
    assert listed.stdout.count(" ready ") == 2
    assert "alice" in bare["thirteen"].run(["/srv/mcp/mcp-agent", "token", "list"], user="mcp").stdout


def test_a_push_and_a_deploy_work_through_sudo_as_well(bare: Fleet, operator: Operator) -> None:
    node = bare["thirteen"]
    pushed_first(operator, node)
    operator.define("web13", node)
    done = operator.cli.run("deploy", "-q", "web13", timeout=120)
    assert done.code == 0, done
    assert page(node) == b"mcp test image 1.0.0\n"


def test_an_agent_that_cannot_start_says_why(bare: Fleet, operator: Operator) -> None:
    node = bare["thirteen"]
    node.run(["sh", "-c", "echo 'nonsense = 1' >>/srv/mcp/mcp-agent.toml && systemctl stop mcp-agent"])
    said = refused(provision(operator, "thirteen"), 1)
    assert "the agent does not start: " in said
    assert "nonsense" in said
    node.run(["sed", "-i", "/nonsense/d", "/srv/mcp/mcp-agent.toml"])
    done = provision(operator, "thirteen")
    assert (done.code, states(done)) == (0, {"ok", "changed"}), done


def test_where_there_is_mcias_the_agent_is_told_of_it(bare: Fleet, operator: Operator) -> None:
    node = bare["thirteen"]
    node.run(["rm", "/srv/mcp/mcp-agent.toml"])
    operator.config.write_text(operator.config.read_text() + '\n[mcias]\nserver_url = "https://127.0.0.1:1"\n')
    said = refused(provision(operator, "thirteen"), 1)
    assert "cannot verify the token: MCIAS at 127.0.0.1:1 refuses" in said  # the agent answers, and cannot ask it
    assert 'server_url = "https://127.0.0.1:1"' in node.run(["cat", "/srv/mcp/mcp-agent.toml"]).stdout
    assert node.run(["systemctl", "is-active", "mcp-agent"]).stdout == "active\n"


def test_an_agent_that_does_not_run_there_is_not_installed(bare: Fleet, operator: Operator, tmp_path: Path) -> None:
    node = bare["thirteen"]
    node.run(["sh", "-c", "systemctl stop mcp-agent && rm /srv/mcp/mcp-agent"])
    operator.write_config(*tables(bare))
    node.write("/usr/local/bin/uname", "#!/bin/sh\necho aarch64\n", mode=0o755)
    said = refused(provision(operator, "thirteen", "--from", str(tmp_path)), 1)
    assert f"{tmp_path} has no agent for arm64; put mcp-agent-VERSION-linux-arm64.pyz there" in said
    other = built("mcp-agent", "arm64")
    for file in (other, built("mcp-agent")):
        (tmp_path / file.name).symlink_to(file)
    said = refused(provision(operator, "thirteen", "--from", str(tmp_path)), 1)
    assert said.startswith("mcp: thirteen: the agent does not start there: "), said
    assert "mcp-agent" not in node.run(["ls", "/srv/mcp"]).stdout.split("\n")
    assert "mcp-agent.new" not in node.run(["ls", "/srv/mcp"]).stdout.split("\n")
    node.run(["rm", "/usr/local/bin/uname"])


def test_a_token_that_was_revoked_on_the_node_is_not_registered_again(bare: Fleet, operator: Operator) -> None:
    node = bare["twelve"]
    names = [line.split()[0] for line in node.run(["mcp-agent", "token", "list"]).stdout.splitlines()[1:]]
    for name in names:
        node.run(["mcp-agent", "token", "revoke", name])
    said = refused(provision(operator, "twelve"), 1)
    assert "token: mcp-agent: this token, of " in said
    assert "was revoked on 20" in said
    assert "get a new one: `mcp-agent token add NAME` on a node" in said
    assert node.run(["mcp-agent", "token", "list"]).stdout.splitlines()[1:] == []
