"""Check the registry's file for damage, beside its use."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from agent.store.checksums import count_damaged, relations
from agent.store.database import BUSY_TIMEOUT, decoded

UNREADABLE = "its file cannot be read"


def damages(path: Path) -> list[str]:
    """Return what is damaged, without any stored value; blocks for a second with 100,000 events."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT)) as db:
            db.text_factory = decoded
            db.execute("BEGIN")  # one state of the file for all of it
            return [*_structure(db), *_rows(db)]
    except sqlite3.OperationalError as error:
        busy = getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_CANTOPEN"))
        return [] if busy else [UNREADABLE]
    except sqlite3.DatabaseError:
        return [UNREADABLE]


def _structure(db: sqlite3.Connection) -> list[str]:
    """Return the result of SQLite's check, which is quick_check with a comparison of indexes."""
    try:
        lines = db.execute("PRAGMA integrity_check").fetchall()
    except sqlite3.DatabaseError:  # it gives up where a table cannot be walked
        return ["PRAGMA integrity_check finds faults"]
    return [] if lines == [("ok",)] else [f"PRAGMA integrity_check finds {len(lines)} fault{'s' * (len(lines) > 1)}"]


def _rows(db: sqlite3.Connection) -> Iterator[str]:
    for name, relation in relations(db).items():
        try:
            count = count_damaged(db, relation)
        except sqlite3.DatabaseError:
            yield f"the table {name} cannot be read"
        else:
            if count:
                yield f"{count} damaged row{'s' if count > 1 else ''} of the table {name}"
