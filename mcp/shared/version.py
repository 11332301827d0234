"""Which build this is: `VERSION` and `COMMIT`, stamped in by build.py, and all the rest on demand."""

from typing import TypedDict


def _stamp() -> tuple[str, str]:
    try:
        from mcp.shared import _stamp  # type: ignore[attr-defined]  # exists in a zipapp only
    except ImportError:
        return "v0.0.0-source", "unknown"
    return _stamp.VERSION, _stamp.COMMIT


VERSION, COMMIT = _stamp()


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


def skew(other: str, own: str = VERSION) -> str:
    """How another program's version stands to ours: `current`, `older`, `newer`, or else `different`.

    Versions are `git describe`'s, v1.2.3[-COMMITS-gHASH][-dirty]: later commits are newer, whatever their hash.
    """
    if other == own:
        return "current"
    theirs, ours = _order(other), _order(own)
    if theirs is None or ours is None or theirs == ours:
        return "different"
    return "older" if theirs < ours else "newer"


def _order(version: str) -> tuple[int, ...] | None:
    """Numbers that sort as versions do; None for one that names no build."""
    import re  # not at the start of every command

    found = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)(?:-(\d+)-g[0-9a-f]+)?(?:-dirty)?", version)
    return tuple(int(number or 0) for number in found.groups()) if found else None


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
