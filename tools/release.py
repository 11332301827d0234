"""Build a release: the zipapps of both architectures, SBOM, SHA256SUMS, and its signature if a key is given.

    python -m tools.release [--key FILE] [--out DIR]

The same commit, Python's zlib and liblzma give the same bytes, and an Ed25519 key the same signature.
"""

import argparse
import email.parser
import importlib.metadata
import io
import json
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import build

SUMS = "SHA256SUMS"
NAMESPACE = "mcp-release"  # of the signature: as in mcp/nodes/release_key.py
OUT = build.HERE / "dist/release"


def release(out: Path, key: Path | None) -> None:
    """Make all files of a release in a new folder; raises BuildError."""
    if key is not None:
        try_key(key)
    wheels, folder = build.read_lock(), build.cache() / "wheelhouse"
    build.wheelhouse(folder, wheels, offline=False)
    if out.exists() and any(out.iterdir()):
        raise build.BuildError(f"{out} is not empty: name a new folder with --out")
    files = {
        build.build(program, arch, folder, wheels, out): build.wheels_of(program, arch, wheels)
        for arch in build.MACHINES
        for program in build.PROGRAMS.values()
    }
    version, _ = build.stamp()
    document = json.dumps(sbom(version, files, folder), indent=2, sort_keys=True) + "\n"
    listing = out / f"mcp-{version}.cdx.json"
    build.write(listing, document.encode())
    sums = "".join(f"{build.sha256(path.read_bytes())}  {path.name}\n" for path in sorted([*files, listing]))
    build.write(out / SUMS, sums.encode())
    if key is not None:
        sign(out / SUMS, key)
    for path in sorted(out.iterdir()):
        build.say(str(path))


def sign(file: Path, key: Path) -> None:
    """Write FILE.sig with the private key, or with the agent's for a public one; raises BuildError."""
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key.absolute()), "-n", NAMESPACE, str(file)]
    build.run(command, "install openssh-client")


def try_key(key: Path) -> None:
    """Sign something, so that an unusable key is found before the files are built; raises BuildError."""
    with tempfile.TemporaryDirectory() as folder:
        (trial := Path(folder) / "trial").touch()
        sign(trial, key)


# --- the SBOM --------------------------------------------------------------------------------------


def sbom(version: str, files: Mapping[Path, list[build.Wheel]], folder: Path) -> dict[str, Any]:
    """Return a CycloneDX 1.6 document of the zipapps and of the wheels in them, without times."""
    shiv = next(wheel for wheel in build.locked_wheels(build.DEV_LOCK) if wheel.package == "shiv")  # its bootstrap
    wheels = sorted({wheel for ours in files.values() for wheel in ours}, key=lambda wheel: wheel.file)
    programs = [_program(path, version) for path in files]
    libraries = [_library(wheel, _metadata(folder, wheel)) for wheel in wheels]
    libraries.append(_library(shiv, importlib.metadata.metadata("shiv")))  # type: ignore[arg-type]
    depends = [
        {"ref": program["bom-ref"], "dependsOn": sorted(map(_purl, [*ours, shiv]))}
        for program, ours in zip(programs, files.values(), strict=True)
    ]
    content = build.sha256(json.dumps([programs, libraries], sort_keys=True).encode())
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": f"mcp@{version}",
                "name": "mcp",
                "version": version,
                "licenses": [{"expression": "MIT"}],
            }
        },
        "components": [*programs, *libraries],
        "dependencies": [{"ref": f"mcp@{version}", "dependsOn": [each["bom-ref"] for each in programs]}, *depends],
    }


def _program(path: Path, version: str) -> dict[str, Any]:
    name = path.name.partition(f"-{version}")[0]
    return {
        "type": "application",
        "bom-ref": path.name,
        "name": name,
        "version": version,
        "purl": f"pkg:generic/{name}@{quote(version)}?file_name={quote(path.name)}",
        "hashes": [{"alg": "SHA-256", "content": build.sha256(path.read_bytes())}],
        "licenses": [{"expression": "MIT"}],
    }


def _library(wheel: build.Wheel, metadata: Mapping[str, str]) -> dict[str, Any]:
    expression, name = metadata.get("License-Expression"), metadata.get("License")
    known = [{"expression": expression}] if expression else [{"license": {"name": name}}] if name else []
    return {
        "type": "library",
        "bom-ref": _purl(wheel),
        "name": metadata["Name"],
        "version": wheel.version,
        "purl": _purl(wheel),
        "hashes": [{"alg": "SHA-256", "content": wheel.sha256}],
        **({"licenses": known} if known else {}),
    }


def _purl(wheel: build.Wheel) -> str:
    name = wheel.package.replace("_", "-")
    return f"pkg:pypi/{name}@{quote(wheel.version)}?file_name={quote(wheel.file)}"


def _metadata(folder: Path, wheel: build.Wheel) -> Mapping[str, str]:
    """Return the headers of a wheel's METADATA."""
    with zipfile.ZipFile(io.BytesIO(build.read_wheel(folder, wheel))) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return dict(email.parser.Parser().parsestr(archive.read(name).decode(), headersonly=True))


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="tools.release", description="Build, list and sign a release.")
    parser.add_argument("--key", type=Path, metavar="FILE", help="SSH key that signs SHA256SUMS")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="a new folder (default: dist/release)")
    options = parser.parse_args()
    try:
        release(options.out, options.key)
    except build.BuildError as error:
        build.say(f"release: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
