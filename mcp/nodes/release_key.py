"""Check a file against the signed SHA256SUMS beside it, where mcp.toml names the keys of releases."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mcp.shared import proc
from mcp.shared.errors import NotReady

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
NAMESPACE = "mcp-release"  # of the signature, which `make release` makes: no other use of the key counts
SIZE_LIMIT = 1024 * 1024  # bytes of each of the two
SECONDS = 30.0


async def check(file: Path, sha256: str, keys: Sequence[str]) -> None:
    """Raise NotReady unless the SHA256SUMS beside a file is signed by one of the public keys, and has its hash."""
    sums, signature = _read(file, SUMS), _read(file, SIGNATURE)
    if not await _is_signed(sums, signature, keys):
        what = f"{file.parent / SIGNATURE} is no signature of {SUMS} by a key in [release] of mcp.toml"
        raise NotReady(what, "get the files of the release again, and do not use these")
    if sha256 not in {line.split()[0] for line in sums.decode(errors="replace").splitlines() if line.strip()}:
        what = f"{file} is not in the signed {SUMS} beside it: changed, or of another release"
        raise NotReady(what, "get the files of the release again, and do not use this one")


def _read(file: Path, name: str) -> bytes:
    path = file.parent / name
    try:
        with path.open("rb") as opened:
            return opened.read(SIZE_LIMIT)
    except OSError as error:
        what = f"{path}: {error.strerror}, and [release] of mcp.toml asks for a signed release"
        raise NotReady(what, f"put {SUMS} and {SIGNATURE} of the release beside {file.name}") from None


async def _is_signed(sums: bytes, signature: bytes, keys: Sequence[str]) -> bool:
    signers = "".join(f'{NAMESPACE} namespaces="{NAMESPACE}" {" ".join(key.split()[:2])}\n' for key in keys)
    with tempfile.TemporaryDirectory() as folder:
        allowed, given = _write(folder, "allowed_signers", signers.encode()), _write(folder, SIGNATURE, signature)
        argv = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", NAMESPACE, "-n", NAMESPACE, "-s", given]
        return (await proc.run(argv, seconds=SECONDS, stdin=sums)).returncode == 0


def _write(folder: str, name: str, content: bytes) -> str:
    path = Path(folder, name)
    path.write_bytes(content)
    return str(path)
