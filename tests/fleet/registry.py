"""A registry on this machine, for nodes whose podman shall never have run before it pulls."""

import hashlib
import io
import json
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import wait_for
from tools import images
from tools.nodelib import network
from tools.nodelib.fleet import Fleet
from tools.nodelib.node import Node

PORT = 5000
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"  # as in the registry's own specification
SETTINGS = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/blobs}}}}
http: {{addr: "{address}"}}
"""


@contextmanager
def registry(fleet: Fleet, folder: Path) -> Iterator[str]:
    """Serve on the fleet's bridge, without TLS; the address, HOST:PORT."""
    address = f"{network.gateway(fleet.number)}:{PORT}"
    (folder / "config.yml").write_text(SETTINGS.format(folder=folder, address=address))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(f"http://{address}/v2/"), what=lambda: f"{(folder / 'log').read_text()}\nan answer")
        yield address
    finally:
        server.kill()
        server.wait(10)


def push(address: str, name: str) -> str:
    """Put an image of tools/images.py there; its reference."""
    image = images.image(name)
    with tarfile.open(fileobj=io.BytesIO(images.archive([image]))) as archive:
        layer, config = (_member(archive, member) for member in ("layer.tar", "0.json"))
    base = f"http://{address}/v2/{name}"
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _blob(base, config, "application/vnd.docker.container.image.v1+json"),
        "layers": [_blob(base, layer, "application/vnd.docker.image.rootfs.diff.tar")],
    }
    _send("PUT", f"{base}/manifests/{image.version}", json.dumps(manifest).encode(), MANIFEST)
    return f"{address}/{name}:{image.version}"


def trust(node: Node, address: str) -> None:
    """Let the node pull from there without TLS."""
    text = f'[[registry]]\nlocation = "{address}"\ninsecure = true\n'
    node.run(["mkdir", "-p", "/etc/containers/registries.conf.d"])
    node.write("/etc/containers/registries.conf.d/test.conf", text)


def _blob(base: str, content: bytes, kind: str) -> dict[str, object]:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    place = _send("POST", f"{base}/blobs/uploads/", b"", "")
    _send("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", content, "application/octet-stream")
    return {"mediaType": kind, "size": len(content), "digest": digest}


def _send(method: str, url: str, content: bytes, kind: str) -> str:
    request = urllib.request.Request(url, content, {"Content-Type": kind} if kind else {}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.headers.get("Location", ""))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True
