"""A node that is set up, looked at, upgraded and removed by a user who becomes root by doas, by the built program.

The tests build on each other, as an operator's work does.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcp.shared.resources import ROOT
from tests.fleet.operator import Operator
from tests.nodes import boot_bare
from tools.nodelib.fleet import Fleet

# Nobody has subordinate IDs, and there is no sudo.
PREPARE = """\
useradd --create-home --shell /bin/bash deploy
cp -r /root/.ssh /home/deploy/
chown -R deploy: /home/deploy/.ssh
rm -f /etc/subuid /etc/subgid
echo "permit deploy as root" >/etc/doas.conf
mv /usr/bin/sudo /usr/bin/sudo.away
"""


@pytest.fixture(scope="module")
def bare() -> Iterator[Fleet]:
    """A node as debootstrap leaves it, with a user `deploy` whom doas asks for a password."""
    made = boot_bare({"rift": "12"})
    made["rift"].run(["sh", "-euc", PREPARE])
    yield made
    made.remove()


@pytest.fixture(scope="module")
def operator(bare: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Its operator, whose mcp.toml says doas."""
    made = Operator(tmp_path_factory.mktemp("operator"), bare)
    configure(made, bare, "doas")
    return made


def configure(operator: Operator, bare: Fleet, become: str) -> None:
    address = f"{bare['rift'].address}:9444"
    operator.write_config({"name": "rift", "address": address, "ssh": "deploy@rift", "sudo": become})


def test_without_the_right_to_it_nothing_is_done(operator: Operator, bare: Fleet) -> None:
    done = operator.cli.run("node", "provision", "rift", timeout=180)
    assert done.code == 1
    assert done.stderr.startswith(
        "mcp: rift: doas: Authentication required; doas cannot prompt for a password here: allow"
    )
    configure(operator, bare, "sudo")
    done = operator.cli.run("node", "provision", "rift", timeout=180)
    assert (done.code, done.stderr) == (
        1,
        "mcp: rift: sudo is not installed there; "
        "install it, or change how to become root there: sudo for rift in mcp.toml\n",
    )
    findings = json.loads(operator.cli.run("doctor", "--json").stdout)[0]["findings"]
    said = {each["check"]: each["what"] for each in findings if each["level"] != "ok"}
    assert said.keys() == {"token", "account", "sudo", "unit"}
    assert said["sudo"] == "sudo is not installed there"
    configure(operator, bare, "doas")
    assert bare["rift"].run(["getent", "passwd", "mcp"], check=False).returncode != 0


def test_what_cannot_have_a_certificate_is_refused_before_anything_is_done(
    operator: Operator, bare: Fleet, tmp_path: Path
) -> None:
    bare["rift"].write("/etc/doas.conf", "permit nopass deploy as root\n", mode=0o600)
    own = ("--cert", str(tmp_path / "own.pem"), "--key", str(tmp_path / "own.key"))
    authority = operator.config.parent / "ca.pem"
    authority.touch()
    try:
        for options, words in (((), "ca.key does not"), (own, "own.pem: cannot be read: No such file or directory")):
            done = operator.cli.run("node", "provision", "rift", *options, timeout=180)
            assert (done.code, done.stdout, words in done.stderr) == (1, "", True), done
    finally:
        authority.unlink()
    assert bare["rift"].run(["getent", "passwd", "mcp"], check=False).returncode != 0


def test_it_is_set_up_and_nothing_is_wrong_with_it(operator: Operator, bare: Fleet) -> None:
    done = operator.cli.run("node", "provision", "rift", timeout=180)
    assert done.code == 0, done
    assert bare["rift"].run(["sh", "-c", "cat /etc/subuid /etc/subgid"]).stdout == "mcp:100000:65536\n" * 2
    assert bare["rift"].run(["stat", "-c", "%a %U", "/etc/subuid"]).stdout == "644 root\n"
    assert operator.cli.run("node", "provision", "rift", timeout=180).stdout.endswith(
        "rift: ready, nothing to change\n"
    )
    assert operator.cli.run("doctor").stdout.startswith("1 node: 0 errors, 0 warnings, ")


def test_it_is_upgraded_and_rolled_back(operator: Operator) -> None:
    done = operator.cli.run("agent", "rollback", "rift")
    assert (done.code, "no previous agent /srv/mcp/mcp-agent.prev" in done.stderr) == (1, True)
    assert " upgraded\n" in operator.cli.run("agent", "upgrade", "--force", timeout=120).stdout
    assert " rolled back\n" in operator.cli.run("agent", "rollback", "rift", timeout=120).stdout


def test_nothing_is_left_of_it_after_what_the_documentation_says(bare: Fleet) -> None:
    text = (ROOT / "docs/provisioning.md").read_text()
    block = text.partition("## Removing a node")[2].partition("```console\n")[2].partition("```")[0].replace("\\\n", "")
    node = bare["rift"]
    assert len(block.splitlines()) == 5
    for line in block.splitlines():
        node.run(["sh", "-c", line.removeprefix("# ")])
    look = "getent passwd mcp; getent group mcp; grep mcp: /etc/subuid /etc/subgid; ps -u 850 -o args="
    assert node.run(["sh", "-c", look], check=False).stdout == ""
    left = "find /srv /etc /var/lib -path '*mcp*' ! -path '*/dpkg/*' ! -path '/etc/*doas*'; ls -d /run/user/850"
    assert node.run(["sh", "-c", left], check=False).stdout == ""
