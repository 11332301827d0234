"""mcp.toml, the CLI's configuration, read strictly into a Config."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mcp.config import ARCHITECTURES, SUDO
from mcp.shared.errors import InvalidFile, InvalidInput, NotFound, shown
from mcp.shared.files import xdg_folder
from mcp.shared.names import NAME_RULE, check_name, is_name
from mcp.shared.toml import Table, read_toml
from mcp.shared.url import Endpoint, parse_https_url

CA_FILE = "ca.pem"  # beside mcp.toml

# RFC 3986 host and port; names are looked up, so only their characters are checked
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):([0-9]{1,5})")


@dataclass(frozen=True)
class Node:
    """One node of the fleet; `ssh` and `arch` are for upgrading and provisioning."""

    name: str
    address: str
    ssh: str = ""
    arch: str = ""
    sudo: str = ""


@dataclass(frozen=True)
class MciasConfig:
    """MCIAS, where people log in; `ca_cert` is None where the system's authorities are trusted."""

    endpoint: Endpoint
    ca_cert: Path | None
    service_name: str


@dataclass(frozen=True)
class Config:
    """What the CLI needs to know. `ca_cert` is None where the system's authorities are trusted."""

    source: Path
    services_dir: Path
    token_path: Path
    ca_cert: Path | None
    nodes: tuple[Node, ...]
    mcias: MciasConfig | None = None

    def node(self, name: str) -> Node:
        """The node with this name; raises InvalidInput or NotFound with the names there are."""
        check_name("node", name)
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        hint = f"{self.source} has: {names}" if names else f"{self.source} has no [[nodes]] yet"
        raise NotFound(f"no node named {name}", hint)


def default_folder() -> Path:
    """The folder of the CLI's configuration."""
    return xdg_folder("XDG_CONFIG_HOME", ".config") / "mcp"


def config_path(option: Path | None) -> Path:
    """Which mcp.toml counts: --config, then MCP_CONFIG, then the default one."""
    if option is not None:
        return option
    if value := os.environ.get("MCP_CONFIG"):
        return Path(value)
    return default_folder() / "mcp.toml"


def load(option: Path | None = None, *, may_be_new: bool = False) -> Config:
    """Read the configuration; raises InvalidFile with every problem, or where there is none, unless it may be new."""
    path = config_path(option)
    if "\0" in str(path):
        raise InvalidInput("--config: a path cannot contain NUL")
    if not path.exists():
        if may_be_new and not path.is_symlink():
            return parse("", path)
        hint = "`mcp node add` makes it for a node of yours; to try MCP here, `mcp-agent dev` writes one"
        raise InvalidFile(str(path), [f"there is no such file; {hint}"])
    return read_toml(path, lambda table: _build(table, path))


def parse(text: str, path: Path) -> Config:
    """The configuration that `text` would be at `path`; raises InvalidFile with every problem."""
    return read_toml(path, lambda table: _build(table, path), text)


def check_node(node: Node) -> Node:
    """Return `node`; raises InvalidInput, naming the value that could not stand in mcp.toml."""
    check_name("node", node.name)
    for what, check, value in (("address", _address, node.address), ("ssh", _ssh, node.ssh)):
        try:
            check(value)
        except ValueError as error:
            raise InvalidInput(f"{what}: {shown(value)}: {error}") from None
    return node


def _build(root: Table, path: Path) -> Config:
    services, build, mcias, auth = (root.table(name) for name in ("services", "build", "mcias", "auth"))
    services_dir = _path(services, "dir", path) or path.parent / "services"
    build.text("workspace", "~/src")
    endpoint = mcias.checked("server_url", parse_https_url, "")
    service_name = mcias.text("service_name", "mcp")
    mcias_ca, auth_ca = _path(mcias, "ca_cert", path), _path(auth, "ca_cert", path)
    token_path = _path(auth, "token_path", path) or path.parent / "token"
    for table in (services, build, mcias, auth):
        table.close()
    nodes = [_node(table) for table in root.tables("nodes")]
    for index, node in enumerate(nodes):
        if node.name and node.name in [other.name for other in nodes[:index]]:
            root.problem(f"nodes[{index}].name", f"{shown(node.name)} is used twice")
    login = MciasConfig(endpoint, mcias_ca, service_name) if endpoint is not None else None
    ca_cert = auth_ca or mcias_ca or _own_ca(path)
    return Config(path, services_dir, token_path, ca_cert, tuple(nodes), login)


def _own_ca(source: Path) -> Path | None:
    """The fleet's own CA, which provisioning makes beside mcp.toml, if there is one."""
    path = source.parent / CA_FILE
    return path if path.exists() else None


def _node(table: Table) -> Node:
    node = Node(
        name=table.checked("name", _name) or "",
        address=table.checked("address", _address) or "",
        ssh=table.checked("ssh", _ssh, "") or "",
        arch=table.checked("arch", lambda text: _one_of(text, ARCHITECTURES), "") or "",
        sudo=table.checked("sudo", lambda text: _one_of(text, SUDO), "") or "",
    )
    table.close()
    return node


def _path(table: Table, name: str, source: Path) -> Path | None:
    """A path of the configuration: ~ is home, a relative one counts from the configuration's folder."""

    def parse(text: str) -> Path:
        if "\0" in text:
            raise ValueError("a path cannot contain NUL")
        try:
            return source.parent / Path(text).expanduser()
        except RuntimeError:
            raise ValueError("whose home folder is meant is not known") from None

    return table.checked(name, parse, "")


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(NAME_RULE)
    return text


def _address(text: str) -> str:
    match = _ADDRESS.fullmatch(text)
    if match is None or not 1 <= int(match[3]) <= 65535:
        raise ValueError("expected HOST:PORT, as in 10.0.0.1:9444")
    return text


def _ssh(text: str) -> str:
    # ssh would take a destination that begins with - for an option
    if text.startswith("-") or not text.isprintable() or " " in text:
        raise ValueError("is not an ssh destination")
    return text


def _one_of(text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise ValueError(f"expected {' or '.join(choices)}")
    return text


def read_ca(config: Config) -> bytes:
    """The CA certificates that agents are verified against, in PEM: the file's, or the system's; raises InvalidFile."""
    path = config.ca_cert or _system_authorities()
    if path is None:
        raise InvalidFile(str(config.source), ["ca_cert: is missing, and this machine has no authorities of its own"])
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise InvalidFile(str(config.source), [f"ca_cert: {path} cannot be read: {error.strerror}"]) from None
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise InvalidFile(str(config.source), [f"ca_cert: {path} holds no certificate in PEM"])
    return pem


def _system_authorities() -> Path | None:
    """Where the system keeps them; gRPC would look for a list of its own, which the built file does not have."""
    import ssl  # only here: slow to import

    found = ssl.get_default_verify_paths().cafile
    return Path(found) if found else None
