"""The version of this build, and the oldest compatible versions of the other program."""

from enum import StrEnum
from typing import TypedDict

RELEASE = "0.2.0"  # the only place of this number; the release commit has the tag v0.2.0
OLDEST_AGENT = "0.2.0"  # minimum for this CLI
OLDEST_CLI = "0.1.0"  # minimum for this agent

VERSION_HEADER = "x-mcp-version"  # the CLI's in request metadata, the agent's in trailing metadata
OLDEST_AGENT_HEADER = "x-mcp-oldest-agent"  # in request metadata


def _stamp() -> tuple[str, str]:
    try:
        from mcp.shared import _stamp  # type: ignore[attr-defined]  # exists in a zipapp only
    except ImportError:
        return f"{RELEASE}+source", "unknown"
    return _stamp.VERSION, _stamp.COMMIT


VERSION, COMMIT = _stamp()  # RELEASE, or RELEASE+COMMITS.gHASH[.dirty] with the commits since the release, if known


class BuildDetails(TypedDict):
    """The output of `version --json`; `packages` maps names of bundled packages to versions."""

    version: str
    commit: str
    python: str
    architecture: str
    packages: dict[str, str]


def details() -> BuildDetails:
    """Return version, commit, Python (3.11.2), architecture (amd64, arm64 or as the machine calls it) and packages.

    In a source checkout the packages are those installed for this Python.
    """
    python, architecture = platform()
    return {
        "version": VERSION,
        "commit": COMMIT,
        "python": python,
        "architecture": architecture,
        "packages": _packages(),
    }


class VersionSkew(StrEnum):
    """Result of comparing another program's version with ours."""

    CURRENT = "current"
    OLDER = "older"
    NEWER = "newer"
    DIFFERENT = "different"  # another build of the same release, in unknown order


def skew(other: str, own: str = VERSION) -> VersionSkew:
    """Compare another program's version with ours: release numbers, then the commits after the release."""
    if other == own:
        return VersionSkew.CURRENT
    theirs, ours = _numbers(other), _numbers(own)
    if theirs == ours or (theirs[0] == ours[0] and None in (theirs[1], ours[1])):
        return VersionSkew.DIFFERENT
    return VersionSkew.OLDER if theirs < ours else VersionSkew.NEWER


def is_older(version: str, release: str) -> bool:
    """Return True if a version is below a release; an invalid version is below every release."""
    return _numbers(version)[0] < _numbers(release)[0]


def _numbers(version: str) -> tuple[tuple[int, ...], int | None]:
    """Split a version into release, (0, 0, 0) if invalid, and commits since the release, None if unknown."""
    import re  # deferred: keeps startup short

    match = re.fullmatch(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(\+(?:(\d{1,9})\.)?.+)?", version, re.ASCII)
    if not match:
        return (0, 0, 0), None
    *release, build, commits = match.groups()
    return tuple(int(number) for number in release), None if build and not commits else int(commits or 0)


def platform() -> tuple[str, str]:
    """Return the running Python (3.11.2) and the architecture (amd64, arm64 or as the machine calls it)."""
    import platform as this

    machine = this.machine()
    return this.python_version(), {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _packages() -> dict[str, str]:
    from importlib.metadata import distributions

    from mcp.shared.resources import ROOT

    stamped = COMMIT != "unknown"
    installed = distributions(path=[str(ROOT)]) if stamped else distributions()
    return dict(sorted((item.metadata["Name"], item.version) for item in installed))
