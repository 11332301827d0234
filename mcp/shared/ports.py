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
    """Yield each claim that an earlier one excludes, and the first such one."""
    earlier: dict[str, _Earlier] = {}
    for claim in claims:
        like = earlier.setdefault(claim.what, _Earlier())
        if (other := like.first_against(claim)) is not None:
            yield claim, other
        like.add(claim)


class _Earlier:
    """The claims of one port so far: of each address only the first, and the first of another owner than that."""

    def __init__(self) -> None:
        self._count = 0
        self._by_address: dict[object, list[tuple[int, Claim]]] = {}  # None: all addresses
        self._all: list[tuple[int, Claim]] = []

    def first_against(self, claim: Claim) -> Claim | None:
        """Return the first claim that excludes another one."""
        either = [*self._by_address.get(claim.address, ()), *self._by_address.get(None, ())]
        candidates = [item for item in (self._all if claim.address is None else either) if claim.clashes_with(item[1])]
        return min(candidates, key=lambda item: item[0])[1] if candidates else None

    def add(self, claim: Claim) -> None:
        """Remember a claim, if it can be the first one against a later one."""
        self._count += 1
        for kept in (self._by_address.setdefault(claim.address, []), self._all):
            if len(kept) < 2 and claim.owner not in (other.owner for _, other in kept):
                kept.append((self._count, claim))


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
