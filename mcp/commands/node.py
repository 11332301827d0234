"""mcp node list|add|remove"""

import argparse

from mcp import fleet, output
from mcp import service as definitions
from mcp.commands import arguments
from mcp.config import ARCHITECTURES, SUDO, Node, check_node
from mcp.config_edit import add_node, remove_node
from mcp.session import Session
from mcp.shared.errors import EXIT_DONE, NotReady

HEADERS = ("NODE", "ADDRESS", "ARCH", "STATE", "AGENT", "PODMAN", "SERVICES")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its sub-commands."""
    commands = parser.add_subparsers(dest="node_command", required=True, metavar="COMMAND")
    listing = arguments.add_command(commands, "list", "show the nodes of mcp.toml, and whether their agents answer")
    arguments.add_json(listing)
    adding = arguments.add_command(commands, "add", "add a node to mcp.toml, which is otherwise left as it is")
    adding.add_argument("name", metavar="NAME", help="lower-case letters, digits and -")
    adding.add_argument("address", metavar="ADDRESS", help="where its agent listens: HOST:PORT, as in 10.0.0.5:9444")
    adding.add_argument("--ssh", default="", metavar="DEST", help="its ssh destination, for upgrading the agent")
    adding.add_argument("--arch", default="", choices=ARCHITECTURES, help="its architecture")
    adding.add_argument("--sudo", default="", choices=SUDO[1:], help="how to become root there (default: not needed)")
    removing = arguments.add_command(commands, "remove", "remove a node from mcp.toml; nothing on the node changes")
    removing.add_argument("name", metavar="NODE", help="which one")
    removing.add_argument("--force", action="store_true", help="even if definitions refer to it")


def run(session: Session, args: argparse.Namespace) -> int:
    """Do one of them."""
    return {"list": _list, "add": _add, "remove": _remove}[args.node_command](session, args)


def _add(session: Session, args: argparse.Namespace) -> int:
    node = check_node(Node(args.name, args.address, ssh=args.ssh, arch=args.arch, sudo=args.sudo))
    if node.name in [other.name for other in session.config.nodes]:
        raise NotReady(f"there is a node named {node.name} already", f"`mcp node remove {node.name}` removes it")
    add_node(session.config.source, node)
    output.line(f"{node.name}: added to {session.config.source}")
    return EXIT_DONE


def _remove(session: Session, args: argparse.Namespace) -> int:
    node = session.config.node(args.name)
    services = [] if args.force else definitions.services_of(session.config, node.name)
    if services:
        raise NotReady(
            f"{node.name} is the node of {', '.join(services)}", "undeploy or move them first, or use --force"
        )
    remove_node(session.config.source, node.name)
    output.line(f"{node.name}: removed from {session.config.source}")
    return EXIT_DONE


def _list(session: Session, args: argparse.Namespace) -> int:
    answers = fleet.ask_all(session, session.config.nodes, lambda agent: agent.node_status())
    rows = []
    for answer in answers:
        status = answer.value
        rows.append(
            {
                "node": answer.node.name,
                "address": answer.node.address,
                "arch": answer.node.arch or None,
                "state": answer.state,
                "agent": status.agent_version if status else None,
                "podman": status.runtime_version if status else None,
                "services": status.service_count if status else None,
            }
        )
        if answer.error is not None:
            output.error(str(answer.error))
    if args.json:
        output.print_json(rows)
    else:
        output.table(HEADERS, [["" if value is None else str(value) for value in row.values()] for row in rows])
    return fleet.exit_code(answers)
