"""mcp node list|add|remove|provision"""

import argparse
import getpass
import re
from collections.abc import Sequence
from pathlib import Path

from mcp.client import fleet
from mcp.client.session import Session
from mcp.commands import arguments
from mcp.config.configuration import ARCHITECTURES, SUDO, Node, check_node
from mcp.config.node_entries import add_node, remove_node
from mcp.definitions import definitions
from mcp.shared.errors import EXIT_DONE, NotReady
from mcp.shared.names import check_name, is_name
from mcp.terminal import output

HEADERS = ("NODE", "ADDRESS", "ARCH", "STATE", "AGENT", "PODMAN", "SERVICES")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its sub-commands."""
    commands = parser.add_subparsers(dest="node_command", required=True, metavar="COMMAND")
    listing = arguments.add_command(commands, "list", "show the nodes of mcp.toml, and whether their agents answer")
    arguments.add_json(listing)
    adding = arguments.add_command(commands, "add", "add a node to mcp.toml, which is otherwise left as it is")
    adding.add_argument("name", metavar="NAME", help="lower-case letters, digits and -")
    adding.add_argument("address", metavar="ADDRESS", help="where its agent listens: HOST:PORT, as in 10.0.0.5:9444")
    adding.add_argument("--ssh", default="", metavar="DEST", help="its ssh destination (default: its name)")
    adding.add_argument("--arch", default="", choices=ARCHITECTURES, help="its architecture")
    adding.add_argument("--sudo", default="", choices=SUDO[1:], help="how to become root there (default: not needed)")
    removing = arguments.add_command(commands, "remove", "remove a node from mcp.toml; nothing on the node changes")
    removing.add_argument("name", metavar="NODE", help="which one")
    removing.add_argument("--force", action="store_true", help="even if definitions refer to it")
    _add_provision(commands)


def _add_provision(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    summary = "set a bare Debian node up over ssh: podman, account, certificate, agent"
    making = arguments.add_command(commands, "provision", f"{summary}; can be repeated")
    making.add_argument("name", metavar="NODE", help="which one; it is in mcp.toml already")
    making.add_argument("--dry-run", action="store_true", help="show every step and its commands, and change nothing")
    making.add_argument("--from", dest="folder", type=arguments.folder, metavar="DIR", help="where the agent files are")
    making.add_argument("--uid", type=_uid, metavar="N", help="the UID of user mcp there (default: 850); for ever")
    making.add_argument("--listen", default="", metavar="IP", help="where its agent listens (default: its address)")
    making.add_argument(
        "--replace-certificate", action="store_true", help="also where the node's is of another operator's authority"
    )
    making.add_argument("--cert", type=Path, metavar="FILE", help="a certificate, with its chain, of your own")
    making.add_argument("--key", type=Path, metavar="FILE", help="its key")
    making.add_argument("--account", metavar="NAME", help="whose your token is there (default: your user name)")


def _uid(text: str) -> int:
    value = arguments.count(text)
    if not 1 <= value < 65534:
        raise argparse.ArgumentTypeError(f"{text} is not a UID from 1 to 65533")
    return value


def run(session: Session, args: argparse.Namespace) -> int:
    """Do one of them."""
    commands = {"list": _list, "add": _add, "remove": _remove, "provision": _provision}
    return commands[args.node_command](session, args)


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


def _provision(session: Session, args: argparse.Namespace) -> int:
    from mcp.nodes.provision.certificate import Own  # gRPC and asyncio are slow to import
    from mcp.nodes.provision.run import Options, provision

    node = session.config.node(args.name)
    account = check_name("--account", args.account) if args.account else _user_name()
    options = Options(
        args.dry_run, args.folder, args.uid, args.listen, Own(args.cert, args.key, args.replace_certificate), account
    )
    changes = provision(session, node, options, _report)
    if args.dry_run:
        would = f"{changes} changes would be made, none was" if changes else "nothing to change"
        output.line(f"{node.name}: {would}")
    else:
        output.line(f"{node.name}: ready, {changes} changes" if changes else f"{node.name}: ready, nothing to change")
    return EXIT_DONE


def _report(state: str, what: str, details: Sequence[str]) -> None:
    output.line(f"{state:<13} {what}")
    for detail in details:
        output.line(f"{'':<13}   {detail}")


def _user_name() -> str:
    """Ours, as a name that an account can have."""
    name = re.sub("[^a-z0-9-]+", "-", getpass.getuser().lower()).strip("-")
    return name if is_name(name) else "operator"


def _list(session: Session, args: argparse.Namespace) -> int:
    answers = fleet.ask_all(session, session.config.nodes, lambda agent: agent.node_status())
    rows = []
    for answer in answers:
        status = answer.value
        rows.append(
            {
                "node": answer.node.name,
                "address": answer.node.address,
                "arch": (status.architecture if status else "") or answer.node.arch or None,
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
