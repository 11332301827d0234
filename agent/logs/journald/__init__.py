"""Read container logs from the journal."""
