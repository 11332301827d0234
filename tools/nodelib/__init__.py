"""Real nodes on this machine: Debian with systemd, sshd and rootless podman in systemd-nspawn."""
