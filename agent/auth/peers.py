"""The addresses of clients, from what gRPC and the kernel call them."""

from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import unquote

OTHERS = "other addresses"  # counted together, so that many addresses do not fill the memory


def address_and_port(peer: str) -> tuple[str, int]:
    """Return address and port of a peer of gRPC, as in `ipv4:127.0.0.1:5000` and `ipv6:%5B::1%5D:5000`."""
    address, _, port = unquote(peer).partition(":")[2].rpartition(":")
    return plain_address(address.strip("[]")), int(port) if port.isdecimal() else 0


@lru_cache(maxsize=1024)
def plain_address(address: str) -> str:
    """Return an address without its zone, and one of IPv4 in its own form where IPv6 carries it."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:  # no address: as it is
        return address
    return str(ip.ipv4_mapped or ip) if ip.version == 6 else str(ip)


@lru_cache(maxsize=1024)
def network_of(address: str) -> str:
    """Return what counts as one client: the address, of IPv6 its /64, since each client has a whole one."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    return str(ip) if ip.version == 4 else f"{ip_address(int(ip) >> 64 << 64)}/64"
