"""A stage for running zipapps: an empty home, nothing inherited from the environment of the tests."""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.zipapps import PYTHON, built

UMASK = 0o027  # not what the launcher works under

# Prints what the program sees of its surroundings, after importing what is bundled.
PROBE = """
import json, os, sys
def main():
    import grpc, google.protobuf, typing_extensions, mcp, proto, json as stdlib
    from google.protobuf.internal import api_implementation
    modules = (grpc, google.protobuf, typing_extensions, mcp, proto, stdlib)
    print(json.dumps({
        "files": [module.__file__ for module in modules], "path": sys.path, "isolated": sys.flags.isolated,
        "shiv": sorted(name for name in os.environ if name.startswith("SHIV_")), "arguments": sys.argv[1:],
        "protobuf": api_implementation.Type(), "umask": os.umask(0),
    }))
    return 7
"""

# Says when it runs, waits for a line, and only then imports the rest.
SLEEPER = """
import sys
def main():
    print("running", flush=True)
    sys.stdin.readline()
    import grpc.aio, google.protobuf.json_format
    print("still whole", flush=True)
    return 0
"""


@dataclass
class Stage:
    """A folder that is home and working directory of the zipapps run in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        return self.folder / ".cache/mcp"

    def command(self, zipapp: Path, *arguments: str) -> list[str]:
        return [PYTHON, "-I", str(zipapp), *arguments]

    def run(self, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | more,
            umask=UMASK,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def popen(self, command: list[str]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path, {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})


@pytest.fixture(scope="session")
def cli() -> Path:
    return built("mcp")


@pytest.fixture(scope="session")
def agent() -> Path:
    return built("mcp-agent")


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr of a run that was refused with exit code 1."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line
