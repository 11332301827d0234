"""Authenticate callers: token backends."""

ACCOUNT_TYPES = ("human", "system")
