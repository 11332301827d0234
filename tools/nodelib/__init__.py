"""Real nodes on this machine: Debian with systemd as PID 1, sshd and rootless podman, in systemd-nspawn."""
