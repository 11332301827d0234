"""Checks of the agent's unit and files, and of leftovers of interrupted upgrades."""

import json
import re
from collections.abc import Iterator

from mcp.nodes.doctor.model import Finding, Inspection, error, ok, warning
from mcp.nodes.provision.agent import AGENT, SERVICE, UNIT, unit_text
from mcp.nodes.upgrade.switch import SwitchPhase
from mcp.shared.version import VersionSkew, skew

SHOWN = 3  # paths in a finding


def check(inspection: Inspection) -> Iterator[Finding]:
    """Check the unit's state and text, and the last upgrade."""
    unit = inspection.values("unit")
    if unit.get("LoadState") != "loaded":
        yield error("unit", f"{SERVICE} does not exist", inspection.provision)
        return
    yield _state(inspection, unit)
    yield from _boot(inspection, unit)
    yield from _text(inspection, unit)
    yield from _upgrade(inspection)
    yield from _tree(inspection)


def _state(inspection: Inspection, unit: dict[str, str]) -> Finding:
    state, result = unit.get("ActiveState", ""), unit.get("Result", "")
    if state == "active":
        return ok("unit", f"{SERVICE} is active")
    if state == "activating":
        return warning("unit", f"{SERVICE} is starting", f"if that persists: {_journal(inspection)}")
    if state == "failed":
        return error("unit", f"{SERVICE} has failed ({result})", f"see why: {_journal(inspection)}")
    return error("unit", f"{SERVICE} is stopped ({state})", inspection.command("systemctl", "start", SERVICE))


def _journal(inspection: Inspection) -> str:
    return inspection.command("journalctl", "-u", SERVICE, "-n", "20", "--no-pager")


def _boot(inspection: Inspection, unit: dict[str, str]) -> Iterator[Finding]:
    enabled = unit.get("UnitFileState", "")
    if enabled in ("disabled", "masked"):
        what = f"{SERVICE} is {enabled}: after a reboot no service starts"
        yield error("boot", what, inspection.command("systemctl", "enable", SERVICE))
    else:
        yield ok("boot", f"{SERVICE} is started at boot")


def _text(inspection: Inspection, unit: dict[str, str]) -> Iterator[Finding]:
    """Compare the unit with the one of this version; units elsewhere (NixOS) are not checked."""
    where, uid = unit.get("FragmentPath", ""), inspection.uid
    if unit.get("NeedDaemonReload") == "yes":
        what = f"{where} was changed, but systemd has not reloaded it"
        yield warning("unit-file", what, inspection.command("systemctl", "daemon-reload"))
    if where != UNIT or uid is None:
        yield ok("unit-file", f"the unit is {where}, not managed by provisioning")
    elif inspection.text("unit-file") != unit_text(uid).strip():
        yield warning("unit-file", f"{UNIT} differs from the one of this mcp", inspection.provision)
    else:
        yield ok("unit-file", f"{UNIT} is up to date")


def _upgrade(inspection: Inspection) -> Iterator[Finding]:
    """Report the last upgrade as far as it still matters: an agent that was repaired since has no problem."""
    result, unit = inspection.values("switch"), inspection.values("unit")
    state, why, version = (result.get(name, "") for name in ("state", "why", "to"))
    busy = any(line.startswith(("active", "activating")) for line in inspection.lines("switching"))
    runs, serving = unit.get("ActiveState") == "active", unit.get("StatusText", "").removeprefix("serving ")
    is_repaired = runs and skew(serving, version) in (VersionSkew.CURRENT, VersionSkew.NEWER)
    staged = inspection.lines("staged")
    again = f"`mcp agent upgrade {inspection.node.name}`"
    if busy:
        yield warning("upgrade", "an upgrade is in progress", "wait until it ends")
    elif state in (SwitchPhase.HANDED_OVER, SwitchPhase.SWITCHING):
        finding = warning if runs else error
        yield finding("upgrade", f"an upgrade to {version} was interrupted", f"complete it with {again}")
    elif state == SwitchPhase.NO_AGENT and not runs:
        yield error("upgrade", f"the last upgrade left no running agent: {why}", again)
    elif staged:
        yield warning("upgrade", f"left by an interrupted upgrade: {' '.join(staged)}", f"clean up with {again}")
    elif state in (SwitchPhase.ROLLED_BACK, SwitchPhase.FAILED, SwitchPhase.NO_AGENT) and not is_repaired:
        outcome = "was rolled back" if state == SwitchPhase.ROLLED_BACK else "failed"
        yield warning("upgrade", f"the last upgrade, to {version}, {outcome}: {why}", f"fix that, then run {again}")
    else:
        yield ok("upgrade", "no interrupted upgrade")


def _tree(inspection: Inspection) -> Iterator[Finding]:
    """Report extracted files that differ from the agent's archive; nothing where it could not be examined."""
    try:
        found = json.loads(inspection.text("tree"))
        tree, files, changed, listed = (found[name] for name in ("tree", "files", "changed", "listed"))
        shown = ", ".join(map(str, listed[:SHOWN])) + (f" and {changed - SHOWN} more" if changed > SHOWN else "")
    except (ValueError, KeyError, TypeError):
        return
    if changed:
        what = f"files in {tree} are not those of {AGENT}: {shown}"
        yield error("tree", what, f"find out who changed them; then {' and '.join(_again(inspection, str(tree)))}")
    else:
        yield ok("tree", f"the {files} files that the agent runs from are those of {AGENT}")


def _again(inspection: Inspection, tree: str) -> Iterator[str]:
    """Yield the commands that extract the tree again; its path, which the node says, only if it needs no quotes."""
    if re.fullmatch(r"/[\w./-]+", tree) and ".." not in tree:
        yield inspection.command("rm", "-rf", tree)
    yield inspection.command("systemctl", "restart", SERVICE)
