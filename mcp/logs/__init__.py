"""Container logs in the CLI: follow, merge, format."""
