"""The built zipapps, for tests that run them: each is built at most once in a test session.

A session may consist of several processes (workers of pytest-xdist, the tiers of tools/tiers.py): BUILT in the
environment names the folder that they share.
"""

import atexit
import functools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from mcp.shared.resources import ROOT
from tools.hostlib.bootstrap import locked

BUILT = "MCP_TEST_BUILT"
PYTHON = "/usr/bin/python3"  # has no packages of ours
OWN_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
OTHER_ARCH = {"amd64": "arm64", "arm64": "amd64"}[OWN_ARCH]


def build(*arguments: str, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run build.py of the tree at `root` with this Python."""
    command = [sys.executable, str(root / "build.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder, unless a process before us has."""
    if BUILT not in os.environ and not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="mcp-zipapps-")
        Path(folder).chmod(0o755)  # tests run the files as other users, too
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ[BUILT] = folder


@functools.cache
def built(program: str, arch: str = OWN_ARCH) -> Path:
    """The zipapp of `program` (mcp, mcp-agent) for `arch` (amd64, arm64), made from the working tree."""
    folder = Path(os.environ[BUILT])
    name = f"{program}-[0-9]*-linux-{arch}.pyz"
    with locked(folder / f"{program}-{arch}.lock"):
        if not list(folder.glob(name)):
            done = build("--program", program, "--arch", arch, "--out", str(folder))
            assert done.returncode == 0, done.stderr
        (made,) = folder.glob(name)
    return made


def forged(original: Path, target: Path, ident: str = "", entry: str = "", **modules: str) -> Path:
    """A copy of a zipapp as another build: another identity (16 hex digits), entry module, or more modules."""
    with zipfile.ZipFile(original) as source:
        files = {name: source.read(name) for name in source.namelist()}
    environment = json.loads(files["environment.json"])
    main = files["__main__.py"].decode()
    if ident:
        main = main.replace(environment["build_id"], ident)
        environment["build_id"] = ident
    if entry:
        main = main.replace(environment["entry_point"].split(":")[0], entry)
        environment["entry_point"] = f"{entry}:main"
    files |= {"__main__.py": main.encode(), "environment.json": json.dumps(environment).encode()}
    files |= {f"site-packages/{name}.py": text.encode() for name, text in modules.items()}
    with target.open("wb") as file:
        file.write(original.read_bytes().partition(b"PK\x03\x04")[0])
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in files.items():
                info = zipfile.ZipInfo(name)
                info.external_attr = 0o100644 << 16
                archive.writestr(info, content)
    target.chmod(0o755)
    return target
