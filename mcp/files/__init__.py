"""Copies of files between this machine and a service's folder."""
