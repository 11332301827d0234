"""Modules that both programs use."""
