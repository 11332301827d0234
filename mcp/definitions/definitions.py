"""Service definitions: NAME.toml files, read strictly."""

from dataclasses import dataclass
from pathlib import Path

from mcp.config.configuration import Config
from mcp.shared import spec
from mcp.shared.errors import InvalidFile, McpError, NotFound
from mcp.shared.names import NAME_RULE, check_name, is_name
from mcp.shared.spec import LOG_DRIVERS, RESTART_DEFAULT, ComponentSpec, HealthSpec, RouteSpec, ServiceSpec
from mcp.shared.toml import Table, parse_toml, read_text

BUILD_KEYS = ("path", "version", "build")  # for building images only: no other command needs them to be right


@dataclass(frozen=True)
class Definition:
    """A service definition: which node it belongs to, and what should run there.

    `path` is the source tree, relative to `[build] workspace` of mcp.toml, which it may leave; `images` are names of
    images with their Dockerfiles. `build_problems` is what is wrong with the keys for building, see `check_build`.
    """

    node: str
    service: ServiceSpec
    path: str = ""
    version: str = ""
    images: tuple[tuple[str, str], ...] = ()
    build_problems: tuple[str, ...] = ()


def definition_path(config: Config, service: str) -> Path:
    """The file that defines a service."""
    return config.services_dir / f"{check_name('service', service)}.toml"


def load(config: Config, service: str) -> Definition:
    """Read one definition; raises InvalidFile with every problem, NotFound with the services there are."""
    path = definition_path(config, service)
    if not path.exists():
        names = service_names(config)
        hint = f"there are: {', '.join(names)}" if names else "there are no definitions yet"
        raise NotFound(f"no definition for {service} in {config.services_dir}", hint)
    definition = parse(read_text(path), str(path))
    if definition.service.name != service:
        raise InvalidFile(str(path), [f'name: is "{definition.service.name}", but the file is named {path.name}'])
    return definition


def service_names(config: Config) -> list[str]:
    """The services that have a definition, by name; raises McpError where the folder cannot be read."""
    try:
        paths = sorted(config.services_dir.iterdir()) if config.services_dir.exists() else []
    except OSError as error:
        raise McpError(f"{config.services_dir}: cannot be read: {error.strerror}") from None
    return [path.stem for path in paths if path.suffix == ".toml" and is_name(path.stem)]


def services_of(config: Config, node: str) -> list[str]:
    """The services whose definition names a node, whatever else is wrong there; raises InvalidFile for no TOML."""
    paths = {name: definition_path(config, name) for name in service_names(config)}
    return [name for name, path in paths.items() if parse_toml(read_text(path), str(path)).get("node") == node]


def check_build(definition: Definition, file: str) -> None:
    """Raise InvalidFile where keys that only building needs are wrong: every other command works without them."""
    if definition.build_problems:
        raise InvalidFile(file, list(definition.build_problems))


def parse(text: str, file: str) -> Definition:
    """A definition from TOML; raises InvalidFile with every problem, those of form before those of rules.

    Problems of BUILD_KEYS are not among them, see `check_build`.
    """
    found: list[str] = []
    root = Table(parse_toml(text, file), found)
    definition = _definition(root)
    root.close()
    # Rules would complain again of what already has the wrong form.
    known = {problem.partition(": ")[0] for problem in found}
    found += [rule for rule in spec.problems(definition.service) if rule.partition(": ")[0] not in known]
    if found:
        raise InvalidFile(file, found)
    return definition


def _definition(root: Table) -> Definition:
    node = root.text("node")
    if node and not is_name(node):
        root.problem("node", NAME_RULE)
    name = root.text("name")
    service = ServiceSpec(
        name=name,
        active=root.flag("active", True),
        components=tuple(_component(table) for table in root.tables("components")),
    )
    problems: list[str] = []
    building = root.apart(BUILD_KEYS, problems)
    path, version, images = building.text("path", name), building.text("version", ""), _images(building)
    return Definition(node, service, path, version, images, tuple(problems))


def _images(root: Table) -> tuple[tuple[str, str], ...]:
    """The images of [build.images], each with its Dockerfile."""
    build = root.table("build")
    images = build.table("images").items()
    for image, dockerfile in images.items():
        if not isinstance(dockerfile, str):
            build.problem(f"images.{image}", "expected a string, the path of a Dockerfile")
    build.close()
    return tuple((image, dockerfile) for image, dockerfile in images.items() if isinstance(dockerfile, str))


def _component(table: Table) -> ComponentSpec:
    component = ComponentSpec(
        name=table.text("name"),
        image=table.text("image"),
        network=table.text("network", ""),
        user=table.text("user", ""),
        restart=table.text("restart", RESTART_DEFAULT),
        ports=table.texts("ports"),
        volumes=table.texts("volumes"),
        cmd=table.texts("cmd"),
        routes=tuple(_route(route) for route in table.tables("routes")),
        env=table.texts("env"),
        health=_health(table.table("health")) if table.has("health") else None,
        log_driver=table.text("log_driver", LOG_DRIVERS[0]),
        log_max_size=table.text("log_max_size", ""),
    )
    table.close()
    return component


def _health(table: Table) -> HealthSpec:
    health = HealthSpec(
        cmd=table.texts("cmd"),
        interval=table.text("interval", ""),
        timeout=table.text("timeout", ""),
        retries=table.integer("retries", 0),
        start_period=table.text("start_period", ""),
    )
    table.close()
    return health


def _route(table: Table) -> RouteSpec:
    route = RouteSpec(
        name=table.text("name", ""),
        port=table.integer("port"),
        mode=table.text("mode", "l4"),
        hostname=table.text("hostname", ""),
    )
    table.close()
    return route
