"""Which build this is: `VERSION` and `COMMIT`, stamped in by build.py, and all the rest on demand."""

from typing import TypedDict


def _stamp() -> tuple[str, str]:
    try:
        from mcp.shared import _stamp  # type: ignore[attr-defined]  # exists in a zipapp only
    except ImportError:
        return "v0.0.0-source", "unknown"
    return _stamp.VERSION, _stamp.COMMIT


VERSION, COMMIT = _stamp()


class Details(TypedDict):
    """What `version --json` prints; packages maps the bundled ones' names to their versions."""

    version: str
    commit: str
    python: str
    architecture: str
    packages: dict[str, str]


def details() -> Details:
    """Version, commit, Python (3.11.2), architecture (amd64, arm64, else the machine's name), packages.

    From a source checkout the packages are those installed for that Python.
    """
    import platform

    machine = platform.machine()
    return {
        "version": VERSION,
        "commit": COMMIT,
        "python": platform.python_version(),
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        "packages": _packages(),
    }


def _packages() -> dict[str, str]:
    from importlib.metadata import distributions
    from pathlib import Path

    beside = str(Path(__file__).parents[2])
    stamped = COMMIT != "unknown"
    found = distributions(path=[beside]) if stamped else distributions()
    return dict(sorted((item.metadata["Name"], item.version) for item in found))
