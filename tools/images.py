"""Build small container images without registry, network or Dockerfile.

An image has one layer with Debian's static busybox and the programs in PROGRAMS; images differ in their command.
`podman load` of an archive takes 0.2 s for all images, `podman build` 0.5 s for each.
"""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

from tools.hostlib.machine import HostError
from tools.hostlib.rootless import Rootless

VERSION = "1.0.0"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
NANOSECONDS = 1_000_000_000

# Each is /bin/NAME in every image; definitions select one by cmd = ["NAME"].
# Process 1 has no default signal handlers, hence the traps.
PROGRAMS = {
    # Answers "mcp test image VERSION" on $PORT, logs a line a second, every fifth also to stderr.
    "web": """\
trap 'echo "web: stopping"; exit 0' TERM INT
mkdir -p /tmp/www && echo "mcp test image $VERSION" >/tmp/www/index.html
httpd -f -p "${PORT:-8080}" -h /tmp/www &
echo "web $VERSION: listening on port ${PORT:-8080}"
n=0
while :; do
  n=$((n + 1)); echo "web: tick $n"
  [ $((n % 5)) -ne 0 ] || echo "web: warning $n" >&2
  sleep 1 & wait $!
done
""",
    # Prints numbered lines: $COUNT of them (0: no end), $INTERVAL seconds apart (0: as fast as it can), then waits.
    "worker": """\
trap 'echo "worker: stopping"; exit 0' TERM INT
n=0
while [ "${COUNT:-0}" -eq 0 ] || [ "$n" -lt "$COUNT" ]; do
  n=$((n + 1)); echo "worker: line $n"
  [ "${INTERVAL:-1}" = 0 ] || { sleep "${INTERVAL:-1}" & wait $!; }
done
while :; do sleep 3600 & wait $!; done
""",
    # Ends at once with exit code 3.
    "fail": """\
echo "fail: starting"
echo "fail: cannot read the configuration" >&2
exit 3
""",
    # Ends by itself after 2 s with exit code 0.
    "brief": """\
echo "brief: starting"; sleep 2; echo "brief: done"
""",
    # Its health check passes while /run/healthy exists, which it does from the start.
    "health": """\
trap 'exit 0' TERM INT
touch /run/healthy
echo "health: up"
while :; do sleep 3600 & wait $!; done
""",
    # Only SIGKILL ends it.
    "stubborn": """\
trap 'echo "stubborn: no"' TERM INT
echo "stubborn: up"
while :; do sleep 3600 & wait $!; done
""",
}

ACCOUNTS = {
    "passwd": "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
}


@dataclass(frozen=True)
class Image:
    """An image; its version is the tag and $VERSION for the programs."""

    name: str
    version: str = VERSION
    health: list[str] = field(default_factory=list)
    architecture: str = ""  # as in GOARCH; empty: the machine's
    volumes: tuple[str, ...] = ()  # paths at which podman mounts an anonymous volume

    @property
    def reference(self) -> str:
        """The image reference for definitions."""
        return f"localhost/mcp-{self.name}:{self.version}"

    def config(self, layer: bytes) -> bytes:
        """Return the OCI/Docker image configuration for the layer, as reproducible JSON."""
        config = {
            "Cmd": [f"/bin/{'web' if self.name == 'demo' else self.name}"],
            "Env": ["PATH=/bin", f"VERSION={self.version}"],
            "Labels": {"org.opencontainers.image.version": self.version},
        }
        config |= {"Healthcheck": {"Test": self.health, "Interval": NANOSECONDS}} if self.health else {}
        config |= {"Volumes": {path: {} for path in self.volumes}} if self.volumes else {}
        return json.dumps(
            {
                "architecture": self.architecture or ARCHITECTURES.get(platform.machine(), platform.machine()),
                "os": "linux",
                "created": "2020-01-01T00:00:00Z",
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
            },
            sort_keys=True,
        ).encode()


def names() -> list[str]:
    """Return all image names: one per program, and "demo" (web by default)."""
    return ["demo", *PROGRAMS]


def image(name: str, version: str = VERSION) -> Image:
    """Return the image with that name; raises KeyError."""
    if name not in names():
        raise KeyError(name)
    return Image(name, version, ["CMD", "/bin/test", "-e", "/run/healthy"] if name == "health" else [])


def build(rootless: Rootless, name: str, version: str = VERSION) -> str:
    """Build and load one image; return its reference."""
    return build_all(rootless, [image(name, version)])[name]


def build_all(rootless: Rootless, images: Iterable[Image] | None = None) -> dict[str, str]:
    """Build and load images (default: all) at once; return references by name. Raises HostError."""
    wanted = [image(name) for name in names()] if images is None else list(images)
    rootless.run(["podman", "load", "--quiet"], stdin=archive(wanted))
    return {each.name: each.reference for each in wanted}


def archive(images: list[Image]) -> bytes:
    """Return an archive as from `docker save`, with one shared layer."""
    layer = _layer()
    files = {"layer.tar": layer}
    manifest = []
    for number, each in enumerate(images):
        files[f"{number}.json"] = each.config(layer)
        manifest.append({"Config": f"{number}.json", "RepoTags": [each.reference], "Layers": ["layer.tar"]})
    files["manifest.json"] = json.dumps(manifest).encode()
    return _tar([_file(name, content, 0o644) for name, content in files.items()])


Entry = tuple[tarfile.TarInfo, bytes]


def _layer() -> bytes:
    busybox = which("busybox", path="/usr/bin:/bin")
    if busybox is None:
        raise HostError("busybox is missing: run `python3 tools/host.py ensure --for demo`")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    entries = [_folder(name, mode) for name, mode in (("bin", 0o755), ("etc", 0o755), ("run", 0o1777), ("tmp", 0o1777))]
    entries += [_file(f"etc/{name}", text.encode(), 0o644) for name, text in ACCOUNTS.items()]
    entries.append(_file("bin/busybox", Path(busybox).read_bytes(), 0o755))
    entries += [_link(f"bin/{applet}", "busybox") for applet in sorted({*applets} - {"busybox", *PROGRAMS})]
    entries += [_file(f"bin/{name}", f"#!/bin/sh\n{text}".encode(), 0o755) for name, text in PROGRAMS.items()]
    return _tar(entries)


def _tar(entries: list[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _file(name: str, content: bytes, mode: int) -> Entry:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    return info, content


def _folder(name: str, mode: int) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    return info, b""


def _link(name: str, target: str) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info, b""
