"""What makes a Debian system a node: the account `mcp`, as commands that root runs there, in this order.

podman pins its folders at the very first command of the user, so all of this comes before it.
"""

from dataclasses import dataclass

USER = "mcp"
HOME = "/srv/mcp"
UID = 850  # below 1000 as a system account's, and not where Debian's tools look for free ones first

# Past the end of every range that is there: newuidmap refuses ranges that overlap. useradd gives system users none.
_SUBIDS = """\
for each in /etc/subuid /etc/subgid; do test -e "$each" || install -m 0644 /dev/null "$each"; done
first=$(awk -F: 'BEGIN { end = 100000 } $2 + $3 > end { end = $2 + $3 } END { print end }' /etc/subuid /etc/subgid)
usermod --add-subuids "$first-$((first + 65535))" --add-subgids "$first-$((first + 65535))" "$1"
"""

# Debian 12's podman would take vfs, which copies the whole image for each container. Its choice is for ever, so
# storage that is there already is left alone, and so is what somebody has configured. Written as the user: root
# would follow whatever links there are in the user's home.
_STORAGE_CHOSEN = (
    "for path in /etc/containers/storage.conf ~/.config/containers/storage.conf ~/.local/share/containers/storage; do "
    'test ! -e "$path" || exit 0; done; exit 1'
).replace("~", HOME)
_CHOOSE_STORAGE = f"""\
install -d -m 0750 {HOME}/.config {HOME}/.config/containers
printf '[storage]\\ndriver = "overlay"\\n' >{HOME}/.config/containers/storage.conf
"""


@dataclass(frozen=True)
class Step:
    """One step of the set-up: `command` makes it so, and is not needed where `done` ends with 0."""

    title: str
    done: tuple[str, ...]
    command: tuple[str, ...]


def account_steps(uid: int = UID) -> list[Step]:
    """The steps for that UID, which must be free or mcp's own already; each can be repeated."""
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
            "group systemd-journal, to read the logs of containers that log to the journal",
            ("sh", "-c", f"id -nG {USER} | grep -qw systemd-journal"),
            ("usermod", "--append", "--groups", "systemd-journal", USER),
        ),
        Step(
            "lingering, so that containers have a session of their own",
            ("test", "-e", f"/var/lib/systemd/linger/{USER}"),
            ("loginctl", "enable-linger", USER),
        ),
        Step(
            "the session",
            ("test", "-S", f"/run/user/{uid}/bus"),
            ("systemctl", "start", f"user@{uid}.service"),
        ),
    ]
