"""System roots to run the built files in: Debian 13 for this machine's processor, and an arm64 one for qemu.

They are made once with debootstrap, from the mirror that this machine's apt uses, and cached outside the tree in
$XDG_CACHE_HOME/mcp-test/roots (or ~/.cache/…). Nothing in them is configured: the packages are only unpacked, which
needs no emulation, no device nodes, and only a user namespace where we are not root.
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tools.hostlib import bootstrap, machine
from tools.hostlib.bootstrap import checked, locked, mirror
from tools.hostlib.machine import HostError

FORMAT = 2  # raise it when _build() makes something else of the same recipe
SECONDS = 240  # one root must be made in this time
QEMU_CPU = "max,pauth-impdef=on"  # without it, Debian 13's arm64 binaries run four times slower
# The root itself is read-only inside, so that no test changes it for the next; these are empty and writable.
WRITABLE = ("tmp", "run", "mnt", "srv", "home", "root")

T = TypeVar("T")
Done = subprocess.CompletedProcess[str]

# Run as root of a private mount namespace: $1 is the root, then pairs SOURCE TARGET up to "--", then the command.
ENTER = """
root=$1; shift
mount --bind "$root" "$root"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount -o remount,bind,ro "$root"
for folder in tmp run mnt srv home root; do mount -t tmpfs -o mode=1777 tmpfs "$root/$folder"; done
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$(dirname "$root$2")"; : >"$root$2"; fi
  mount --rbind "$1" "$root$2"
  shift 2
done
shift
exec "$@"
"""


@dataclass(frozen=True)
class Recipe:
    """What a root consists of; a changed recipe is a new root."""

    suite: str
    arch: str
    include: tuple[str, ...]
    format: int = FORMAT

    @property
    def name(self) -> str:
        """The folder's name: what it is, and a hash of everything that went into it."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.suite}-{self.arch}-{digest[:12]}"


@dataclass(frozen=True)
class Root:
    """An unpacked Debian to run programs of this machine's processor in."""

    path: Path

    def argv(
        self,
        command: Sequence[str],
        *,
        binds: Mapping[Path, str] | None = None,
        cwd: str = "/",
        env: Mapping[str, str] | None = None,
        uid: int = 0,
    ) -> list[str]:
        """The command inside the root, with the host's network and an otherwise clean environment.

        binds maps paths of the host to absolute ones inside, which must lie below /tmp, /run, /mnt, /srv, /home
        or /root. The mounts vanish with the process, whose PID is the command's own.
        """
        pairs: list[str] = []
        for source, target in (binds or {}).items():
            if target.split("/")[1] not in WRITABLE or ".." in target:
                raise ValueError(f"{target} is not below one of {WRITABLE}")
            pairs += [str(source), target]
        inside = {"PATH": "/usr/sbin:/usr/bin", "HOME": "/root" if uid == 0 else "/tmp", "LANG": "C.UTF-8"}
        inside |= env or {}
        variables = [f"{name}={value}" for name, value in inside.items()]
        return [
            *_unshare(),
            "--mount",
            "--propagation",
            "private",
            "--",
            "sh",
            "-euc",
            ENTER,
            "enter",
            str(self.path),
            *pairs,
            "--",
            "chroot",
            f"--userspec={uid}:{uid}",
            str(self.path),
            "/usr/bin/env",
            "-i",
            f"--chdir={cwd}",
            *variables,
            *command,
        ]

    def run(
        self,
        command: Sequence[str],
        *,
        binds: Mapping[Path, str] | None = None,
        cwd: str = "/",
        env: Mapping[str, str] | None = None,
        uid: int = 0,
        timeout: float = 60,
    ) -> Done:
        """Run it to its end, at most timeout seconds; see argv()."""
        argv = self.argv(command, binds=binds, cwd=cwd, env=env, uid=uid)
        return _run(argv, timeout)


@dataclass(frozen=True)
class Arm64:
    """An unpacked arm64 Debian whose Python runs here through qemu, as an ordinary process without a chroot.

    Children that are started as sys.executable fail there (it is an arm64 file); programs of the host run as they are.
    """

    path: Path

    def argv(self, pyz: Path, arguments: Sequence[str] = ()) -> list[str]:
        """The built file, run by the root's python3; paths are the host's. It sets the variables that qemu needs."""
        return self.python([str(pyz), *arguments])

    def python(self, arguments: Sequence[str]) -> list[str]:
        """The root's own python3 -I.

        Its linker is told where the libraries are: qemu's option -L for that also changes absolute paths of the host
        that exist below the root, `/` among them.
        """
        qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
        if qemu is None:
            raise HostError("qemu-aarch64 is missing: run `python3 tools/host.py ensure --for test`")
        return [
            "env",
            f"QEMU_CPU={QEMU_CPU}",
            qemu,
            str(self.path / "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"),
            "--library-path",
            str(self.path / "usr/lib/aarch64-linux-gnu"),
            str(self.path / "usr/bin/python3.11"),
            "-I",
            *arguments,
        ]


def debian13_root() -> Root:
    """Debian 13 with Python 3.13 and nothing that pip ever touched; made on first use (HostError if it cannot be)."""
    dpkg = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return Root(_cached(Recipe("trixie", dpkg.stdout.strip(), ("python3", "ca-certificates", "libstdc++6"))))


def arm64_root() -> Arm64:
    """Debian 12 for arm64 with Python 3.11; made on first use (HostError if it cannot be)."""
    return Arm64(_cached(Recipe("bookworm", "arm64", ("python3", "libsqlite3-0", "ca-certificates", "libstdc++6"))))


@pytest.fixture(scope="session")
def debian13() -> Root:
    """Debian 13's userland: `debian13.run(["python3", "-I", "/mnt/mcp.pyz", "version"], binds={dist: "/mnt"})`."""
    return _or_fail(debian13_root)


@pytest.fixture(scope="session")
def arm64() -> Arm64:
    """Emulated arm64: `subprocess.run(arm64.argv(dist / "mcp-1.0-linux-arm64.pyz", ["version"]))`."""
    return _or_fail(arm64_root)


def _or_fail(make: Callable[[], T]) -> T:
    """A root that cannot be made fails the test with one line; it is never a reason to skip."""
    try:
        return make()
    except HostError as error:
        why = str(error)
    pytest.fail(why, pytrace=False)


def cache() -> Path:
    """Where the roots lie; each is 200 to 250 MB."""
    return bootstrap.cache() / "roots"


def _cached(recipe: Recipe) -> Path:
    root = cache() / recipe.name
    with locked(cache() / f"{recipe.suite}-{recipe.arch}.lock"):
        if not root.is_dir():
            for stale in cache().glob(f"*{recipe.suite}-{recipe.arch}-*"):
                _remove(stale)
            partial = cache() / f"partial-{recipe.name}"
            try:
                _build(recipe, partial)
            except BaseException:
                _remove(partial)
                raise
            partial.rename(root)
    return root


def _build(recipe: Recipe, target: Path) -> None:
    # "lxc" is how debootstrap is told that it may not make device nodes, which a foreign root never gets anyway
    checked(
        [
            "env",
            "container=lxc",
            *_unshare(),
            "--",
            "debootstrap",
            "--foreign",
            "--variant=minbase",
            f"--arch={recipe.arch}",
            f"--include={','.join(recipe.include)}",
            recipe.suite,
            str(target),
            mirror(),
        ],
        SECONDS,
    )
    for package in sorted((target / "var/cache/apt/archives").glob("*.deb")):
        _unpack(package, target)
        package.unlink()
    _configure(target)
    _compile(recipe, target)


def _unpack(package: Path, target: Path) -> None:
    """Like dpkg-deb --extract, which would replace the links /bin and /lib by folders."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as tar:
        argv = [*_unshare(), "--", "tar", "-xf", "-", "--keep-directory-symlink", "-C", str(target)]
        done = subprocess.run(argv, stdin=tar.stdout, capture_output=True, text=True, check=False)
    if done.returncode or tar.returncode:
        raise HostError(f"{package.name} cannot be unpacked: {done.stderr.strip().splitlines()[-1:]}")


def _configure(target: Path) -> None:
    """The little of the packages' own set-up that programs notice."""
    (target / "etc").mkdir(exist_ok=True)
    (target / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")
    (target / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    (target / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    if (target / "proc").is_symlink():  # where debootstrap believes to be in lxc; a chroot cannot follow it
        (target / "proc").unlink()
    for folder in (*WRITABLE, "dev", "proc"):
        (target / folder).mkdir(exist_ok=True)


def _compile(recipe: Recipe, target: Path) -> None:
    """Debian's packages compile their modules when they are configured; else each start would do it anew."""
    compileall = ["-I", "-m", "compileall", "-q"]
    if recipe.arch == "arm64":
        checked(
            [*_unshare(), "--", *Arm64(target).python([*compileall[1:], str(target / "usr/lib/python3.11")])], SECONDS
        )
    else:
        version = next(target.glob("usr/lib/python3.*")).name
        checked(
            [*_unshare(), "--", "chroot", str(target), "/usr/bin/python3", *compileall, f"/usr/lib/{version}"], SECONDS
        )


def _run(argv: list[str], seconds: float) -> Done:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False)


def _unshare() -> list[str]:
    """Root needs nothing; anybody else becomes root of a user namespace with all of the subordinate IDs."""
    return ["unshare"] if machine.is_root() else ["unshare", "--map-auto", "--map-root-user"]


def _remove(folder: Path) -> None:
    if folder.is_dir():
        subprocess.run([*_unshare(), "--", "rm", "-rf", "--one-file-system", str(folder)], check=True)
