"""The account that podman runs as: its subordinate IDs, its session, its groups, its storage."""

from collections.abc import Iterator
from dataclasses import dataclass

from mcp.nodes.doctor.model import Finding, There, error, ok, warning
from mcp.nodes.layout import USER

SUBIDS_NEEDED = 65536  # an image may have files of any UID of 16 bits


@dataclass(frozen=True)
class Range:
    """A line of subuid(5): NAME:FIRST:COUNT."""

    name: str
    first: int
    count: int

    @property
    def end(self) -> int:
        """The first ID that is not in it."""
        return self.first + self.count


def check(there: There) -> Iterator[Finding]:
    """Everything about the account; there is nothing to say of its details where there is none."""
    uid = there.uid
    if uid is None:
        yield error("account", f"there is no user {USER}", there.provision)
        return
    yield from _account(there, uid)
    yield from _linger(there)
    yield from _runtime_folder(there, uid)
    for section in ("subuid", "subgid"):
        yield from _subids(there, section, uid)
    yield from _journal(there)
    yield from _owner(there, uid)


def ranges(lines: list[str]) -> list[Range]:
    """The ranges of subuid(5) lines; what is none is passed over, as newuidmap does."""
    fields = (line.split(":") for line in lines)
    return [
        Range(each[0], int(each[1]), int(each[2]))
        for each in fields
        if len(each) == 3 and each[1].isdigit() and each[2].isdigit()
    ]


def _account(there: There, uid: int) -> Iterator[Finding]:
    same = [name for name, _, other in (line.partition(":") for line in there.lines("users")) if other == str(uid)]
    others = [name for name in same if name != USER]
    if others:
        what = f"UID {uid} of {USER} is also {', '.join(others)}'s, and newuidmap then refuses to work"
        yield error("account", what, "give the other account a UID of its own")
    else:
        yield ok("account", f"user {USER}, UID {uid}")


def _linger(there: There) -> Iterator[Finding]:
    if USER in there.lines("linger"):
        yield ok("linger", "lingering is on")
    else:
        what = f"lingering is off for {USER}: its containers end with its last session, and podman fails after a boot"
        yield error("linger", what, there.command("loginctl", "enable-linger", USER))


def _runtime_folder(there: There, uid: int) -> Iterator[Finding]:
    folder, owner = f"/run/user/{uid}", there.text("runtime")
    start = there.command("systemctl", "start", f"user@{uid}.service")
    if not owner:
        yield error("runtime-dir", f"{folder} is not there: {USER} has no session", start)
    elif owner != str(uid):
        yield error("runtime-dir", f"{folder} belongs to UID {owner}, not to {USER}", start)
    elif "bus" in there.said and not there.text("bus"):
        what = f"{folder}/bus is not there: podman cannot ask systemd for cgroups; dbus-user-session may be missing"
        yield error("runtime-dir", what, there.provision)
    else:
        yield ok("runtime-dir", folder)
    if there.values("unit").get("LoadState") == "loaded":
        yield from _unit_runtime(there, folder)


def _unit_runtime(there: There, folder: str) -> Iterator[Finding]:
    words = there.values("unit").get("Environment", "").split()
    said = next((word.partition("=")[2] for word in words if word.startswith("XDG_RUNTIME_DIR=")), "")
    if said == folder:
        yield ok("unit-runtime-dir", f"the unit has XDG_RUNTIME_DIR={folder}")
    else:
        what = f"the unit has XDG_RUNTIME_DIR={said or '(not set)'}, and it must be {folder}"
        yield error("unit-runtime-dir", what, there.provision)


def _subids(there: There, section: str, uid: int) -> Iterator[Finding]:
    path, every = f"/etc/{section}", ranges(there.lines(section))
    names = (USER, str(uid))
    own = [each for each in every if each.name in names]
    count = sum(each.count for each in own)
    clash = _overlap(own, every)
    if not own:
        yield error(section, f"{path} has no range for {USER}: podman can run no container", there.provision)
    elif clash is not None:
        what = f"{path}: {_text(clash[0])} overlaps {_text(clash[1])}, and newuidmap may refuse it"
        yield error(
            section, what, f"give one of the two another range in {path}, then `podman system migrate` as {USER}"
        )
    elif count < SUBIDS_NEEDED:
        what = f"{path} gives {USER} only {count} IDs: images with files of higher UIDs cannot be used"
        do = f"make it {SUBIDS_NEEDED} in {path}, then `podman system migrate` as {USER}"
        yield warning(section, what, do)
    else:
        yield ok(section, f"{path}: {count} IDs from {own[0].first}")


def _text(one: Range) -> str:
    return f"{one.name}:{one.first}:{one.count}"


def _overlap(own: list[Range], every: list[Range]) -> tuple[Range, Range] | None:
    """Two different lines that have an ID in common, of which the first is ours."""
    for mine in own:
        for other in every:
            if other is not mine and mine.first < other.end and other.first < mine.end:
                return mine, other
    return None


def _journal(there: There) -> Iterator[Finding]:
    if "systemd-journal" in there.text("groups").split():
        yield ok("journal-group", f"{USER} is in the group systemd-journal")
    else:
        what = f"{USER} is not in the group systemd-journal: logs of containers that log to the journal cannot be read"
        yield warning(
            "journal-group", what, there.command("/usr/sbin/usermod", "--append", "--groups", "systemd-journal", USER)
        )


def _owner(there: There, uid: int) -> Iterator[Finding]:
    owner = there.text("storage-owner")
    if owner and owner != str(uid):
        what = f"podman's storage belongs to UID {owner}, and {USER} is {uid} now: podman has lost its containers"
        do = f"give {USER} the UID {owner} again, or remove the storage and run `mcp agent recover {there.node.name}`"
        yield error("storage-owner", what, do)
    elif owner:
        yield ok("storage-owner", f"podman's storage belongs to UID {uid}")
