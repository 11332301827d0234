"""Manage nodes over ssh: provision, upgrade, doctor."""
