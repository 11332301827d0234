"""The parts of tools/host.py: packages, unprivileged account, rootless podman."""
