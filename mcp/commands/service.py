"""mcp service list|show|edit|export|schema"""

import argparse
from typing import TYPE_CHECKING

from mcp.commands.shared import Group, arguments, nodes
from mcp.commands.shared.edit import EDIT
from mcp.shared.command import Command, Configuration, Kind, argument, flag
from mcp.shared.errors import EXIT_DONE, EXIT_FAILED, InvalidInput, McpError, NotFound
from mcp.terminal import output

if TYPE_CHECKING:
    from pathlib import Path

    from mcp.client.session import Session
    from mcp.definitions.definitions import Definition
    from mcp.definitions.export import Exported

STDOUT = "-"
SCHEMAS = ("definition", "config")


def _list(session: "Session", args: argparse.Namespace) -> int:
    from mcp.definitions import definitions

    rows: list[nodes.Row] = []
    status = EXIT_DONE
    for name in definitions.service_names(session.config):
        try:
            definition = definitions.load(session.config, name)
        except McpError as error:
            output.error(str(error))
            status = error.exit_code
            continue
        service = definition.service
        facts = {"node": definition.node, "active": service.active, "components": list(service.component_names())}
        rows.append({"service": name, **facts})
    columns = ("service", "node", "active", "components")
    nodes.show(rows, columns, args.json, {"active": lambda row: "yes" if row["active"] else "no"})
    return status


def _show(session: "Session", args: argparse.Namespace) -> int:
    from dataclasses import replace

    from mcp.definitions import definitions
    from mcp.definitions.writer import write_full
    from mcp.shared.fields import effective

    definition = definitions.load(session.config, args.target)
    shown = replace(definition, service=effective(definition.service))
    if args.json:
        output.print_json(_as_json(shown))
    else:
        output.text(write_full(shown))
    definitions.check_build(definition, str(definitions.definition_path(session.config, args.target)))
    return EXIT_DONE


def _as_json(definition: "Definition") -> dict[str, object]:
    import dataclasses

    from mcp.shared.names import container_name

    service = definition.service
    components = [
        {"container": container_name(service.name, component.name), **dataclasses.asdict(component)}
        for component in service.components
    ]
    head = {"name": service.name, "node": definition.node, "active": service.active}
    build = {"path": definition.path, "version": definition.version, "build": {"images": dict(definition.build.images)}}
    return {**head, **build, "components": components}


def _schema(_session: None, args: argparse.Namespace) -> int:
    from mcp.definitions.schema import config_schema, definition_schema

    output.print_json(definition_schema() if args.file == SCHEMAS[0] else config_schema())
    return EXIT_DONE


def _export(session: "Session", args: argparse.Namespace) -> int:
    if args.output == STDOUT and not args.target:
        raise InvalidInput("--output -: cannot print several definitions", "name a SERVICE, or give a folder")
    from mcp.definitions.export import collect

    selected = nodes.select(session, args.node)
    answers = nodes.ask(session, selected, lambda agent: agent.list_services(with_env=args.with_env))
    unanswered = nodes.finish(answers)
    registered = {answer.node.name: answer.value.services for answer in answers if answer.value}
    exports = collect(registered, args.target or "", with_env=args.with_env)
    if not exports and not unanswered:
        where = args.node or "any node"
        raise NotFound(
            f"no service {args.target} is registered on {where}" if args.target else "no service is registered"
        )
    folder = _expanded(args.output) if args.output else session.config.services_dir
    failed = [exported.service for exported in exports if not _export_one(exported, args, folder)]
    return unanswered or (EXIT_FAILED if failed else EXIT_DONE)


def _expanded(text: str) -> "Path":
    from mcp.shared.files import expand

    try:
        return expand(text)
    except ValueError as error:
        raise InvalidInput(f"--output {text}: {error}") from None


def _export_one(exported: "Exported", args: argparse.Namespace, folder: "Path") -> bool:
    from mcp.definitions.export import left_out, save
    from mcp.definitions.writer import write

    changed = True
    try:
        if exported.definition is None:
            raise exported.error or McpError(f"{exported.service}: has no definition")
        if args.output == STDOUT:
            output.text(write(exported.definition))
        else:
            path, changed = save(exported.definition, folder, force=args.force)
            output.line(f"{exported.service}: {'written to' if changed else 'unchanged in'} {path}")
    except McpError as error:
        output.error(str(error))
        return False
    if changed and (names := left_out(exported.definition)):
        output.note(f"{exported.service}: without the values of {', '.join(names)}: add them, or use --with-env")
    for problem in exported.problems:
        output.error(f"{exported.service}: {problem}; correct the definition before its next deploy")
    return not exported.problems


_LIST = Command("list", "list definitions", _list, arguments=(arguments.JSON,))
_SHOW = Command(
    "show",
    "print a definition with its effective defaults",
    _show,
    arguments=(arguments.one_service("the service"), flag("--json", help="print JSON instead of TOML")),
)
_EXPORT = Command(
    "export",
    "write the definitions of registered services to files",
    _export,
    changes=True,
    arguments=(
        arguments.one_service("the service (default: all)", optional=True),
        arguments.node("only this node"),
        argument(
            *("-o", "--output"),
            metavar=Kind.DIR_OR_STDOUT,
            help="the folder to write to, or - for standard output (default: [services] dir of mcp.toml)",
        ),
        flag("--force", help="overwrite files that differ; comments and [build] are lost"),
        flag("--with-env", help="with the values of variables; needs the role admin, and the nodes log it"),
    ),
)
_SCHEMA = Command(
    "schema",
    "print the JSON Schema of definitions or mcp.toml, for editors",
    _schema,
    configuration=Configuration.NONE,
    arguments=(
        argument("file", nargs="?", choices=SCHEMAS, default=SCHEMAS[0], help="the kind of file (default: definition)"),
    ),
)
COMMAND = Command(
    "service",
    "list, show, edit or export definitions",
    group=Group.DEFINITIONS,
    commands=(_LIST, _SHOW, EDIT, _EXPORT, _SCHEMA),
)
