"""Configuration of the CLI: mcp.toml."""

ARCHITECTURES = ("amd64", "arm64")
SUDO = ("sudo", "doas")  # ways to become root on a node
