"""The version of this build, and the oldest versions of the other program that it works with."""

from enum import StrEnum
from typing import TypedDict

RELEASE = "0.1.0"  # the only place of this number; a release's commit has the tag v0.1.0
OLDEST_AGENT = "0.1.0"  # that this CLI talks to
OLDEST_CLI = "0.1.0"  # that this agent serves

VERSION_HEADER = "x-mcp-version"  # of the CLI in the metadata of requests, of the agent in the trailing metadata
OLDEST_AGENT_HEADER = "x-mcp-oldest-agent"  # in the metadata of requests


def _stamp() -> tuple[str, str]:
    try:
        from mcp.shared import _stamp  # type: ignore[attr-defined]  # exists in a zipapp only
    except ImportError:
        return f"{RELEASE}+source", "unknown"
    return _stamp.VERSION, _stamp.COMMIT


VERSION, COMMIT = _stamp()  # RELEASE, or RELEASE+COMMITS.gHASH[.dirty]: so many commits after the release, where known


class BuildDetails(TypedDict):
    """What `version --json` prints; packages maps the bundled ones' names to their versions."""

    version: str
    commit: str
    python: str
    architecture: str
    packages: dict[str, str]


def details() -> BuildDetails:
    """Version, commit, Python (3.11.2), architecture (amd64, arm64, else the machine's name), packages.

    From a source checkout the packages are those installed for that Python.
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
    """How another program's version compares with ours."""

    CURRENT = "current"
    OLDER = "older"
    NEWER = "newer"
    DIFFERENT = "different"  # another build of the same release, and it is not known which came first


def skew(other: str, own: str = VERSION) -> VersionSkew:
    """Compare another program's version with ours: release numbers, then the commits after the release."""
    if other == own:
        return VersionSkew.CURRENT
    theirs, ours = _numbers(other), _numbers(own)
    if theirs == ours or (theirs[0] == ours[0] and None in (theirs[1], ours[1])):
        return VersionSkew.DIFFERENT
    return VersionSkew.OLDER if theirs < ours else VersionSkew.NEWER


def is_older(version: str, release: str) -> bool:
    """Return whether a version is below a release; text that is no version is below every release."""
    return _numbers(version)[0] < _numbers(release)[0]


def _numbers(version: str) -> tuple[tuple[int, ...], int | None]:
    """The release, (0, 0, 0) for text that is no version, and the commits after it, None where not known."""
    import re  # not at the start of every command

    found = re.fullmatch(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(\+(?:(\d{1,9})\.)?.+)?", version, re.ASCII)
    if not found:
        return (0, 0, 0), None
    *release, build, commits = found.groups()
    return tuple(int(number) for number in release), None if build and not commits else int(commits or 0)


def platform() -> tuple[str, str]:
    """The Python that runs us (3.11.2), and the architecture (amd64, arm64, else the machine's name)."""
    import platform as this

    machine = this.machine()
    return this.python_version(), {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _packages() -> dict[str, str]:
    from importlib.metadata import distributions

    from mcp.shared.resources import ROOT

    stamped = COMMIT != "unknown"
    found = distributions(path=[str(ROOT)]) if stamped else distributions()
    return dict(sorted((item.metadata["Name"], item.version) for item in found))
