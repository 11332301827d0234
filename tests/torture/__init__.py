"""Attacks on real agents: a two-minute share of them in `make test`, all of them in `make torture`."""
