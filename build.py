"""Build the two zipapps: lock -> wheels -> staged tree -> shiv, per program and architecture.

    build.py [build]       build dist/PROGRAM-VERSION-linux-ARCH.pyz, and dist/PROGRAM.pyz for this machine
    build.py lock          update the locks in requirements/ from runtime.in and dev.in
    build.py wheelhouse    download all wheels of the lock

Builds are reproducible: the same commit gives the same bytes. Errors are one line, exit status 1.
"""

import argparse
import hashlib
import io
import json
import lzma
import os
import platform
import re
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

HERE = Path(__file__).resolve().parent
ZIPAPP = HERE / "deploy/zipapp"
PINS = HERE / "requirements/runtime.in"
LOCK = HERE / "requirements/runtime.lock"
DEV_PINS = HERE / "requirements/dev.in"
DEV_LOCK = HERE / "requirements/dev.lock"  # of the tools, of which shiv gets into the files
SHIV = "1.0.8"  # exact, as the bootstrap of other versions differs
# SIGINT waits until __main__ handles it, as Python would print a traceback while it starts; env blocks it since
# coreutils 8.31. -I: nothing outside of the file may shadow its modules.
START = """\
#!/bin/sh
block=--block-signal=INT
/usr/bin/env $block --version >/dev/null 2>&1 || block=
exec /usr/bin/env $block python3 -I "$0" "$@"
"""
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
PYTHONS = ("3.11", "3.13", "3.12", "3.14")  # also the order in the native stream: Debian's versions first

Files = dict[str, bytes]  # path in the tree -> content


class BuildError(Exception):
    """A failed build; the text is one line with the problem and the remedy."""


@dataclass(frozen=True)
class Program:
    """A zipapp: entry point, sources (path prefixes in the repository), packages, and data.

    Data are non-module files of the repository, which keep their paths in the tree.
    """

    name: str
    entry: str
    sources: tuple[str, ...]
    packages: tuple[str, ...]
    data: tuple[str, ...] = ()


GRPC = ("grpcio", "protobuf", "typing_extensions")
PROGRAMS = {
    # Without cryptography, which would add 3.4 MB: TLS is part of grpcio.
    "mcp": Program(
        *("mcp", "mcp.main", ("mcp/", "proto/"), GRPC),
        ("deploy/switch-agent.sh", "deploy/mcp-agent.service", "deploy/mcp-agent-command.sh"),
    ),
    "mcp-agent": Program(
        "mcp-agent",
        "agent.main",
        ("agent/", "mcp/__init__.py", "mcp/shared/", "proto/"),
        (*GRPC, "cryptography", "cffi"),
    ),
}

# Unused files of the wheels (cryptography needs only cffi's native module).
LEFT_OUT = ("cffi/", "grpc/framework/", "grpc/beta/", "google/protobuf/compiler/")


# --- the lock -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wheel:
    """A line of the lock: a wheel's file name and sha256 (hex)."""

    file: str
    sha256: str

    @property
    def package(self) -> str:
        return self.file.split("-")[0].lower()

    @property
    def version(self) -> str:
        return self.file.split("-")[1]

    @property
    def python(self) -> str:
        """The Python version to download it for; any for a stable ABI."""
        tag = re.search(r"-cp3(\d+)-cp3", self.file)
        return f"3.{tag[1]}" if tag else PYTHONS[0]

    def fits(self, arch: str) -> bool:
        return self.file.endswith("-any.whl") or MACHINES[arch] in self.file


def read_lock() -> list[Wheel]:
    """Return the wheels of the lock; raises BuildError if it is out of date with runtime.in."""
    if not LOCK.exists():
        raise BuildError(f"{LOCK} is missing: create it with `build.py lock`")
    wheels = locked_wheels(LOCK)
    pins = re.findall(r"^([\w.-]+==[\w.]+)", PINS.read_text(), re.M)
    if {f"{wheel.package}=={wheel.version}" for wheel in wheels} != set(pins):
        raise BuildError(f"{LOCK.name} is out of date with {PINS.name}: update it with `build.py lock`")
    return wheels


def locked_wheels(lock: Path) -> list[Wheel]:
    """Return the wheels that a lock names."""
    found = re.findall(r"^# sha256:(\w{64}) (\S+\.whl)$", lock.read_text(), re.M)
    return [Wheel(file, digest) for digest, file in found]


def write_lock(pins: Path, lock: Path, *no_deps: str) -> None:
    """Resolve the wheels for all Pythons and architectures with pip, without downloading, and write a lock."""
    wheels: set[Wheel] = set()
    for arch in MACHINES:
        for python in PYTHONS:
            say(f"resolving {pins.name} for {arch}, Python {python}")
            arguments = ["install", "--dry-run", "--ignore-installed", "--report", "-", "--target", "/nonexistent"]
            report = json.loads(pip([*arguments, *no_deps, "-r", str(pins)], arch, python))
            for item in report["install"]:
                source = item["download_info"]
                name = unquote(PurePosixPath(source["url"]).name)
                wheels.add(Wheel(name, source["archive_info"]["hashes"]["sha256"]))
    text = lock_text(sorted(wheels, key=lambda wheel: wheel.file), pins.name)
    lock.write_text(text)
    say(f"{lock.relative_to(HERE)}: {len(wheels)} wheels")


def lock_text(wheels: list[Wheel], pins: str = PINS.name) -> str:
    """Return a requirements file for `pip --require-hashes`, with the wheel of each hash as comment.

    Without pip, which a virtual environment has from its Python. Raises BuildError for two versions of a package.
    """
    lines = [f"# Generated by `make lock` from {pins}; do not edit. build.py reads the comments, pip the rest."]
    versions = sorted({(wheel.package, wheel.version) for wheel in wheels if wheel.package != "pip"})
    if doubles := [name for (name, _), (other, _) in pairwise(versions) if name == other]:
        raise BuildError(f"{doubles[0]} has a version for some Pythons only: pin one for all of them in {pins}")
    for package, version in versions:
        ours = [wheel for wheel in wheels if wheel.package == package]
        lines += ["", *(f"# sha256:{wheel.sha256} {wheel.file}" for wheel in ours)]
        lines += [" \\\n".join([f"{package}=={version}", *(f"    --hash=sha256:{wheel.sha256}" for wheel in ours)])]
    return "\n".join(lines) + "\n"


# --- wheels ---------------------------------------------------------------------------------------


def pip(arguments: list[str], arch: str, python: str) -> str:
    """Run pip for an architecture and Python; return its standard output."""
    policy = [f"manylinux2014_{MACHINES[arch]}", *(f"manylinux_2_{n}_{MACHINES[arch]}" for n in (17, 28))]
    target = ["--implementation", "cp", "--python-version", python, *(f"--platform={tag}" for tag in policy)]
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--only-binary=:all:", *target]
    return run(command, "pip is not installed for this Python" if python else "")


def wheelhouse(folder: Path, wheels: list[Wheel], offline: bool) -> None:
    """Download missing wheels to the folder, and verify all hashes."""
    missing = [wheel for wheel in wheels if not (folder / wheel.file).is_file()]
    if missing and offline:
        raise BuildError(
            f"{missing[0].file} is not in {folder}: download it with `build.py wheelhouse --wheelhouse {folder}`"
        )
    folder.mkdir(parents=True, exist_ok=True)
    targets = {(arch, wheel.python) for wheel in missing for arch in MACHINES if wheel.fits(arch)}
    for arch, python in sorted(targets):
        say(f"downloading wheels for {arch}, Python {python}")
        arguments = ["download", "--no-deps", "--require-hashes", "-r", str(LOCK), "-d", str(folder)]
        pip(arguments, arch, python)
    for wheel in wheels:
        if not (folder / wheel.file).is_file():
            raise BuildError(f"pip did not find {wheel.file}: check its index, or update the lock")
        read_wheel(folder, wheel)


def read_wheel(folder: Path, wheel: Wheel) -> bytes:
    """Return a wheel's content; raises BuildError if it is not the locked one, also if it was just replaced."""
    content = (folder / wheel.file).read_bytes()
    if sha256(content) != wheel.sha256:
        raise BuildError(
            f"{folder / wheel.file} does not match its hash in {LOCK.name}: delete it and download it again"
        )
    return content


def unpack(folder: Path, wheels: list[Wheel]) -> tuple[Files, Files]:
    """Return the pure and native files of the wheels, merged for all Pythons."""
    pure: Files = {"google/__init__.py": b""}  # as a namespace package it would lose to any other `google` on the path
    native: Files = {}
    for wheel in wheels:
        with zipfile.ZipFile(io.BytesIO(read_wheel(folder, wheel))) as archive:
            for name in archive.namelist():
                tree = native if name.endswith(".so") else pure
                if needed(name) and tree.setdefault(name, content := archive.read(name)) != content:
                    raise BuildError(f"{wheel.file} and earlier wheels have different files {name}")
    return pure, native


def needed(name: str) -> bool:
    """Return True for the files of a wheel to pack: code, METADATA and licenses."""
    path = PurePosixPath(name)
    if name.endswith("/"):
        return False
    if path.parts[0].endswith(".dist-info"):
        return path.name == "METADATA" or "licen" in name.lower().split(".dist-info/")[1]
    return path.suffix in (".py", ".so") and not name.startswith(LEFT_OUT)


# --- native modules -------------------------------------------------------------------------------


def native_stream(native: Files) -> bytes:
    """Return a .tar.xz of the native modules, as two xz streams of which the programs share the larger one.

    The modules of the four Pythons are similar and 17 MB apart, which the dictionary must span.
    """
    base = sorted((name for name in native if name.startswith(("grpc/", "google/"))), key=by_python)
    crypto = sorted(set(native) - set(base), key=by_python)
    parts = [tar_part({name: native[name] for name in names}) for names in (crypto, base) if names]
    parts[-1] += bytes(1024)  # tar's end mark
    with ThreadPoolExecutor() as pool:  # liblzma releases the GIL
        return b"".join(pool.map(xz, parts))


def by_python(name: str) -> tuple[int, str]:
    """Return a sort key: stable ABI first, then in the order of PYTHONS, for the fastest unpacking of the commonest."""
    tag = re.search(r"\.cpython-3(\d+)-", name)
    return (PYTHONS.index(f"3.{tag[1]}") + 1 if tag else 0, name)


def tar_part(files: Files) -> bytes:
    """Return a tar archive of the files without end mark, mode 0644, without owner and time."""
    part = io.BytesIO()
    for name, content in files.items():
        info = tarfile.TarInfo(name)
        info.size = len(content)
        part.write(info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE))
    return part.getvalue()


def xz(data: bytes) -> bytes:
    """Compress; the short match length halves the time for 3 % more bytes.

    Takes the result of an earlier build only if it unpacks to `data`, which comes from wheels whose hashes are locked.
    """
    settings = {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 32 << 20, "nice_len": 32, "depth": 8}
    kept = cache() / f"native/{sha256(data + repr(settings).encode())}.xz"
    if kept.exists() and unpacks_to(packed := kept.read_bytes(), data):
        return packed
    packed = lzma.compress(data, filters=[settings])
    write(kept, packed)
    return packed


def unpacks_to(packed: bytes, data: bytes) -> bool:
    """Return True if these are one xz stream of the data, with nothing before or after it."""
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=128 << 20)
    try:
        return stream.decompress(packed, len(data) + 1) == data and stream.eof and not stream.unused_data
    except (lzma.LZMAError, EOFError):
        return False


# --- sources and their version ----------------------------------------------------------------------


def sources(program: Program) -> Files:
    """Return the program's modules and data: tracked files, as in the working tree."""
    if (HERE / ".git").exists():
        names = git("ls-files", "-z").split("\0")
    else:
        names = [path.relative_to(HERE).as_posix() for path in HERE.rglob("*.py")] + list(program.data)
    ours = [
        name for name in names if name in program.data or (name.endswith(".py") and name.startswith(program.sources))
    ]
    return {name: (HERE / name).read_bytes() for name in ours if (HERE / name).is_file()}


def stamp() -> tuple[str, str]:
    """Return version and commit: the release for the commit of its tag, else release and git description.

    The hash has a fixed length, as the length of git's abbreviations depends on the clone.
    """
    (release,) = re.findall(r'^RELEASE = "(.+?)"', (HERE / "mcp/shared/version.py").read_text(), re.M)
    if not (HERE / ".git").exists():
        return f"{release}+source", "unknown"
    tag = f"v{release}"
    described = git("describe", "--tags", "--long", "--always", "--dirty", "--abbrev=12", "--match", tag).strip()
    build = described.removeprefix(f"{tag}-").replace("-", ".")  # 12.gabcdef123456.dirty; without the tag no 12.g
    commit = git("rev-parse", "HEAD").strip()
    if build == f"0.g{commit[:12]}":
        return release, commit
    return f"{release}+{build if 'g' in build else 'g' + build}", commit


def git(*arguments: str) -> str:
    command = ["git", "-C", str(HERE), "-c", f"safe.directory={HERE}", *arguments]
    return run(command, "git is required for the version")


# --- the archive ------------------------------------------------------------------------------------


def build(program: Program, arch: str, folder: Path, wheels: list[Wheel], out: Path) -> Path:
    """Build one zipapp; return its path."""
    version, commit = stamp()
    ours = wheels_of(program, arch, wheels)
    tree, native = unpack(folder, ours)
    tree |= sources(program)
    tree["mcp/shared/_stamp.py"] = f'VERSION = "{version}"\nCOMMIT = "{commit}"\n'.encode()
    stream = native_stream(native)
    tree["native.json"] = json.dumps({"sha256": sha256(stream), "names": sorted(native)}).encode()
    launcher = {path.name: path.read_bytes() for path in ZIPAPP.glob("*.py")}
    ident = identity([*tree.items(), *launcher.items()])
    suffixes = sorted({name.partition(".")[2] for name in native if ".cpython-" in name})
    values = {
        "PROGRAM": program.name,
        "BUILD": ident,
        "ENTRY": program.entry,
        "SUFFIXES": " ".join("." + s for s in suffixes),
    }
    del launcher["preamble.py"]  # placed by shiv
    extra = {name: fill(content, values) for name, content in launcher.items()} | {"native.tar.xz": stream}
    target = out / f"{program.name}-{version}-linux-{arch}.pyz"
    write(target, normal(assemble(program, tree, ident), extra), 0o755)
    return target


def wheels_of(program: Program, arch: str, wheels: list[Wheel]) -> list[Wheel]:
    """Return the wheels that a zipapp contains."""
    return [wheel for wheel in wheels if wheel.package in program.packages and wheel.fits(arch)]


def identity(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the id of a build's tree in the cache: 16 hex digits over names and contents."""
    parts = [f"{name} {sha256(content)}\n" for name, content in sorted(files)]
    return sha256("".join(parts).encode())[:16]


def fill(template: bytes, values: dict[str, str]) -> bytes:
    for name, value in values.items():
        template = template.replace(f"@{name}@".encode(), value.encode())
    return template


def assemble(program: Program, tree: Files, ident: str) -> bytes:
    """Return the archive that shiv creates of the tree."""
    with tempfile.TemporaryDirectory() as scratch:
        site, made = Path(scratch, "site-packages"), Path(scratch, "made.pyz")
        for name, content in tree.items():
            write(site / name, content)
        options = ["--compile-pyc", "--reproducible", "--build-id", ident, "--preamble", str(ZIPAPP / "preamble.py")]
        command = [sys.executable, "-m", "shiv", "--site-packages", str(site), "--entry-point", f"{program.entry}:main"]
        missing = f"shiv {SHIV} is not installed for {sys.executable}: run `make setup` and use .venv/bin/python"
        if SHIV not in run([sys.executable, "-m", "shiv", "--version"], missing):
            raise BuildError(missing)
        run([*command, *options, "--output-file", str(made)], missing)
        return made.read_bytes()


def normal(archive: bytes, extra: Files) -> bytes:
    """Rewrite shiv's archive reproducibly; `extra` adds or replaces files."""
    with zipfile.ZipFile(io.BytesIO(archive)) as made:
        files = {name: made.read(name) for name in made.namelist()} | extra
    result = io.BytesIO(START.encode())
    result.seek(0, io.SEEK_END)
    with zipfile.ZipFile(result, "w") as target:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.create_system = 3
            plain = name in extra  # read at every start, or already compressed
            info.compress_type = zipfile.ZIP_STORED if plain else zipfile.ZIP_DEFLATED
            target.writestr(info, files[name], compresslevel=9)
    return result.getvalue()


# --- helpers -----------------------------------------------------------------------------------


def run(command: list[str], missing: str) -> str:
    """Run a program and return its standard output; raises BuildError with the last line of its errors."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "SHIV_"))}
    keep.pop("SOURCE_DATE_EPOCH", None)  # else shiv would write it into the archive
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=keep, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} not found: {missing}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        if "No module named" in lines[-1]:
            raise BuildError(missing)
        raise BuildError(f"{' '.join(command[:4])} failed: {lines[-1]}")
    return done.stdout


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
        try:
            part.write(content)
            os.fchmod(part.fileno(), mode)
            Path(part.name).rename(path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def cache() -> Path:
    """Return the cache folder for wheels and compressed streams."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcp-build"


def own_arch() -> str:
    return next((arch for arch, machine in MACHINES.items() if machine == platform.machine()), "")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="build.py", description="Build the two zipapps.")
    parser.add_argument("what", nargs="?", default="build", choices=["build", "lock", "wheelhouse"])
    parser.add_argument("--arch", choices=[*MACHINES, "own"], action="append", help="default: all architectures")
    parser.add_argument("--program", choices=[*PROGRAMS], action="append", help="default: both")
    parser.add_argument("--out", type=Path, default=HERE / "dist", metavar="DIR")
    parser.add_argument("--wheelhouse", type=Path, default=cache() / "wheelhouse", metavar="DIR")
    parser.add_argument("--offline", action="store_true", help="use only wheels in the wheelhouse, no network")
    options = parser.parse_args(arguments)
    if "own" in (options.arch or []) and not own_arch():
        parser.error(f"no zipapp for this machine ({platform.machine()}): set --arch")
    options.arch = list(dict.fromkeys(own_arch() if arch == "own" else arch for arch in options.arch or MACHINES))
    return options


def build_all(options: argparse.Namespace, wheels: list[Wheel]) -> None:
    for arch in options.arch:
        for program in options.program or PROGRAMS:
            made = build(PROGRAMS[program], arch, options.wheelhouse, wheels, options.out)
            say(f"{made}: {made.stat().st_size / 1e6:.1f} MB")
            if arch == own_arch():
                write(options.out / f"{program}.pyz", made.read_bytes(), 0o755)


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    options = parse(arguments)
    try:
        if options.what == "lock":
            write_lock(PINS, LOCK, "--no-deps")
            write_lock(DEV_PINS, DEV_LOCK)
            return 0
        wheels = read_lock()
        needs = [wheel for wheel in wheels if any(wheel.fits(arch) for arch in options.arch)]
        wheelhouse(options.wheelhouse, needs, options.offline)
        if options.what == "build":
            build_all(options, wheels)
    except BuildError as error:
        say(f"build.py: {error}")
        return 1
    except OSError as error:
        say(f"build.py: {error.filename or ''}: {error.strerror}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
