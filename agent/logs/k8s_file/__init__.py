"""Read logs that podman writes with its k8s-file driver."""
