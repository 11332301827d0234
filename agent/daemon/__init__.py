"""The daemon: server, systemd notification, lock."""
