"""Addresses of agents: HOST:PORT, with IPv6 in brackets and a zone where it is link-local."""

import re
from typing import NamedTuple

_ZONE = r"[A-Za-z0-9._~-]+"  # an interface, in the characters of RFC 6874
LINK_LOCAL = r"[Ff][Ee][89ABab][0-9A-Fa-f]:[0-9A-Fa-f:.]*"
# RFC 3986 host and port, fe80::1%eth0 also without brackets; resolution checks names, here only their characters
ADDRESS = (
    rf"(\[[0-9A-Fa-f:.]+\]|\[{LINK_LOCAL}%{_ZONE}\]|{LINK_LOCAL}%{_ZONE}"
    r"|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):([0-9]{1,5})"
)


class Address(NamedTuple):
    """An address; `host` is a name or an IP without brackets, `zone` the interface of a link-local IP."""

    host: str
    port: int
    zone: str = ""

    @property
    def scoped_host(self) -> str:
        """The host with its zone, as getaddrinfo takes it."""
        return f"{self.host}%{self.zone}" if self.zone else self.host


def parse_address(text: str) -> Address:
    """Parse an address of mcp.toml; raises ValueError."""
    match = re.fullmatch(ADDRESS, text)
    if match is None or not 1 <= int(match[3]) <= 65535:
        raise ValueError("expected HOST:PORT, as in 10.0.0.1:9444 or [fe80::1%eth0]:9444")
    host, _, zone = match[1].strip("[]").partition("%")
    return Address(host, int(match[3]), re.sub(rf"^25(?={_ZONE}$)", "", zone))  # RFC 6874 writes the % as %25
