"""Show container logs: follow, merge, format."""
