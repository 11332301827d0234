"""Compare an extracted tree with its archive, whatever its marker says: `_verify` in the archive, for `mcp doctor`.

Runs from the archive alone: python3 -I -c 'import sys; sys.path.insert(0, sys.argv[1]); import _verify;
_verify.main(*sys.argv[1:])' ARCHIVE PROGRAM
"""

import hashlib
import importlib.machinery
import json
import lzma
import marshal
import os
import sys
import tarfile
import zipfile

import _start

SITE = "site-packages/"
NATIVE = "native.tar.xz"
LISTED = 20  # paths in the output
SUFFIX = f".{sys.implementation.cache_tag}.pyc"
PYC_HEADER = 16  # bytes


def main(archive: str, program: str) -> None:
    """Print a JSON object: the tree, the number of its files, and those that differ; nothing without a tree."""
    with zipfile.ZipFile(archive) as file:
        tree = _start.tree_of(program, json.loads(file.read("environment.json"))["build_id"])
        if not os.path.exists(f"{tree}/{_start.MARKER}"):
            return
        expected = contents(file)
    found = sorted(files(tree))
    wrong = [path for path in found if not is_expected(tree, path, expected)] + sorted(set(expected) - set(found))
    report = {"tree": tree, "files": len(found), "changed": len(wrong), "listed": wrong[:LISTED]}
    sys.stdout.write(f"{json.dumps(report)}\n")


def contents(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Return the files of a tree: those of the archive, and the native modules for this Python."""
    expected = {name: archive.read(name) for name in archive.namelist() if name.startswith(SITE) and name[-1] != "/"}
    packed = archive.read(NATIVE)
    if hashlib.sha256(packed).hexdigest() != json.loads(expected[f"{SITE}native.json"])["sha256"]:
        raise zipfile.BadZipFile(f"checksum of {NATIVE}")
    ours = (importlib.machinery.EXTENSION_SUFFIXES[0], ".abi3.so")
    with archive.open(NATIVE) as stream, lzma.open(stream) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
        for member in tar:
            if member.name.endswith(ours) and (source := tar.extractfile(member)) is not None:
                expected[f"{SITE}{member.name}"] = source.read()
    return expected


def files(tree: str) -> "list[str]":
    """Return the paths of all files below a tree's folder of modules, and of links to folders."""
    found = []
    for folder, folders, names in os.walk(f"{tree}/{SITE}"):
        links = [name for name in folders if os.path.islink(f"{folder}/{name}")]
        found += [os.path.relpath(f"{folder}/{name}", tree) for name in names + links]
    return found


def is_expected(tree: str, path: str, expected: dict[str, bytes]) -> bool:
    """Return True for a file of the archive, or one that Python compiled from it, with that content."""
    try:
        if os.path.islink(f"{tree}/{path}"):
            return False
        with open(f"{tree}/{path}", "rb") as file:
            content = file.read()
    except OSError:
        return False
    if path in expected:
        return content == expected[path]
    folder, name = os.path.split(path)
    source = f"{os.path.dirname(folder)}/{name.removesuffix(SUFFIX)}.py"
    if os.path.basename(folder) != "__pycache__" or not name.endswith(SUFFIX) or source not in expected:
        return False
    try:
        # code objects, as the bytes of one and the same code may differ
        found = marshal.loads(content[PYC_HEADER:])  # noqa: S302 - Python would load it as well
        return bool(found == compile(expected[source], source, "exec", dont_inherit=True))
    except (EOFError, ValueError, TypeError):
        return False
