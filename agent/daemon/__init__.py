"""Run the agent: server, systemd notification, lock."""
