"""Upgrade of agents: coordination; each node switches, and rolls back on failure, by itself."""
