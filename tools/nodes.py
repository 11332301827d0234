#!/usr/bin/python3
"""Boot and end real nodes for manual tests: `make fleet` and `make fleet-down`.

Needs root. Exit status: 0 done, 1 failed (with one line on stderr), 2 usage.
"""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # started as a file: make `tools` and `mcp` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.hostlib import machine
from tools.hostlib.machine import HostError
from tools.nodelib import fleet
from tools.nodelib.image import SUITES

NODES = ("rift=12", "orion=13", "vega=12")


def up(nodes: dict[str, str], *, account: bool) -> None:
    """Boot nodes, keep them up, and print how to reach them."""
    made = fleet.create(nodes, account=account)
    made.keep()
    for node in made.nodes.values():
        print(f"{node.name:<8} {node.address:<14} Debian {node.debian}   ssh -F {made.ssh_config} {node.name}")
    print(f"Fleet {made.number} stays up until `make fleet-down`.")


def down(number: int | None) -> None:
    """End a fleet by number, or all of this clone; list the fleets of other clones."""
    removed = fleet.end_kept(number)
    print(f"removed {' '.join(removed)}" if removed else "no nodes of this clone are up")
    if number is None:
        for other, clone in sorted(fleet.kept().items()):
            print(f"fleet {other} of {clone or 'an unknown clone'} stays up; to end it: make fleet-down FLEET={other}")


def _node(text: str) -> tuple[str, str]:
    name, _, debian = text.partition("=")
    if debian not in SUITES or not name.isascii() or not name.isalnum() or len(name) > 32:
        raise argparse.ArgumentTypeError(f'"{text}" is not NAME=VERSION, as in rift=12; versions: {", ".join(SUITES)}')
    return name, debian


def main() -> int:
    """Run a command; report expected failures in one line."""
    parser = argparse.ArgumentParser(prog="nodes.py", description="Real nodes on this machine, in systemd-nspawn.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="boot nodes and keep them up")
    start.add_argument("nodes", nargs="*", type=_node, metavar="NAME=DEBIAN", help=f"default: {' '.join(NODES)}")
    start.add_argument("--bare", action="store_true", help="without the user mcp, as before provisioning")
    end = commands.add_parser("down", help="end the nodes that this clone keeps up")
    end.add_argument("fleet", nargs="?", type=int, metavar="FLEET", help="end the fleet of this number instead")
    arguments = parser.parse_args()
    return machine.exit_code("nodes", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    if not machine.is_root():
        raise HostError("only root can boot nodes")
    if arguments.command == "up":
        up(dict(arguments.nodes or map(_node, NODES)), account=not arguments.bare)
    else:
        down(arguments.fleet)


if __name__ == "__main__":
    sys.exit(main())
