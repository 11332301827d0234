"""mcp.toml, the CLI's configuration, read strictly into a Config."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mcp.config import ARCHITECTURES, SUDO
from mcp.shared.errors import InvalidFile, InvalidInput, NotFound, shown
from mcp.shared.fields import about, optional, problems
from mcp.shared.files import xdg_folder
from mcp.shared.names import NAME_FIELD, check_name
from mcp.shared.toml import read_text, read_toml
from mcp.shared.url import URL, MciasConfig, parse_https_url

CA_FILE = "ca.pem"  # beside mcp.toml

# RFC 3986 host and port; names are looked up, so only their characters are checked
_ADDRESS = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):([0-9]{1,5})"


def _refused_by(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Make a field's check of a parser that raises ValueError."""

    def check(text: str) -> str:
        try:
            parse(text)
        except ValueError as error:
            return f"{shown(text)}: {error}"
        return ""

    return check


def _parse_address(text: str) -> None:
    match = re.fullmatch(_ADDRESS, text)
    if match is None or not 1 <= int(match[3]) <= 65535:
        raise ValueError("expected HOST:PORT, as in 10.0.0.1:9444")


def _parse_ssh(text: str) -> None:
    # ssh would take a destination that begins with - for an option
    if text.startswith("-") or not text.isprintable() or " " in text:
        raise ValueError("is not an ssh destination")


def _expand(text: str) -> Path:
    if "\0" in text:
        raise ValueError("a path cannot contain NUL")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("whose home folder is meant is not known") from None


_check_path = _refused_by(_expand)


@dataclass(frozen=True)
class Node:
    """One node of the fleet; `ssh` and `arch` are for upgrading and provisioning."""

    name: str = field(metadata=about("Name of the node, as in definitions", example="rift", **NAME_FIELD))
    address: str = field(
        metadata=about(
            "`HOST:PORT` of its agent", example="10.0.0.5:9444", pattern=_ADDRESS, check=_refused_by(_parse_address)
        )
    )
    ssh: str = optional(
        "",
        "Destination for ssh, for provisioning and upgrades",
        example="deploy@rift",
        unset="the name",
        pattern="[^- ][^ ]*",
        check=_refused_by(_parse_ssh),
    )
    arch: str = optional("", "Architecture", example="amd64", choices=ARCHITECTURES)
    sudo: str = optional("", "How to become root there, if ssh does not log in as root", example="sudo", choices=SUDO)


# Without the methods that nobody needs: every command begins with making these classes.


@dataclass(repr=False, eq=False)
class ServicesSection:
    """[services] of mcp.toml."""

    dir: str = optional(
        "",
        "Folder of the definitions",
        example="~/.config/mcp/services",
        unset="`services/` beside `mcp.toml`",
        check=_check_path,
    )


@dataclass(repr=False, eq=False)
class BuildSection:
    """[build] of mcp.toml."""

    workspace: str = optional("~/src", "Folder of the source trees", example="~/src")


@dataclass(repr=False, eq=False)
class MciasSection:
    """[mcias] of mcp.toml."""

    server_url: str = optional(
        "",
        "MCIAS that `mcp login` asks",
        example="https://mcias.example.net:8443",
        pattern=URL,
        check=_refused_by(parse_https_url),
    )
    ca_cert: str = optional(
        "",
        "CA that verifies MCIAS, and the agents if `[auth]` names none",
        example="~/.config/mcp/ca.pem",
        unset="the system's",
        check=_check_path,
    )
    service_name: str = optional("mcp", "Name of MCP in MCIAS", example="mcp")


@dataclass(repr=False, eq=False)
class AuthSection:
    """[auth] of mcp.toml."""

    token_path: str = optional(
        "",
        "File of the token; `MCP_TOKEN` in the environment overrides it",
        example="~/.config/mcp/token",
        unset="`token` beside `mcp.toml`",
        check=_check_path,
    )
    ca_cert: str = optional(
        "",
        "CA that verifies the agents",
        example="~/.config/mcp/ca.pem",
        unset="`ca.pem` beside `mcp.toml`, else the system's",
        check=_check_path,
    )


@dataclass(repr=False, eq=False)
class ConfigFile:
    """The whole mcp.toml."""

    services: ServicesSection = optional(ServicesSection(), "Definitions")
    build: BuildSection = optional(BuildSection(), "Building of images")
    mcias: MciasSection = optional(MciasSection(), "MCIAS, if the fleet has one")
    auth: AuthSection = optional(AuthSection(), "Token and CA")
    nodes: tuple[Node, ...] = optional((), "The nodes of the fleet")


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
    return parse(read_text(path), path)


def parse(text: str, path: Path) -> Config:
    """The configuration that `text` would be at `path`; raises InvalidFile with every problem."""
    file = read_toml(path, lambda table: table.read(ConfigFile), text, problems)
    auth_ca, mcias_ca = _path(file.auth.ca_cert, path), _path(file.mcias.ca_cert, path)
    return Config(
        source=path,
        services_dir=_path(file.services.dir, path) or path.parent / "services",
        token_path=_path(file.auth.token_path, path) or path.parent / "token",
        ca_cert=auth_ca or mcias_ca or _own_ca(path),
        nodes=file.nodes,
        mcias=MciasConfig(parse_https_url(file.mcias.server_url), mcias_ca, file.mcias.service_name)
        if file.mcias.server_url
        else None,
    )


def check_node(node: Node) -> Node:
    """Return `node`; raises InvalidInput, naming the value that could not stand in mcp.toml."""
    check_name("node", node.name)
    for problem in problems(node):
        raise InvalidInput(problem)
    return node


def _own_ca(source: Path) -> Path | None:
    """The fleet's own CA, which provisioning makes beside mcp.toml, if there is one."""
    path = source.parent / CA_FILE
    return path if path.exists() else None


def _path(text: str, source: Path) -> Path | None:
    """A path of the configuration: ~ is home, a relative one counts from the configuration's folder."""
    return source.parent / _expand(text) if text else None


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
        raise InvalidFile(str(config.source), [f"ca_cert: {path} contains no PEM certificate"])
    return pem


def _system_authorities() -> Path | None:
    """Where the system keeps them; gRPC would look for a list of its own, which the built file does not have."""
    import ssl  # only here: slow to import

    found = ssl.get_default_verify_paths().cafile
    return Path(found) if found else None
