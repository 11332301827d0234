"""Making a node of a bare Debian, over ssh: `mcp node provision`. Each step looks first, and can be repeated."""
