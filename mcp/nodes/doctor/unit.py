"""The agent's unit and files on its node, and what an interrupted upgrade may have left."""

from collections.abc import Iterator

from mcp.nodes.doctor.model import Finding, There, error, ok, warning
from mcp.nodes.provision.agent import SERVICE, UNIT, unit_text
from mcp.nodes.upgrade.switch import SwitchPhase


def check(there: There) -> Iterator[Finding]:
    """The unit as systemd has it, its text, and the last upgrade."""
    unit = there.values("unit")
    if unit.get("LoadState") != "loaded":
        yield error("unit", f"there is no {SERVICE}", there.provision)
        return
    yield _state(there, unit)
    yield from _boot(there, unit)
    yield from _text(there, unit)
    yield from _upgrade(there)


def _state(there: There, unit: dict[str, str]) -> Finding:
    state, result = unit.get("ActiveState", ""), unit.get("Result", "")
    if state == "active":
        return ok("unit", f"{SERVICE} is active")
    if state == "activating":
        return warning("unit", f"{SERVICE} is being started", f"if that goes on: {_journal(there)}")
    if state == "failed":
        return error("unit", f"{SERVICE} has failed ({result})", f"see why: {_journal(there)}")
    return error("unit", f"{SERVICE} is stopped ({state})", there.command("systemctl", "start", SERVICE))


def _journal(there: There) -> str:
    return there.command("journalctl", "-u", SERVICE, "-n", "20", "--no-pager")


def _boot(there: There, unit: dict[str, str]) -> Iterator[Finding]:
    enabled = unit.get("UnitFileState", "")
    if enabled in ("disabled", "masked"):
        what = f"{SERVICE} is {enabled}: after a reboot no service comes up"
        yield error("boot", what, there.command("systemctl", "enable", SERVICE))
    else:
        yield ok("boot", f"{SERVICE} is started at boot")


def _text(there: There, unit: dict[str, str]) -> Iterator[Finding]:
    """Whether the unit is as this version ships it; one that is elsewhere (NixOS) is somebody else's business."""
    where, uid = unit.get("FragmentPath", ""), there.uid
    if unit.get("NeedDaemonReload") == "yes":
        what = f"{where} was changed, and systemd has not read it since"
        yield warning("unit-file", what, there.command("systemctl", "daemon-reload"))
    if where != UNIT or uid is None:
        yield ok("unit-file", f"the unit is {where}, not provisioning's")
    elif there.text("unit-file") != unit_text(uid).strip():
        yield warning("unit-file", f"{UNIT} is not as this version of mcp ships it", there.provision)
    else:
        yield ok("unit-file", f"{UNIT} is as shipped")


def _upgrade(there: There) -> Iterator[Finding]:
    result = there.values("switch")
    state, why, version = (result.get(name, "") for name in ("state", "why", "to"))
    busy = any(line.startswith(("active", "activating")) for line in there.lines("switching"))
    staged = there.lines("staged")
    again = f"`mcp agent upgrade {there.node.name}`"
    if busy:
        yield warning("upgrade", "an upgrade is under way", "wait for its end")
    elif state in (SwitchPhase.HANDED_OVER, SwitchPhase.SWITCHING):
        yield error("upgrade", f"an upgrade to {version} was interrupted", f"{again} brings it to an end")
    elif state == SwitchPhase.NO_AGENT:
        yield error("upgrade", f"the last upgrade left no agent that serves: {why}", again)
    elif staged:
        yield warning("upgrade", f"left by an interrupted upgrade: {' '.join(staged)}", f"{again} clears that")
    elif state in (SwitchPhase.ROLLED_BACK, SwitchPhase.FAILED):
        outcome = "was rolled back" if state == SwitchPhase.ROLLED_BACK else "failed"
        yield warning("upgrade", f"the last upgrade, to {version}, {outcome}: {why}", f"fix that, then {again}")
    else:
        yield ok("upgrade", "no upgrade was interrupted")
