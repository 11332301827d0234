"""The agent: runs services as containers on one node."""
