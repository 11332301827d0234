"""Implement mcp-agent's own commands: dev, token, cert."""
