"""Measure speed and size."""
