"""Set-up of the account `mcp` on Debian: ordered commands that root runs on the node.

podman pins its folders at the user's very first command, so all of this must precede it.
"""

from dataclasses import dataclass

USER = "mcp"
HOME = "/srv/mcp"
UID = 850  # a system account's (below 1000), outside the range that Debian's tools assign first

# Beyond all existing ranges: newuidmap refuses overlapping ones. useradd assigns no range to system users.
_SUBIDS = """\
for each in /etc/subuid /etc/subgid; do test -e "$each" || install -m 0644 /dev/null "$each"; done
first=$(awk -F: 'BEGIN { end = 100000 } $2 + $3 > end { end = $2 + $3 } END { print end }' /etc/subuid /etc/subgid)
usermod --add-subuids "$first-$((first + 65535))" --add-subgids "$first-$((first + 65535))" "$1"
"""

# Debian 12's podman would choose vfs, which copies the whole image for each container. The choice is permanent, so
# existing storage and existing configuration are left alone. Written as the user, since root would follow symbolic
# links in the user's home.
_STORAGE_CHOSEN = (
    "for path in /etc/containers/storage.conf ~/.config/containers/storage.conf ~/.local/share/containers/storage; do "
    'test ! -e "$path" || exit 0; done; exit 1'
).replace("~", HOME)
_CHOOSE_STORAGE = f"""\
install -d -m 0750 {HOME}/.config {HOME}/.config/containers
printf '[storage]\\ndriver = "overlay"\\n' >{HOME}/.config/containers/storage.conf
"""


# Sticky, so that mcp can create folders in /srv, but not remove those of others. Debian's own tmpfiles.d/home.conf sets
# mode 0755 at each boot; of two lines for a path the first counts, in the order of the files' names.
TMPFILES = "/etc/tmpfiles.d/00-mcp.conf"
_SERVICES_ROOT_DONE = f"""\
runuser -u {USER} -- test -w /srv || exit 1
case $(stat -c %G /srv) in root|{USER}) test -e {TMPFILES};; esac
"""
_SERVICES_ROOT = f"""\
group=$(stat -c %G /srv 2>/dev/null || echo root)
case $group in
root|{USER}) ;;
*) echo "/srv is of the group $group: allow {USER} to create folders in it" >&2; exit 1;;
esac
install -d -m 0755 /etc/tmpfiles.d
echo 'd /srv 1775 root {USER} -' >{TMPFILES}
systemd-tmpfiles --create {TMPFILES}
"""


@dataclass(frozen=True)
class Step:
    """A step of the set-up; `command` is not needed if `done` exits with 0."""

    title: str
    done: tuple[str, ...]
    command: tuple[str, ...]


def account_steps(uid: int = UID) -> list[Step]:
    """Return the repeatable steps for a UID, which must be free or that of mcp."""
    return [
        Step(
            f"group {USER}",
            ("getent", "group", USER),
            ("groupadd", "--system", "--gid", str(uid), USER),
        ),
        Step(
            f"user {USER}, UID {uid}, home {HOME}",
            ("sh", "-c", f'test "$(id -u {USER})" = {uid}'),
            (
                *("useradd", "--system", "--uid", str(uid), "--gid", USER, "--home-dir", HOME, "--no-create-home"),
                *("--shell", "/bin/bash", "--comment", "MCP agent", USER),
            ),
        ),
        Step(
            f"folder {HOME}",
            ("sh", "-c", f'test "$(stat -c %U:%a {HOME})" = {USER}:750'),
            ("install", "-d", "-m", "0750", "-o", USER, "-g", USER, HOME),
        ),
        Step(
            "/srv, where the agent creates the folders of services",
            ("sh", "-c", _SERVICES_ROOT_DONE),
            ("sh", "-euc", _SERVICES_ROOT),
        ),
        Step(
            "podman's storage driver: overlay",
            ("sh", "-c", _STORAGE_CHOSEN),
            ("runuser", "-u", USER, "--", "sh", "-euc", _CHOOSE_STORAGE),
        ),
        Step(
            "subordinate UIDs and GIDs",
            ("sh", "-c", f"grep -q ^{USER}: /etc/subuid && grep -q ^{USER}: /etc/subgid"),
            ("sh", "-euc", _SUBIDS, "sh", USER),
        ),
        Step(
            "group systemd-journal, to read journald logs of containers",
            ("sh", "-c", f"id -nG {USER} | grep -qw systemd-journal"),
            ("usermod", "--append", "--groups", "systemd-journal", USER),
        ),
        Step(
            "lingering, so that containers run without a login session",
            ("test", "-e", f"/var/lib/systemd/linger/{USER}"),
            ("loginctl", "enable-linger", USER),
        ),
        Step(
            "the session",
            ("test", "-S", f"/run/user/{uid}/bus"),
            ("systemctl", "start", f"user@{uid}.service"),
        ),
    ]
