"""`mcp doctor`: what is wrong with a node, and what to do; looks over ssh and asks the agent, and changes nothing."""
