"""Serve the RPCs: interceptor, servicer, streams."""
