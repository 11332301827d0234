"""Strict parser of mcp.toml, the configuration of the CLI."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mcp.config import ARCHITECTURES, SUDO
from mcp.config.addresses import ADDRESS, parse_address
from mcp.shared.errors import InvalidFile, InvalidInput, NotFound, shown
from mcp.shared.fields import about, optional, problems
from mcp.shared.files import Trust, Unusable, expand, read_file, xdg_folder
from mcp.shared.names import NAME_FIELD, check_name
from mcp.shared.toml import read_text, read_toml
from mcp.shared.url import URL, MciasConfig, parse_https_url

CA_FILE = "ca.pem"  # beside mcp.toml
PUBLIC_KEY = r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9-]+@openssh\.com) [A-Za-z0-9+/]+={0,3}( .*)?"


def _refused_by(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Convert a parser that raises ValueError to a `check` of a field."""

    def check(text: str) -> str:
        try:
            parse(text)
        except ValueError as error:
            return f"{shown(text)}: {error}"
        return ""

    return check


def _parse_ssh(text: str) -> None:
    # ssh would parse a destination that begins with - as an option
    if text.startswith("-") or not text.isprintable() or " " in text:
        raise ValueError("not an ssh destination")


_check_path = _refused_by(expand)


@dataclass(frozen=True)
class Node:
    """A node of the fleet; `ssh` and `arch` are for upgrades and provisioning."""

    name: str = field(metadata=about("Name of the node, as in definitions", example="rift", **NAME_FIELD))
    address: str = field(
        metadata=about(
            "`HOST:PORT` of its agent; a link-local IP with its interface here, as in `[fe80::1%eth0]:9444`",
            example="10.0.0.5:9444",
            pattern=ADDRESS,
            check=_refused_by(parse_address),
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


# Without methods that are not needed: every command starts by creating these classes.


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
        "URL of MCIAS, for `mcp login`",
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
class ReleaseSection:
    """[release] of mcp.toml."""

    keys: tuple[str, ...] = optional(
        (),
        "SSH public keys, one of which must have signed the agents' files: others are not installed",
        example=("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI… releases",),
        pattern=PUBLIC_KEY,
        rule="is not an SSH public key, as in ssh-ed25519 AAAA…",
    )


@dataclass(repr=False, eq=False)
class ConfigFile:
    """The whole mcp.toml."""

    services: ServicesSection = optional(ServicesSection(), "Definitions")
    build: BuildSection = optional(BuildSection(), "Building of images")
    mcias: MciasSection = optional(MciasSection(), "MCIAS, if the fleet has one")
    auth: AuthSection = optional(AuthSection(), "Token and CA")
    release: ReleaseSection = optional(ReleaseSection(), "Who signs releases")
    nodes: tuple[Node, ...] = optional((), "The nodes of the fleet")


@dataclass(frozen=True)
class Config:
    """Effective configuration of the CLI; `ca_cert` is None to trust the system's authorities."""

    source: Path
    services_dir: Path
    token_path: Path
    ca_cert: Path | None
    nodes: tuple[Node, ...]
    mcias: MciasConfig | None = None
    release_keys: tuple[str, ...] = ()

    def node(self, name: str) -> Node:
        """Return the node with this name; raises InvalidInput, or NotFound with the known names."""
        check_name("node", name)
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        hint = f"{self.source} has: {names}" if names else f"{self.source} has no [[nodes]] yet"
        raise NotFound(f"no node named {name}", hint)


def default_folder() -> Path:
    """Return the default folder of the configuration."""
    return xdg_folder("XDG_CONFIG_HOME", ".config") / "mcp"


def config_path(option: Path | None) -> Path:
    """Return the path of mcp.toml: --config, else MCP_CONFIG, else the default."""
    if option is not None:
        return option
    if value := os.environ.get("MCP_CONFIG"):
        return Path(value)
    return default_folder() / "mcp.toml"


def load(option: Path | None = None, *, may_be_new: bool = False) -> Config:
    """Read the configuration; raises InvalidFile with all problems, or if it is missing, unless `may_be_new`."""
    path = config_path(option)
    if "\0" in str(path):
        raise InvalidInput("--config: a path cannot contain NUL")
    if not path.exists():
        if may_be_new and not path.is_symlink():
            return parse("", path)
        hint = "create it with `mcp node add`, or with `mcp-agent dev` to try MCP on this machine"
        raise InvalidFile(str(path), [f"no such file; {hint}"])
    return parse(read_text(path, Trust.OWN), path)


def parse(text: str, path: Path) -> Config:
    """Parse `text` as the content of `path`; raises InvalidFile with all problems."""
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
        release_keys=file.release.keys,
    )


def check_node(node: Node) -> Node:
    """Return `node`; raises InvalidInput with the first problem that mcp.toml would have."""
    check_name("node", node.name)
    for problem in problems(node):
        raise InvalidInput(problem)
    return node


def _own_ca(source: Path) -> Path | None:
    """Return the CA of the fleet, which provisioning creates beside mcp.toml, if it exists."""
    path = source.parent / CA_FILE
    return path if path.exists() else None


def _path(text: str, source: Path) -> Path | None:
    """Resolve a path of the configuration: expand ~, relative to the folder of the configuration."""
    return source.parent / expand(text) if text else None


def read_ca(config: Config) -> bytes:
    """Read the CA certificates for agents, in PEM: the configured file, or the system's; raises InvalidFile."""
    path = config.ca_cert or _system_authorities()
    if path is None:
        raise InvalidFile(str(config.source), ["ca_cert: is missing, and the system has no CA certificates"])
    try:
        pem = read_file(path, Trust.OWN if config.ca_cert else Trust.NAMED)
    except Unusable as error:
        raise InvalidFile(str(config.source), [f"ca_cert: {error}"]) from None
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise InvalidFile(str(config.source), [f"ca_cert: {path} contains no PEM certificate"])
    return pem


def _system_authorities() -> Path | None:
    """Return the CA file of the system; gRPC would use its own list, which the zipapp does not contain."""
    import ssl  # slow to import

    path = ssl.get_default_verify_paths().cafile
    return Path(path) if path else None
