"""A bridge for each fleet, and on it a network namespace with one interface for each node.

The addresses are 10.213.FLEET.0/24: the bridge, which is this machine, has .1, the nodes have .11, .12 and so on.
"""

from tools.hostlib.bootstrap import checked
from tools.hostlib.machine import HostError

SECONDS = 20


def bridge(fleet: int) -> str:
    """The bridge's interface name."""
    return f"mcpn{fleet}"


def gateway(fleet: int) -> str:
    """This machine's address as the nodes see it."""
    return f"10.213.{fleet}.1"


def address(fleet: int, number: int) -> str:
    """The address of the node with that number, from 1."""
    return f"10.213.{fleet}.{10 + number}"


def namespace(fleet: int, name: str) -> str:
    """The name of a node's network namespace."""
    return f"{bridge(fleet)}-{name}"


def make_bridge(fleet: int) -> None:
    """Make it, up and with its address; HostError if that fails."""
    name = bridge(fleet)
    _ip(f"link add {name} type bridge", f"address add {gateway(fleet)}/24 dev {name}", f"link set {name} up")


def make_namespace(fleet: int, number: int, name: str) -> None:
    """A namespace whose host0 is on the bridge, as systemd-nspawn calls it.

    The MAC is always the same for a node: the machine's neighbour table would go on with the old one for up to 40 s.
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
    """Remove it with its interfaces; harmless if it is not there."""
    space = namespace(fleet, name)
    if space in checked(["ip", "netns", "list"], SECONDS).split():
        _ip(f"netns delete {space}")


def remove_bridge(fleet: int) -> None:
    """Remove it; harmless if it is not there."""
    try:
        _ip(f"link delete {bridge(fleet)}")
    except HostError as error:
        if "Cannot find device" not in str(error):
            raise


def _ip(*lines: str, space: str = "") -> None:
    argv = ["ip", *(["-netns", space] if space else [])]
    for line in lines:
        checked([*argv, *line.split()], SECONDS)
