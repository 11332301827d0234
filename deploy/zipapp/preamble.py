"""shiv's preamble: after extraction, unpack this Python's native modules and mark the tree as complete.

Runs only at the first start (later ones bypass shiv), under the setup lock taken by `_first`.
shiv sets `archive` (the zipapp's path), `env` and `site_packages`.
"""

import hashlib
import importlib.machinery
import json
import lzma
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import _clean
import _first
import _start

NATIVE = "native.tar.xz"


def unpack(archive: str, site: Path) -> None:
    """Unpack the modules for this Python below `site`; stop reading after the last one."""
    index = json.loads((site / "native.json").read_bytes())
    ours = (importlib.machinery.EXTENSION_SUFFIXES[0], ".abi3.so")
    wanted = {name for name in index["names"] if name.endswith(ours)}
    with zipfile.ZipFile(archive) as file:
        if hashlib.sha256(file.read(NATIVE)).hexdigest() != index["sha256"]:
            raise zipfile.BadZipFile(f"checksum of {NATIVE}")
        with file.open(NATIVE) as packed, lzma.open(packed) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if member.name in wanted:
                    source = tar.extractfile(member)
                    assert source is not None
                    (site / member.name).parent.mkdir(parents=True, exist_ok=True)
                    with (site / member.name).open("wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
                    wanted.remove(member.name)
                if not wanted:
                    break


def mark(site: Path) -> None:
    """Write the marker for `_start.intact`, after syncing the files to disk."""
    tree = site.parent
    sync(tree)
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(site) for name in (*names, "")]
    lines = [_start.fingerprint(str(tree), os.path.relpath(path, tree)) for path in paths]
    part = tree / f"{_start.MARKER}.part"
    part.write_text("".join(lines) + _start.END, encoding="utf-8")
    part.rename(tree / _start.MARKER)


def sync(tree: Path) -> None:
    """Sync the tree's file system, so that no marker without its files survives a power cut."""
    try:
        from ctypes import CDLL
    except ImportError:  # a Python built without libffi
        os.sync()
        return
    descriptor = os.open(tree, os.O_RDONLY)
    try:
        CDLL(None).syncfs(descriptor)
    finally:
        os.close(descriptor)


def run(archive: str, site: Path, build: str) -> None:
    """Complete the tree extracted by shiv, and let the program start from it."""
    program = site.parent.parent.name
    try:
        unpack(archive, site)
        mark(site)
    except (OSError, zipfile.BadZipFile, lzma.LZMAError, tarfile.TarError, EOFError) as error:
        _first.give_up(program, str(site.parent), error)
    _first.release()
    _clean.clean(str(site.parent.parent), build)
    _start.use_path(str(site))


run(globals()["archive"], globals()["site_packages"], globals()["env"].build_id)
