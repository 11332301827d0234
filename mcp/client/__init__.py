"""Talk to agents: channel, session, many nodes at once."""
