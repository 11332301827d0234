"""The registry's schema: numbered migrations, each run once, in order, and never edited after a release.

An agent refuses a registry with a newer schema number, so a migration rules out a downgrade. A change that an older
agent can ignore, such as another table, is therefore an addition, not a migration.
"""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE components (
        service       TEXT NOT NULL,
        name          TEXT NOT NULL,
        position      INTEGER NOT NULL,              -- in the definition
        container     TEXT NOT NULL UNIQUE,          -- two services can derive the same container name
        spec          TEXT NOT NULL,                 -- JSON: everything needed to recreate it
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
        sha256       TEXT NOT NULL UNIQUE,           -- hex; the token itself is not stored
        account_type TEXT NOT NULL CHECK (account_type IN ('human', 'system')),
        roles        TEXT NOT NULL,                  -- JSON list
        created_at   TEXT NOT NULL,
        expires_at   TEXT                            -- RFC 3339, UTC; NULL: never
    ) STRICT;
    """,
    """
    -- The image digest of the container, and the deploy that created it; 0: none.
    ALTER TABLE components ADD COLUMN digest TEXT NOT NULL DEFAULT '';
    ALTER TABLE components ADD COLUMN deploy INTEGER NOT NULL DEFAULT 0;

    -- Operations in progress; a row that exists at startup was left by a killed agent.
    CREATE TABLE operations (
        service   TEXT PRIMARY KEY,
        operation TEXT NOT NULL,
        component TEXT NOT NULL,                     -- '' for all
        user      TEXT NOT NULL,
        at        TEXT NOT NULL                      -- RFC 3339, UTC
    ) STRICT;

    CREATE TABLE deploys (
        number     INTEGER PRIMARY KEY AUTOINCREMENT,
        service    TEXT NOT NULL,
        component  TEXT NOT NULL,                    -- '' for all
        at         TEXT NOT NULL,                    -- RFC 3339, UTC
        user       TEXT NOT NULL,
        definition TEXT NOT NULL,                    -- JSON of the whole service
        digests    TEXT NOT NULL,                    -- JSON: component -> image digest
        result     TEXT NOT NULL CHECK (result IN ('running', 'done', 'failed', 'interrupted')),
        error      TEXT NOT NULL
    ) STRICT;

    CREATE INDEX deploys_by_service ON deploys (service, number);

    CREATE TABLE events (
        number     INTEGER PRIMARY KEY AUTOINCREMENT,
        service    TEXT NOT NULL,
        component  TEXT NOT NULL,
        prev_state TEXT NOT NULL,
        new_state  TEXT NOT NULL,
        at         TEXT NOT NULL,                    -- RFC 3339, UTC
        detail     TEXT NOT NULL
    ) STRICT;

    CREATE INDEX events_by_component ON events (service, component, number)
    """,
)

# Tables created if they are missing, without a schema number.
ADDITIONS: tuple[str, ...] = (
    """
    -- The log tail of each component's last removed container.
    CREATE TABLE IF NOT EXISTS kept_logs (
        service    TEXT NOT NULL,
        component  TEXT NOT NULL,
        identifier TEXT NOT NULL,                    -- podman's id of the container
        container  TEXT NOT NULL,                    -- its name
        deploy     INTEGER NOT NULL,                 -- 0: none
        version    TEXT NOT NULL,                    -- the tag of its image
        driver     TEXT NOT NULL,
        ended_at   TEXT,                             -- RFC 3339, UTC; NULL: not reported by podman
        exit_code  INTEGER NOT NULL,
        reason     TEXT NOT NULL CHECK (reason IN ('failed', 'replaced')),
        data       BLOB NOT NULL,                    -- k8s-file records
        place      TEXT NOT NULL,                    -- their start, as text of a segments.Mark
        PRIMARY KEY (service, component)
    ) STRICT
    """,
    """
    -- The steps of changes in progress: see agent/services/transaction.py.
    CREATE TABLE IF NOT EXISTS transactions (
        service           TEXT NOT NULL,
        component         TEXT NOT NULL,
        deploy            INTEGER NOT NULL,          -- the number for new containers
        undone_on_failure INTEGER NOT NULL,
        steps             TEXT NOT NULL,             -- JSON list
        position          INTEGER NOT NULL,          -- of the step in progress
        PRIMARY KEY (service, component)
    ) STRICT
    """,
    """
    -- The last time that a copy of the registry was put back; an agent that finds it unfinished registers what was
    -- deployed since the copy was made.
    CREATE TABLE IF NOT EXISTS restores (
        id     INTEGER PRIMARY KEY CHECK (id = 1),
        copied TEXT NOT NULL,                        -- RFC 3339, UTC: when the copy was made
        notes  TEXT                                  -- JSON list of what was done; NULL: not yet
    ) STRICT
    """,
    """
    -- The last alert of each component, until it is resolved.
    CREATE TABLE IF NOT EXISTS open_alerts (
        service   TEXT NOT NULL,                     -- '' with component '' for the agent itself
        component TEXT NOT NULL,
        kind      TEXT NOT NULL CHECK (kind IN ('drift', 'flapping', 'certificate')),
        desired   TEXT NOT NULL,
        observed  TEXT NOT NULL,
        detail    TEXT NOT NULL,
        since     TEXT NOT NULL,                     -- RFC 3339, UTC: start of the condition
        sent      TEXT NOT NULL,                     -- RFC 3339, UTC
        PRIMARY KEY (service, component)
    ) STRICT
    """,
    """
    -- Hashes that are never accepted as a new token again.
    CREATE TABLE IF NOT EXISTS revoked_tokens (
        sha256     TEXT PRIMARY KEY,
        name       TEXT NOT NULL,
        revoked_at TEXT NOT NULL                     -- RFC 3339, UTC
    ) STRICT
    """,
    """
    -- Components that a deploy was to create, and that never came up.
    CREATE TABLE IF NOT EXISTS requested (
        service   TEXT NOT NULL,
        component TEXT NOT NULL,
        position  INTEGER NOT NULL,                  -- in the definition
        image     TEXT NOT NULL,
        PRIMARY KEY (service, component)
    ) STRICT
    """,
    """
    -- Volumes that have no name but podman's; they stay when their component is removed.
    CREATE TABLE IF NOT EXISTS anonymous_volumes (
        service   TEXT NOT NULL,
        component TEXT NOT NULL,
        target    TEXT NOT NULL,                     -- path in the container
        volume    TEXT NOT NULL,                     -- podman's name of it
        PRIMARY KEY (service, component, target)
    ) STRICT
    """,
    """
    -- Folders that a push in progress creates: those that a killed agent left empty are removed at the next start.
    CREATE TABLE IF NOT EXISTS pushes (
        number  INTEGER PRIMARY KEY,
        names   TEXT NOT NULL,                       -- JSON list: the path below the services root
        created INTEGER NOT NULL                     -- how many of the last names did not exist
    ) STRICT
    """,
    """
    -- Checksums of rows, and the rows that have none yet: see agent/store/checksums.py, which also makes the triggers.
    CREATE TABLE IF NOT EXISTS checksums (
        relation TEXT NOT NULL,
        key      TEXT NOT NULL,                      -- the primary key of the row, as SQL literals
        sum      BLOB NOT NULL,
        PRIMARY KEY (relation, key)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS unsummed (
        relation TEXT NOT NULL,
        row      INTEGER NOT NULL,                   -- its rowid
        PRIMARY KEY (relation, row)
    ) STRICT, WITHOUT ROWID
    """,
    """
    -- The last run of each job, once it has ended.
    CREATE TABLE IF NOT EXISTS ended_runs (
        service   TEXT NOT NULL,
        component TEXT NOT NULL,
        container TEXT NOT NULL,                     -- podman's id
        started   TEXT NOT NULL,                     -- RFC 3339, UTC: as podman has it
        boot      TEXT NOT NULL,                     -- the kernel's id of the boot in which it ended
        PRIMARY KEY (service, component)
    ) STRICT
    """,
)
