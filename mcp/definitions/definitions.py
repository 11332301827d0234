"""Strict parser of service definitions, SERVICE.toml."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mcp.config.configuration import Config
from mcp.shared.errors import InvalidFile, McpError, NotFound, Problem
from mcp.shared.fields import Field, about, fields_of, in_file_order, optional, problems
from mcp.shared.names import NAME_FIELD, check_name, is_name
from mcp.shared.spec import ServiceSpec
from mcp.shared.toml import Table, parse_toml, read_text, read_toml

BUILD_KEYS = ("path", "version", "build")  # for building images only: other commands ignore problems in them


@dataclass(frozen=True)
class BuildSpec:
    """Build instructions for the images of a service."""

    images: tuple[tuple[str, str], ...] = optional(
        (),
        "Dockerfile of each image, by image name without registry and tag",
        example=(("SERVICE", "Dockerfile"),),
    )


@dataclass(frozen=True)
class Definition:
    """A service definition: a node, and the service to run on it.

    `build_problems` are the problems of BUILD_KEYS, see `check_build`.
    """

    node: str = field(metadata=about("Node that it runs on, of `mcp.toml`", example="rift", **NAME_FIELD))
    service: ServiceSpec
    path: str = optional(
        "",
        "Source tree, relative to `[build] workspace` of `mcp.toml`",
        example="../SERVICE",
        unset="the service's name",
    )
    version: str = optional("", "Version of the source tree", example="v1.0.0")
    build: BuildSpec = optional(BuildSpec(), "How images are built")
    build_problems: tuple[str, ...] = ()


def document_fields() -> list[Field]:
    """Return all declared fields of a definition, in the order of the file."""
    service, own = fields_of(ServiceSpec), fields_of(Definition)
    return in_file_order([service[0], own[0], *service[1:], *own[1:]])


def definition_path(config: Config, service: str) -> Path:
    """Return the path of the definition of a service."""
    return config.services_dir / f"{check_name('service', service)}.toml"


def load(config: Config, service: str) -> Definition:
    """Read a definition; raises InvalidFile with all problems, NotFound with the defined services."""
    path = definition_path(config, service)
    if not path.exists():
        names = service_names(config)
        hint = f"defined services: {', '.join(names)}" if names else "there are no definitions yet"
        raise NotFound(f"no definition for {service} in {config.services_dir}", hint)
    definition = parse(read_text(path), str(path))
    if definition.service.name != service:
        raise InvalidFile(str(path), [f'name: is "{definition.service.name}", but the file is named {path.name}'])
    return definition


def service_names(config: Config) -> list[str]:
    """List the defined services by name; raises McpError if the folder cannot be read."""
    try:
        paths = sorted(config.services_dir.iterdir()) if config.services_dir.exists() else []
    except OSError as error:
        raise McpError(f"{config.services_dir}: cannot be read: {error.strerror}") from None
    return [path.stem for path in paths if path.suffix == ".toml" and is_name(path.stem)]


def services_of(config: Config, node: str) -> list[str]:
    """List the services whose definition names a node, even if invalid; raises InvalidFile if one is not TOML."""
    paths = {name: definition_path(config, name) for name in service_names(config)}
    return [name for name, path in paths.items() if parse_toml(read_text(path), str(path)).get("node") == node]


def homes(config: Config) -> dict[str, str]:
    """Return the node of each service, without those whose definition is invalid or cannot be read."""
    found: dict[str, str] = {}
    with suppress(McpError):
        for name in service_names(config):
            with suppress(McpError):
                found[name] = load(config, name).node
    return found


def check_build(definition: Definition, file: str) -> None:
    """Raise InvalidFile for problems of BUILD_KEYS, which `parse` ignores."""
    if definition.build_problems:
        raise InvalidFile(file, definition.build_problems)


def parse(text: str, file: str) -> Definition:
    """Parse a definition; raises InvalidFile with all problems, except those of BUILD_KEYS (see `check_build`)."""
    return read_toml(Path(file), _definition, text, lambda found: [*problems(found), *problems(found.service)])


def _definition(root: Table) -> Definition:
    build_problems: list[Problem] = []
    building = root.apart(BUILD_KEYS, build_problems)
    values = {field.name: (building if field.name in BUILD_KEYS else root).value(field) for field in document_fields()}
    service = ServiceSpec(**{field.name: values.pop(field.name) for field in fields_of(ServiceSpec)})
    values["path"] = values["path"] or service.name
    return Definition(service=service, build_problems=tuple(build_problems), **values)
