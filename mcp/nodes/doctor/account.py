"""Checks of the account that podman runs as: subordinate IDs, session, groups, storage."""

from collections.abc import Iterator
from dataclasses import dataclass

from mcp.nodes.doctor.model import Finding, Inspection, error, ok, warning
from mcp.nodes.layout import USER

SUBIDS_NEEDED = 65536  # images may contain files of any 16-bit UID


@dataclass(frozen=True)
class Range:
    """A line of subuid(5): NAME:FIRST:COUNT."""

    name: str
    first: int
    count: int

    @property
    def end(self) -> int:
        """The first ID after the range."""
        return self.first + self.count


def check(inspection: Inspection) -> Iterator[Finding]:
    """Check the account and, if it exists, its details."""
    uid = inspection.uid
    if uid is None:
        yield error("account", f"user {USER} does not exist", inspection.provision)
        return
    yield from _account(inspection, uid)
    yield from _linger(inspection)
    yield from _runtime_folder(inspection, uid)
    for section in ("subuid", "subgid"):
        yield from _subids(inspection, section, uid)
    yield from _journal(inspection)
    yield from _owner(inspection, uid)


def ranges(lines: list[str]) -> list[Range]:
    """Parse subuid(5) lines, skipping invalid ones as newuidmap does."""
    fields = (line.split(":") for line in lines)
    return [
        Range(each[0], int(each[1]), int(each[2]))
        for each in fields
        if len(each) == 3 and each[1].isdigit() and each[2].isdigit()
    ]


def _account(inspection: Inspection, uid: int) -> Iterator[Finding]:
    same = [name for name, _, other in (line.partition(":") for line in inspection.lines("users")) if other == str(uid)]
    others = [name for name in same if name != USER]
    if others:
        what = f"{USER} shares UID {uid} with {', '.join(others)}, so newuidmap fails"
        yield error("account", what, "change the UID of the other account")
    else:
        yield ok("account", f"user {USER}, UID {uid}")


def _linger(inspection: Inspection) -> Iterator[Finding]:
    if USER in inspection.lines("linger"):
        yield ok("linger", "lingering is on")
    else:
        what = f"lingering is off for {USER}: containers end with its last session, and podman fails after a reboot"
        yield error("linger", what, inspection.command("loginctl", "enable-linger", USER))


def _runtime_folder(inspection: Inspection, uid: int) -> Iterator[Finding]:
    folder, owner = f"/run/user/{uid}", inspection.text("runtime")
    start = inspection.command("systemctl", "start", f"user@{uid}.service")
    if not owner:
        yield error("runtime-dir", f"{folder} does not exist: {USER} has no session", start)
    elif owner != str(uid):
        yield error("runtime-dir", f"{folder} belongs to UID {owner}, not to {USER}", start)
    elif "bus" in inspection.said and not inspection.text("bus"):
        what = f"{folder}/bus does not exist: podman cannot use systemd for cgroups; dbus-user-session may be missing"
        yield error("runtime-dir", what, inspection.provision)
    else:
        yield ok("runtime-dir", folder)
    if inspection.values("unit").get("LoadState") == "loaded":
        yield from _unit_runtime(inspection, folder)


def _unit_runtime(inspection: Inspection, folder: str) -> Iterator[Finding]:
    words = inspection.values("unit").get("Environment", "").split()
    said = next((word.partition("=")[2] for word in words if word.startswith("XDG_RUNTIME_DIR=")), "")
    if said == folder:
        yield ok("unit-runtime-dir", f"the unit has XDG_RUNTIME_DIR={folder}")
    else:
        what = f"the unit has XDG_RUNTIME_DIR={said or '(not set)'}, expected {folder}"
        yield error("unit-runtime-dir", what, inspection.provision)


def _subids(inspection: Inspection, section: str, uid: int) -> Iterator[Finding]:
    path, every = f"/etc/{section}", ranges(inspection.lines(section))
    names = (USER, str(uid))
    own = [each for each in every if each.name in names]
    count = sum(each.count for each in own)
    clash = _overlap(own, every)
    if not own:
        yield error(section, f"{path} has no range for {USER}: podman cannot run containers", inspection.provision)
    elif clash is not None:
        what = f"{path}: {_text(clash[0])} overlaps {_text(clash[1])}, so newuidmap may fail"
        yield error(section, what, f"change one of the ranges in {path}, then run `podman system migrate` as {USER}")
    elif count < SUBIDS_NEEDED:
        what = f"{path} has only {count} IDs for {USER}: images with files of higher UIDs do not work"
        do = f"change it to {SUBIDS_NEEDED} in {path}, then run `podman system migrate` as {USER}"
        yield warning(section, what, do)
    else:
        yield ok(section, f"{path}: {count} IDs from {own[0].first}")


def _text(line: Range) -> str:
    return f"{line.name}:{line.first}:{line.count}"


def _overlap(own: list[Range], every: list[Range]) -> tuple[Range, Range] | None:
    """Return two overlapping lines of which the first is ours, or None."""
    for mine in own:
        for other in every:
            if other is not mine and mine.first < other.end and other.first < mine.end:
                return mine, other
    return None


def _journal(inspection: Inspection) -> Iterator[Finding]:
    if "systemd-journal" in inspection.text("groups").split():
        yield ok("journal-group", f"{USER} is in the group systemd-journal")
    else:
        what = f"{USER} is not in the group systemd-journal: journald logs of containers cannot be read"
        yield warning(
            "journal-group",
            what,
            inspection.command("/usr/sbin/usermod", "--append", "--groups", "systemd-journal", USER),
        )


def _owner(inspection: Inspection, uid: int) -> Iterator[Finding]:
    owner = inspection.text("storage-owner")
    if owner and owner != str(uid):
        what = f"podman's storage belongs to UID {owner}, but {USER} has UID {uid}: podman has lost its containers"
        do = f"change the UID back to {owner}, or remove the storage and run `mcp agent recover {inspection.node.name}`"
        yield error("storage-owner", what, do)
    elif owner:
        yield ok("storage-owner", f"podman's storage belongs to UID {uid}")
