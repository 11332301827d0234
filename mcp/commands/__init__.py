"""The commands of `mcp`, one file each."""
