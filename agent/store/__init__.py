"""Store the registry in SQLite: all SQL is here."""
