"""Client of agents: channel, session, concurrent calls to several nodes."""
