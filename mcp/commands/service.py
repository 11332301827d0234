"""mcp service show|edit|export"""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from mcp.client import fleet
from mcp.client.session import Session
from mcp.commands import arguments
from mcp.definitions import definitions
from mcp.definitions.definitions import Definition
from mcp.definitions.writer import write, write_full
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, InvalidInput, McpError, NotFound
from mcp.shared.names import container_name
from mcp.terminal import output

if TYPE_CHECKING:
    from mcp.definitions.export import Exported

STDOUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its sub-commands."""
    commands = parser.add_subparsers(dest="service_command", required=True, metavar="COMMAND")
    showing = arguments.add_command(commands, "show", "print a definition as MCP understands it, with every default")
    _add_service(showing)
    showing.add_argument("--json", action="store_true", help="print JSON instead of TOML")
    editing = arguments.add_command(commands, "edit", "edit a definition, or write a new one, and check it")
    editing.description = f"{editing.description} The editor is VISUAL, EDITOR or vi. Nothing is deployed."
    _add_service(editing)
    exporting = arguments.add_command(commands, "export", "write definitions from what the nodes have registered")
    _add_service(exporting, optional=True)
    exporting.add_argument("--node", metavar="NODE", help="ask only this node")
    exporting.add_argument(
        "-o", "--output", metavar="DIR|-", help="where to (default: the services folder of mcp.toml); - is stdout"
    )
    exporting.add_argument(
        "--force", action="store_true", help="replace files that differ, with all that only they have, as [build]"
    )


def _add_service(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    what = "which one (default: all)" if optional else "which one"
    parser.add_argument("target", type=arguments.service, metavar="SERVICE", help=what, nargs="?" if optional else None)


def run(session: Session, args: argparse.Namespace) -> int:
    """Do one of them."""
    return {"show": _show, "edit": _edit, "export": _export}[args.service_command](session, args)


def _show(session: Session, args: argparse.Namespace) -> int:
    definition = definitions.load(session.config, args.target)
    if args.json:
        output.print_json(_as_json(definition))
    else:
        output.text(write_full(definition))
    definitions.check_build(definition, str(definitions.definition_path(session.config, args.target)))
    return EXIT_DONE


def _as_json(definition: Definition) -> dict[str, object]:
    service = definition.service
    components = [
        {"container": container_name(service.name, component.name), **dataclasses.asdict(component)}
        for component in service.components
    ]
    head = {"name": service.name, "node": definition.node, "active": service.active}
    build = {"path": definition.path, "version": definition.version, "build": {"images": dict(definition.images)}}
    return {**head, **build, "components": components}


def _edit(session: Session, args: argparse.Namespace) -> int:
    from mcp.definitions.edit import edit  # slow to import, as is what export needs

    changed = edit(session.config, args.target)
    path = definitions.definition_path(session.config, args.target)
    if changed:
        output.line(f"{args.target}: written to {path}; `mcp deploy {args.target}` makes it so")
    elif path.exists():
        output.line(f"{args.target}: unchanged")
    else:
        output.line(f"{args.target}: the template is unchanged; nothing was written")
    return EXIT_DONE


def _export(session: Session, args: argparse.Namespace) -> int:
    if args.output == STDOUT and not args.target:
        raise InvalidInput("--output -: several definitions are no definition", "name a SERVICE, or give a folder")
    from mcp.definitions.export import collect

    nodes = [session.config.node(args.node)] if args.node else session.config.nodes
    answers = fleet.ask_all(session, nodes, lambda agent: agent.list_services())
    for answer in answers:
        if answer.error is not None:
            output.error(str(answer.error))
    registered = {answer.node.name: answer.value.services for answer in answers if answer.value}
    found = collect(registered, args.target or "")
    unanswered = fleet.exit_code(answers)
    if not found and not unanswered:
        where = args.node or "any node"
        raise NotFound(
            f"no service {args.target} is registered on {where}" if args.target else "no service is registered"
        )
    folder = Path(args.output).expanduser() if args.output else session.config.services_dir
    failed = [one.service for one in found if not _export_one(one, args, folder)]
    return unanswered or (EXIT_FAILED if failed else EXIT_DONE)


def _export_one(one: "Exported", args: argparse.Namespace, folder: Path) -> bool:
    from mcp.definitions.export import save

    try:
        if one.definition is None:
            raise one.error or McpError(f"{one.service}: has no definition")
        if args.output == STDOUT:
            output.text(write(one.definition))
            return True
        path, changed = save(one.definition, folder, force=args.force)
    except McpError as error:
        output.error(str(error))
        return False
    output.line(f"{one.service}: {'written to' if changed else 'unchanged in'} {path}")
    return True
