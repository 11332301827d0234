"""Upgrading the agents of nodes: each node does its own part, which undoes what fails; here is the rest."""
