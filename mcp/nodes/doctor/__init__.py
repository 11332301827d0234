"""`mcp doctor`: read-only diagnosis of nodes over ssh and through their agents."""
