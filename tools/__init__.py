"""Tools for building and testing."""
