"""Authenticate callers: token backends."""
