"""mcp node list|add|remove|provision"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes
from mcp.config import ARCHITECTURES, SUDO
from mcp.shared.command import Command, Configuration, Kind, argument, flag
from mcp.shared.errors import EXIT_DONE, NotReady
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.client.fleet import NodeAnswer
    from mcp.client.session import Session
    from proto.mcp.v1 import mcp_pb2 as pb


def _uid(text: str) -> int:
    value = arguments.count(text)
    if not 1 <= value < 65534:
        raise argparse.ArgumentTypeError(f"{text} is not a UID from 1 to 65533")
    return value


def _add(session: "Session", args: argparse.Namespace) -> int:
    from mcp.config.configuration import Node, check_node
    from mcp.config.node_entries import add_node

    node = check_node(Node(args.name, args.address, ssh=args.ssh, arch=args.arch, sudo=args.sudo))
    if node.name in [other.name for other in session.config.nodes]:
        raise NotReady(f"node {node.name} already exists", f"remove it with `mcp node remove {node.name}`")
    add_node(session.config.source, node)
    output.line(f"{node.name}: added to {session.config.source}")
    return EXIT_DONE


def _remove(session: "Session", args: argparse.Namespace) -> int:
    from mcp.config.node_entries import remove_node
    from mcp.definitions import definitions

    node = session.config.node(args.name)
    services = [] if args.force else definitions.services_of(session.config, node.name)
    if services:
        raise NotReady(
            f"{node.name} is the node of {', '.join(services)}", "undeploy or move them first, or use --force"
        )
    remove_node(session.config.source, node.name)
    output.line(f"{node.name}: removed from {session.config.source}")
    return EXIT_DONE


def _provision(session: "Session", args: argparse.Namespace) -> int:
    from mcp.nodes.provision.certificate import Own  # gRPC and asyncio are slow to import
    from mcp.nodes.provision.run import Options, provision
    from mcp.shared.names import check_name

    node = session.config.node(args.name)
    account = check_name("--account", args.account) if args.account else _user_name()
    options = Options(
        args.dry_run, args.folder, args.uid, args.listen, Own(args.cert, args.key, args.replace_certificate), account
    )
    changes = provision(session, node, options, _report)
    if args.dry_run:
        would = f"{changes} changes would be made (dry run)" if changes else "nothing to change"
        output.line(f"{node.name}: {would}")
    else:
        output.line(f"{node.name}: ready, {changes} changes" if changes else f"{node.name}: ready, nothing to change")
    return EXIT_DONE


def _report(state: str, what: str, details: Sequence[str]) -> None:
    output.line(f"{state:<13} {what}")
    for detail in details:
        output.line(f"{'':<13}   {detail}")


def _user_name() -> str:
    """Return the local user name, if it is a valid account name."""
    import getpass
    import re

    from mcp.shared.names import is_name

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a UID without an entry in the user database
        user = ""
    name = re.sub("[^a-z0-9-]+", "-", user.lower()).strip("-")
    return name if is_name(name) else "operator"


def _list(session: "Session", args: argparse.Namespace) -> int:
    columns = ("node", "address", "arch", "state", "agent", "podman", "services")
    listing, selected = nodes.Listing(columns, lambda answer: [_row(answer)]), session.config.nodes
    return nodes.finish(
        nodes.show_all(session, selected, lambda agent: agent.node_status(), listing, as_json=args.json)
    )


def _row(answer: "NodeAnswer[pb.NodeStatusResponse]") -> nodes.Row:
    status = answer.value
    return {
        "node": answer.node.name,
        "address": answer.node.address,
        "arch": (status.architecture if status else "") or answer.node.arch or None,
        "state": answer.state,
        "agent": status.agent_version if status else None,
        "podman": status.runtime_version if status else None,
        "services": status.service_count if status else None,
    }


_LIST = Command("list", "list the nodes of mcp.toml and their state", _list, arguments=(arguments.JSON,))
_ADD = Command(
    "add",
    "add a node to mcp.toml",
    _add,
    changes=True,
    configuration=Configuration.OPTIONAL,
    arguments=(
        argument("name", metavar="NAME", help="lower-case letters, digits and -"),
        argument("address", metavar="ADDRESS", help="the address of its agent: HOST:PORT, as in 10.0.0.5:9444"),
        argument("--ssh", default="", metavar="DEST", help="the ssh destination (default: NAME)"),
        argument("--arch", default="", choices=ARCHITECTURES, help="the architecture (default: ask the node)"),
        argument("--sudo", default="", choices=SUDO, help="the command to become root (default: ssh logs in as root)"),
    ),
)
_REMOVE = Command(
    "remove",
    "remove a node from mcp.toml without changing the node",
    _remove,
    changes=True,
    arguments=(
        argument("name", metavar=Kind.NODE, help="the node"),
        flag("--force", help="remove it even if definitions refer to it"),
    ),
)
_PROVISION = Command(
    "provision",
    "set up a bare Debian node over ssh",
    _provision,
    changes=True,
    interrupted="run it again to continue",
    description="Provisioning installs podman and sets up the account, certificate and agent. It can be repeated.",
    arguments=(
        argument("name", metavar=Kind.NODE, help="a node of mcp.toml"),
        flag("--dry-run", help="only show every step and its commands"),
        argument(
            "--from",
            dest="folder",
            type=arguments.folder,
            metavar=Kind.DIR,
            help="the folder of agent files (default: that of mcp)",
        ),
        argument("--uid", type=_uid, metavar="N", help="the UID of user mcp, which cannot change later (default: 850)"),
        argument("--listen", default="", metavar="IP", help="the IP address to listen on (default: that of mcp.toml)"),
        flag("--replace-certificate", help="replace a certificate signed by another authority"),
        argument("--cert", type=arguments.path, metavar=Kind.FILE, help="a certificate of your own, with its chain"),
        argument("--key", type=arguments.path, metavar=Kind.FILE, help="the private key of the certificate"),
        argument("--account", metavar="NAME", help="the account for your token (default: your user name)"),
    ),
)
COMMAND = Command(
    "node", "list, add, remove or provision nodes", group=Group.NODES, commands=(_LIST, _ADD, _REMOVE, _PROVISION)
)
