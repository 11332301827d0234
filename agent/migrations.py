"""The registry's schema, as numbered migrations: each runs once, in order, and is never edited after a release."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE components (
        service       TEXT NOT NULL,
        name          TEXT NOT NULL,
        position      INTEGER NOT NULL,              -- its place in the definition
        container     TEXT NOT NULL UNIQUE,          -- two services can derive the same container name
        spec          TEXT NOT NULL,                 -- JSON: all that is needed to make it again
        desired_state TEXT NOT NULL CHECK (desired_state IN ('running', 'stopped', 'ignore')),
        deployed_at   TEXT NOT NULL,                 -- RFC 3339, UTC
        PRIMARY KEY (service, name)
    ) STRICT;

    CREATE TABLE ports (
        service   TEXT NOT NULL,
        component TEXT NOT NULL,
        route     TEXT NOT NULL,                     -- '' for an unnamed one
        host_port INTEGER NOT NULL UNIQUE,
        PRIMARY KEY (service, component, route)
    ) STRICT;

    CREATE TABLE tokens (
        name         TEXT PRIMARY KEY,
        sha256       TEXT NOT NULL UNIQUE,           -- hex; the token itself is nowhere
        account_type TEXT NOT NULL CHECK (account_type IN ('human', 'system')),
        roles        TEXT NOT NULL,                  -- JSON list
        created_at   TEXT NOT NULL,
        expires_at   TEXT                            -- RFC 3339, UTC; NULL: never
    ) STRICT;
    """,
)
