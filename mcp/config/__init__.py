"""Read and edit mcp.toml."""
