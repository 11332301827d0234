"""`mcp node provision`: idempotent set-up of a bare Debian system as a node, over ssh."""
