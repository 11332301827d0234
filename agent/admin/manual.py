"""`mcp-agent help` and the manual page mcp-agent(8)."""

from collections.abc import Sequence

from mcp.shared.command import Command, argument, flag

DESCRIPTION = "The agent of MCP, the Metacircular Control Plane: runs services as rootless podman containers."
EXIT_STATUS = {
    0: "done",
    1: "failed",
    2: "wrong command line or configuration",
    3: "the token was revoked",
    130: "interrupted by Ctrl-C",
}
ENVIRONMENT = {
    "NOTIFY_SOCKET, WATCHDOG_USEC": "Set by systemd, for readiness and watchdog notifications.",
    "XDG_STATE_HOME": "The parent of the state folder of mcp-agent dev; the default is ~/.local/state.",
}
FILES = {
    "/srv/mcp/mcp-agent.toml": "The configuration.",
    "/srv/mcp/mcp.db": "The registry: what runs on this node, its history, and the hashes of tokens.",
    "/srv/mcp/certs/": "The certificate of the agent and its key.",
    "/srv/SERVICE/": "The data of a service.",
}
EXAMPLES = """\
mcp-agent dev                                  try MCP out on this machine
mcp-agent token add alice --expires 90d        create an account, and print its token
mcp-agent snapshot /srv/mcp/backup.db --force  back up the registry
"""
HELP = Command(
    "help",
    "explain a command, or print the manual page",
    arguments=(
        argument("topic", nargs="*", metavar="COMMAND", help="the command to explain (default: all)"),
        flag("--man", help="print the manual page mcp-agent(8), as in: mcp-agent help --man | man -l -"),
    ),
)


def page(commands: Sequence[Command]) -> str:
    """Return mcp-agent(8) in roff."""
    from mcp.shared.manual import Manual, roff

    return roff(
        Manual(
            name="mcp-agent",
            section=8,
            summary="run the services of one node for mcp(1)",
            description=f"{DESCRIPTION} It answers mcp(1) over gRPC with TLS, and runs as the unprivileged user mcp.",
            options=(),
            commands=commands,
            exit_status=EXIT_STATUS,
            environment=ENVIRONMENT,
            files=FILES,
            examples=EXAMPLES,
            see_also="mcp(1), podman(1), systemd(1)",
        )
    )
