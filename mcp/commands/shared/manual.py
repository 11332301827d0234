"""The manual page mcp(1)."""

from mcp.commands.shared import about, arguments, catalogue
from mcp.shared.manual import Manual, roff

ENVIRONMENT = {
    "MCP_CONFIG": "The configuration file; --config takes precedence.",
    "MCP_TOKEN": "The token to authenticate with, instead of the stored one.",
    "NO_COLOR": "Print no colours if not empty.",
    "VISUAL, EDITOR": "The editor of mcp service edit; the default is vi.",
    "XDG_CONFIG_HOME": "The parent of the configuration folder; the default is ~/.config.",
}
FILES = {
    "~/.config/mcp/mcp.toml": "The configuration: nodes, and paths that replace the following ones.",
    "~/.config/mcp/services/SERVICE.toml": "The definition of a service.",
    "~/.config/mcp/ca.pem": "The certificate authority that signs the certificates of agents.",
    "~/.config/mcp/token": "The token that mcp login stores, readable by its owner only.",
}


def manual() -> str:
    """Return mcp(1) in roff, with all commands."""
    page = Manual(
        name="mcp",
        section=1,
        summary="run services on a fleet of nodes",
        description=f"{about.DESCRIPTION} Services are defined in SERVICE.toml files, nodes in mcp.toml. "
        "An agent, mcp-agent(8), runs on each node.",
        options=(arguments.CONFIG, arguments.TIMEOUT, arguments.VERSION),
        commands=catalogue.load_all(),
        exit_status=about.EXIT_STATUS,
        environment=ENVIRONMENT,
        files=FILES,
        examples=about.EXAMPLES,
        see_also="mcp-agent(8), podman(1)",
    )
    return roff(page)
