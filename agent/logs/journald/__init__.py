"""Read container logs from the systemd journal."""
