"""Change what runs on this node: deploy, sync, stop, recover, adopt, purge."""
