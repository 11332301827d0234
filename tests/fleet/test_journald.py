"""The journald reader on real nodes, whose podman logs to journald by default: `podman logs` is the oracle."""

import subprocess
from collections.abc import Iterator

import pytest

from mcp.shared.resources import ROOT
from tests.fleet import read_journal
from tools.nodelib.node import Node

SOURCE = "/srv/reader"
ODD = r"""
echo plain; echo error >&2; echo; printf 'nul\0 in line\r\n'; printf 'bad \377\376 utf8\n'
i=0; while [ $i -lt 3000 ]; do printf 'a long line '; i=$((i+1)); done; echo
printf 'part '; sleep 0.5; echo other >&2; echo 'and its end'
i=0; while [ $i -lt 200 ]; do echo "out $i"; echo "error $i" >&2; i=$((i+1)); done
printf 'no end'
"""
# The program in the node: writes the log of a container to its own standard output and error.
READ = (
    f"import runpy, sys; sys.path.insert(0, {SOURCE!r}); "
    f"runpy.run_module({read_journal.__name__!r}, run_name='__main__')"
)


@pytest.fixture(scope="module")
def reader(node: Node) -> Iterator[Node]:
    """A node with the reader's modules."""
    files = ["agent", "mcp", "tests/__init__.py", "tests/fleet/__init__.py", "tests/fleet/read_journal.py"]
    argv = ["tar", "-C", str(ROOT), "--exclude=__pycache__", "-cf", "-", *files]
    packed = subprocess.run(argv, capture_output=True, check=True).stdout
    node.run(["sh", "-ec", f"mkdir -p {SOURCE}; tar -C {SOURCE} -xf -"], stdin=packed)
    yield node
    node.run(["podman", "rm", "--force", "--all", "--time", "0"], user="mcp")


def logged(node: Node, script: str) -> str:
    """The id of a container that ran a script to its end."""
    argv = ["podman", "run", "--detach", "--network", "none", "localhost/mcp-web:1.0.0", "sh", "-c", script]
    identifier = node.run(argv, user="mcp").stdout.strip()
    node.run(["podman", "wait", identifier], user="mcp")
    node.run(["journalctl", "--sync"])  # journald may be behind
    return identifier


def raw(node: Node, argv: list[str]) -> tuple[bytes, bytes]:
    with node.popen(argv, user="mcp") as process:
        return process.communicate(timeout=60)


def ours(node: Node, identifier: str, follow: float = 0, *tail: str) -> tuple[bytes, bytes]:
    return raw(node, ["/usr/bin/python3", "-I", "-c", READ, identifier, str(follow), *tail])


def test_it_is_byte_for_byte_what_podman_prints(reader: Node) -> None:
    identifier = logged(reader, ODD)
    expected = raw(reader, ["podman", "logs", identifier])
    assert expected[0].endswith(b"out 199\nno end")
    assert ours(reader, identifier) == expected
    assert ours(reader, identifier, 1) == expected
    last = ours(reader, identifier, 0, "3")
    assert b"".join(last).count(b"\n") == 2
    assert expected[0].endswith(last[0])


def test_a_follower_sees_lines_as_they_come(reader: Node) -> None:
    argv = ["podman", "run", "--detach", "--network", "none", "localhost/mcp-web:1.0.0", "sh", "-c"]
    script = "i=0; while [ $i -lt 40 ]; do echo $i; sleep 0.05; i=$((i+1)); done; sleep 60"
    identifier = reader.run([*argv, script], user="mcp").stdout.strip()
    assert ours(reader, identifier, 4) == (b"".join(b"%d\n" % number for number in range(40)), b"")


def test_without_the_group_it_says_what_to_do(reader: Node) -> None:
    identifier = logged(reader, "echo hello")
    argv = ["setpriv", "--reuid=mcp", "--regid=mcp", "--clear-groups", "--"]
    done = reader.run([*argv, "/usr/bin/python3", "-I", "-c", READ, identifier, "0"], check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "mcp: the journal cannot be read: user mcp is not in the group systemd-journal; as root, run `usermod -aG "
    )
    assert done.stderr.count("\n") == 1
