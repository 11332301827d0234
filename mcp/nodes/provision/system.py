"""Provisioning of the system: Debian, packages, and the account that podman runs as."""

import re
from dataclasses import dataclass

from mcp.config.configuration import Node
from mcp.nodes.agent_file import architecture
from mcp.nodes.layout import HOME, UID, USER, account_steps
from mcp.nodes.provision.steps import RemoteCommand, Steps
from mcp.nodes.ssh import Ssh
from mcp.shared.errors import McpError, NotReady, shown

RELEASES = ("12", "13")
PYTHON = (3, 11)
_COMMON = (
    *("podman", "crun", "uidmap", "netavark", "aardvark-dns", "catatonit", "python3"),
    *("dbus-user-session", "libpam-systemd", "ca-certificates", "libstdc++6"),
)
# netavark 1.4 runs iptables, that of Debian 13 runs nft; no package depends on either.
PACKAGES = {"12": (*_COMMON, "slirp4netns", "iptables"), "13": (*_COMMON, "passt", "nftables")}
INSTALL_SECONDS = 1800.0

# Package lists are updated only if needed: a node without a network may have all packages.
_INSTALL = """\
export DEBIAN_FRONTEND=noninteractive
set -- -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@"
apt-get "$@" 2>/dev/null || { apt-get -q -o DPkg::Lock::Timeout=300 update; apt-get "$@"; }
"""
_LOOK = """\
. /etc/os-release
echo "id $ID"
echo "release $VERSION_ID"
echo "machine $(uname -m)"
test ! -d /run/systemd/system || echo "systemd yes"
echo "addresses $(hostname -I 2>/dev/null)"
echo "account $(getent passwd "$1")"
"""
_PASSWD = re.compile(rf"{USER}(:[^:]*)(:[0-9]{{1,10}}){{2}}(:[^:]*){{3}}")
_NUMBER = re.compile("[0-9]{1,4}")
_ASK_PYTHON = "import sys; print(*sys.version_info[:2])"


@dataclass(frozen=True)
class SystemFacts:
    """Facts about a node: Debian release, architecture in MCP's terms, IP addresses; `account` is mcp's passwd line."""

    release: str
    arch: str
    addresses: tuple[str, ...]
    account: str

    @property
    def account_uid(self) -> int | None:
        """The UID of the user mcp, if it exists."""
        return int(self.account.split(":")[2]) if self.account else None


async def look(ssh: Ssh) -> SystemFacts:
    """Read the facts of a node; raises NotReady if it is unsupported."""
    node = ssh.node
    output = await ssh.check(["sh", "-c", _LOOK, "sh", USER])
    known = {key: value.strip() for key, _, value in (line.partition(" ") for line in output.splitlines())}
    system = f"{known.get('id', 'an unknown system')} {known.get('release', '')}".strip()
    if known.get("id") == "nixos":
        raise NotReady(f"{node.name} runs NixOS", "use the module in deploy/nixos instead")
    if known.get("id") != "debian" or known.get("release") not in RELEASES:
        raise NotReady(f"{node.name} runs {system}", "only Debian 12 and 13 are supported")
    if "systemd" not in known:
        raise NotReady(f"{node.name} does not run systemd", "the agent needs it: boot the node with systemd")
    arch = architecture(known.get("machine", ""))
    check_architecture(node, arch)
    return SystemFacts(known["release"], arch, tuple(known.get("addresses", "").split()), _account(node, known))


def _account(node: Node, known: dict[str, str]) -> str:
    """Return the passwd(5) line of mcp, or ""; raises McpError for anything else."""
    line = known.get("account", "")
    if line and not _PASSWD.fullmatch(line):
        raise McpError(f"invalid passwd entry of user {USER}: {shown(line)}", node=node.name)
    return line


def check_architecture(node: Node, arch: str) -> None:
    """Raise NotReady if mcp.toml has another architecture."""
    if node.arch and node.arch != arch:
        raise NotReady(f"{node.name} is {arch}, but mcp.toml has {node.arch}", f'correct it: arch = "{arch}"')


async def choose_uid(ssh: Ssh, facts: SystemFacts, wanted: int | None) -> int:
    """Return the UID of mcp: its current one, else `wanted`, which must be free; raises NotReady."""
    name, current = ssh.node.name, facts.account_uid
    gid = await _group_id(ssh)
    if current is not None:
        if facts.account.split(":")[5] != HOME:
            what = f"another user {USER} exists, whose home is not {HOME}"
            raise NotReady(what, "rename or remove it", node=name)
        if wanted not in (None, current):
            what = f"{USER} has the UID {current}, which cannot change"
            raise NotReady(what, "omit --uid", node=name)
        if (primary := int(facts.account.split(":")[3])) != gid:
            what = f"user {USER} has the primary GID {primary}, group {USER} has {gid or 'none'}"
            raise NotReady(what, f"make {USER} the primary group of {USER}", node=name)
        return current
    uid = UID if wanted is None else wanted
    if gid not in (None, uid):
        what = f"a group {USER} with the GID {gid} exists, but {USER} is to have the UID and GID {uid}"
        raise NotReady(what, f"rename or remove that group, or give --uid {gid}", node=name)
    for database, what in (("passwd", "UID"), ("group", "GID")):
        holder = (await ssh.run(["getent", database, str(uid)])).stdout.decode(errors="replace").partition(":")[0]
        if holder and (what, holder) != ("GID", USER):
            raise NotReady(f"{what} {uid} is {holder}'s", "choose a free one with --uid N", node=name)
    return uid


async def _group_id(ssh: Ssh) -> int | None:
    """Return the GID of the group mcp, or None."""
    fields = (await ssh.run(["getent", "group", USER])).stdout.decode(errors="replace").strip().split(":")
    return int(fields[2]) if len(fields) > 2 and fields[2].isdigit() else None


async def packages(steps: Steps, release: str) -> None:
    """Ensure the packages, with the node's own apt configuration; apt is not run if none is missing."""
    wanted = PACKAGES[release]
    argv = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Abbrev}\\n", *wanted]
    listed = (await steps.ssh.run(argv)).stdout.decode(errors="replace")
    present = {line.split()[0] for line in listed.splitlines() if line.split()[1:] == ["ii"]}
    missing = [name for name in wanted if name not in present]
    if not missing:
        steps.ok(f"packages: all {len(wanted)} are installed")
    else:
        what = f"packages: {' '.join(missing)}"
        install = ["sh", "-euc", _INSTALL, "sh", *missing]
        do = f"run `apt-get install {' '.join(missing)}` there, and check its mirror"
        await steps.change(what, RemoteCommand(install, seconds=INSTALL_SECONDS, name="apt-get", hint=do))
    if missing and steps.dry_run:
        return
    version = (await steps.ssh.check(["python3", "-I", "-c", _ASK_PYTHON])).split()
    numbers = tuple(int(word) for word in version if _NUMBER.fullmatch(word))
    if numbers < PYTHON:
        what = f"python3 is {'.'.join(version)}, the agent needs 3.11 or newer"
        raise McpError(what, node=steps.ssh.node.name)


async def account(steps: Steps, uid: int) -> None:
    """Ensure the user mcp, before podman ever runs as that user."""
    # all looked at before the first change, which may do some of the others: a dry run counts the same changes
    wanted = [(step, await steps.holds(step.done)) for step in account_steps(uid)]
    for step, is_done in wanted:
        if is_done:
            steps.ok(step.title)
        else:
            await steps.change(step.title, RemoteCommand(step.command, name=step.title))
