"""Export of definitions from the registries of nodes to files."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mcp.definitions import definitions
from mcp.definitions.definitions import Definition
from mcp.definitions.writer import write
from mcp.shared.errors import InvalidFile, McpError, NotReady
from mcp.shared.fields import effective, problems, with_some_values, without_values
from mcp.shared.files import make_folder, mode_of, write_atomic
from mcp.shared.spec import ServiceSpec
from mcp.shared.toml import read_text
from mcp.shared.wire import stored_service

if TYPE_CHECKING:
    from proto.mcp.v1 import mcp_pb2 as pb


@dataclass(frozen=True)
class Exported:
    """A service of a node: its definition, and the rules that it breaks since they are newer; or the error."""

    service: str
    node: str
    definition: Definition | None
    error: McpError | None = None
    problems: tuple[str, ...] = ()


def collect(
    registered: "Mapping[str, Iterable[pb.ServiceInfo]]", service: str, *, with_env: bool = False
) -> list[Exported]:
    """Return the definitions of one service, or (empty) of all, by name, from registered services by node.

    Variables have their values only `with_env`. A service that is registered on several nodes is an error.
    """
    found = _exports(registered, service, with_env=with_env)
    exports = sorted(found, key=lambda exported: exported.service)
    nodes: dict[str, list[str]] = {}
    for exported in exports:
        nodes.setdefault(exported.service, []).append(exported.node)
    return [entry if len(nodes[entry.service]) == 1 else _ambiguous(entry, nodes[entry.service]) for entry in exports]


def _exports(
    registered: "Mapping[str, Iterable[pb.ServiceInfo]]", service: str, *, with_env: bool
) -> Iterator[Exported]:
    for node, services in registered.items():
        yield from (_exported(info, node, with_env=with_env) for info in services if service in ("", info.name))


def _exported(info: "pb.ServiceInfo", node: str, *, with_env: bool) -> Exported:
    if not info.HasField("definition"):
        hint = f"upgrade its agent with `mcp agent upgrade {node}`"
        return Exported(info.name, node, None, NotReady(f"{info.name}: {node} has no definition of this service", hint))
    spec = stored_service(info.definition)
    found = problems(spec if with_env else with_some_values(spec))
    shown = spec if with_env else without_values(spec)  # agents of 0.2.0 send the values to everybody
    return Exported(info.name, node, Definition(node, shown, path=info.name), problems=tuple(found))


def _ambiguous(exported: Exported, nodes: list[str]) -> Exported:
    error = NotReady(f"{exported.service}: is registered on {' and '.join(nodes)}", "choose with --node")
    return Exported(exported.service, exported.node, None, error)


def save(definition: Definition, folder: Path, *, force: bool) -> tuple[Path, bool]:
    """Write SERVICE.toml; return its path and True if it changed. Raises McpError if a different one exists.

    An equivalent file is left unchanged, with its comments; one with the values of variables that `definition` lacks
    is equivalent, too.
    """
    path = folder / f"{definition.service.name}.toml"
    existing = _existing(path)
    if existing is not None and _meaning(definition) in (_meaning(existing), _meaning(existing, without_values)):
        return path, False
    if path.exists() and not force:
        raise NotReady(f"{path}: exists and differs", "use --force to replace it")
    make_folder(folder)
    write_atomic(path, write(definition).encode(), mode_of(path), follow=True)  # 0600 if new: `env` may have secrets
    return path, True


def left_out(definition: Definition) -> list[str]:
    """Return the names of the variables without a value."""
    entries = (entry for component in definition.service.components for entry in component.env)
    return list(dict.fromkeys(entry for entry in entries if "=" not in entry))


def _meaning(
    definition: Definition, view: Callable[[ServiceSpec], ServiceSpec] = lambda service: service
) -> tuple[str, ServiceSpec]:
    return definition.node, effective(view(definition.service))


def _existing(path: Path) -> Definition | None:
    """Return the definition in a file; None if it does not exist or is invalid."""
    try:
        return definitions.parse(read_text(path), str(path)) if path.exists() else None
    except InvalidFile:
        return None
