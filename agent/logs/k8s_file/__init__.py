"""Read logs of podman's k8s-file driver."""
