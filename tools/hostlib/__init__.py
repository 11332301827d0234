"""What tools/host.py is made of: packages, the unprivileged account, rootless podman."""
