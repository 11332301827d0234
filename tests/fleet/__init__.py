"""Tests on real nodes: systemd, sshd, journald and rootless podman of Debian 12 and 13."""
