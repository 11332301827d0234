"""Port mappings of components, and the ports that only one of them can have. All pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp.shared.errors import shown

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

MAPPING = (
    r"((?P<ip>[0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:]+\]):)?"
    r"(?P<host>[0-9]{1,5}):(?P<container>[0-9]{1,5})(/(?P<protocol>tcp|udp))?"
)


@dataclass(frozen=True)
class Claim:
    """A port that no two owners on a node can have: a host port, or a route's port of the proxy."""

    owner: str
    path: str  # of the value in the file
    what: str  # as in host port 8080/tcp
    address: "IPv4Address | IPv6Address | None" = None  # None: all addresses, of both families

    def clashes_with(self, other: "Claim") -> bool:
        """Return True if the two exclude each other."""
        if self.what != other.what or self.owner == other.owner:
            return False
        return self.address == other.address or None in (self.address, other.address)


def clashes(claims: Iterable[Claim]) -> Iterator[tuple[Claim, Claim]]:
    """Yield each claim that an earlier one excludes, and that one."""
    earlier: dict[str, list[Claim]] = {}
    for claim in claims:
        like = earlier.setdefault(claim.what, [])
        yield from ((claim, other) for other in [other for other in like if claim.clashes_with(other)][:1])
        like.append(claim)


def port_problem(text: str) -> str:
    """Return the problem of a port mapping; empty if it is valid."""
    match = re.fullmatch(MAPPING, text)
    if match is None:
        return f"{shown(text)} is not [IP:]HOSTPORT:CONTAINERPORT[/tcp|/udp]"
    for side in ("host", "container"):
        if not 1 <= int(match[side]) <= 65535:
            return f"{shown(text)} has a {side} port outside 1 to 65535"
    try:
        _address(match["ip"])
    except ValueError:
        return f"{shown(text)} does not begin with an IP address"
    return ""


def container_port(mapping: str) -> int:
    """Return the container port of a valid mapping."""
    return int(parts(mapping)["container"])


def published_port(mapping: str) -> int:
    """Return the host port of a valid mapping."""
    return int(parts(mapping)["host"])


def host_port(mapping: str, owner: str, path: str) -> Claim:
    """Return the claim of a valid mapping."""
    match = parts(mapping)
    return Claim(owner, path, f"host port {int(match['host'])}/{match['protocol'] or 'tcp'}", _address(match["ip"]))


def parts(mapping: str) -> re.Match[str]:
    """Return the ip, host, container and protocol of a valid mapping, all but host and container possibly None."""
    match = re.fullmatch(MAPPING, mapping)
    if match is None:
        raise ValueError(f"not a port mapping: {mapping!r}")
    return match


def _address(text: str | None) -> "IPv4Address | IPv6Address | None":
    """Parse an address; None for all addresses. Raises ValueError."""
    if not text:
        return None
    import ipaddress  # rarely needed: keeps startup short

    address = ipaddress.ip_address(text.strip("[]"))
    return None if address.is_unspecified else address
