"""A bridge per fleet, and a network namespace with one interface per node.

The addresses are 10.213.FLEET.0/24: .1 for the bridge (this machine), .11 and up for the nodes.
"""

from tools.hostlib.bootstrap import checked
from tools.hostlib.machine import HostError

SECONDS = 20


def bridge(fleet: int) -> str:
    """Return the bridge's interface name."""
    return f"mcpn{fleet}"


def gateway(fleet: int) -> str:
    """Return this machine's address on the bridge."""
    return f"10.213.{fleet}.1"


def address(fleet: int, number: int) -> str:
    """Return the address of a node by number, from 1."""
    return f"10.213.{fleet}.{10 + number}"


def namespace(fleet: int, name: str) -> str:
    """Return the name of a node's network namespace."""
    return f"{bridge(fleet)}-{name}"


def make_bridge(fleet: int) -> None:
    """Create the bridge with its address, up; raises HostError."""
    name = bridge(fleet)
    _ip(f"link add {name} type bridge", f"address add {gateway(fleet)}/24 dev {name}", f"link set {name} up")


def make_namespace(fleet: int, number: int, name: str) -> None:
    """Create a namespace with the interface host0 (named as by systemd-nspawn) on the bridge.

    The MAC of a node is constant, as the machine's neighbour table keeps an old one for up to 40 s.
    """
    space, ours = namespace(fleet, name), f"{bridge(fleet)}p{number}"
    _ip(f"netns add {space}")
    _ip(
        f"link add {ours} type veth peer name host0 address 02:6d:63:70:{fleet:02x}:{number:02x} netns {space}",
        f"link set {ours} master {bridge(fleet)} up",
    )
    _ip(
        "link set lo up",
        f"address add {address(fleet, number)}/24 dev host0",
        "link set host0 up",
        f"route add default via {gateway(fleet)}",
        space=space,
    )


def remove_namespace(fleet: int, name: str) -> None:
    """Remove a namespace with its interfaces; idempotent."""
    space = namespace(fleet, name)
    if space in checked(["ip", "netns", "list"], SECONDS).split():
        _ip(f"netns delete {space}")


def remove_bridge(fleet: int) -> None:
    """Remove the bridge; idempotent."""
    try:
        _ip(f"link delete {bridge(fleet)}")
    except HostError as error:
        if "Cannot find device" not in str(error):
            raise


def _ip(*lines: str, space: str = "") -> None:
    argv = ["ip", *(["-netns", space] if space else [])]
    for line in lines:
        checked([*argv, *line.split()], SECONDS)
