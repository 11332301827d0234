"""Observe the node: state, changes, events, alerts."""
