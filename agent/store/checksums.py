"""Checksums of the registry's rows, which tell a damaged row from one that was written.

Triggers, which are part of the file and so act for every agent, note each written row in `unsummed`. The end of a
transaction gives these rows their checksums; rows that an older agent wrote get them when the file is opened. A row
without a checksum is as good as one with the right one.
"""

# ruff: noqa: S608 - the names in SQL are those of the registry's own tables and columns

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

OWN_TABLES = ("checksums", "unsummed")
EVENTS = "events"  # earlier ones have no checksums: there may be 100,000, and they go within a month
SIZE = 8  # bytes of a checksum


@dataclass(frozen=True)
class Relation:
    """A table of the registry; `key` is SQL for the text that names a row: its primary key as SQL literals."""

    name: str
    columns: tuple[str, ...]
    key_columns: tuple[str, ...]

    def key(self, prefix: str = "") -> str:
        """Return the key's SQL, with `prefix` before each column."""
        return "||','||".join(f"quote({prefix}{column})" for column in self.key_columns)

    @cached_property
    def cells(self) -> str:
        """The SQL of all columns as bytes: text need not be UTF-8, and no other type is converted."""
        return ", ".join(f"CAST({self.name}.{column} AS BLOB)" for column in self.columns)

    @cached_property
    def selection(self) -> str:
        """The SQL that selects the checksum of each row, or NULL, and then its cells."""
        condition = f"relation = '{self.name}' AND key = {self.key(f'{self.name}.')}"
        return f"SELECT (SELECT sum FROM checksums WHERE {condition}), {self.cells} FROM {self.name}"

    def checksum(self, cells: Sequence[bytes | None]) -> bytes:
        """Return the checksum of a row. Columns that are NULL do not count: they may be younger than the checksum."""
        parts = [
            b"%s %d " % (name, len(cell)) + cell for name, place in self._sorted if (cell := cells[place]) is not None
        ]
        return hashlib.blake2b(b"".join(parts), digest_size=SIZE).digest()

    @cached_property
    def _sorted(self) -> list[tuple[bytes, int]]:
        return sorted((column.encode(), place) for place, column in enumerate(self.columns))


def relations(db: sqlite3.Connection) -> dict[str, Relation]:
    """Return the tables of a registry, without those of this module."""
    found = {}
    tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'")
    for (name,) in tables.fetchall():
        columns = db.execute("SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", (name,)).fetchall()
        keys = tuple(column for column, place in sorted(columns, key=lambda each: each[1]) if place)
        names = tuple(column for column, _ in columns)
        if name not in OWN_TABLES and keys and all(map(str.isidentifier, (name, *names))):
            found[name] = Relation(name, names, keys)
    return found


def prepare(db: sqlite3.Connection) -> dict[str, Relation]:
    """Give every table its triggers, and note the rows of those that had none; return the tables."""
    found = relations(db)
    triggers = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    for relation in found.values():
        if f"{relation.name}_inserted" not in triggers:
            for statement in _triggers(relation):
                db.execute(statement)
            if relation.name != EVENTS:
                db.execute(f"INSERT INTO unsummed SELECT ?, rowid FROM {relation.name}", (relation.name,))
    return found


def _triggers(relation: Relation) -> Iterator[str]:
    name, old, new = relation.name, relation.key("OLD."), relation.key("NEW.")
    note = f"INSERT OR REPLACE INTO unsummed VALUES ('{name}', NEW.rowid);"
    for event, keys, then in (
        ("insert", new, note),
        ("update", f"{old}, {new}", note),
        ("delete", old, f"DELETE FROM unsummed WHERE relation = '{name}' AND row = OLD.rowid;"),
    ):
        yield (
            f"CREATE TRIGGER {name}_{event.removesuffix('e')}ed AFTER {event.upper()} ON {name} BEGIN"
            f" DELETE FROM checksums WHERE relation = '{name}' AND key IN ({keys}); {then} END"
        )


def seal(db: sqlite3.Connection, known: Mapping[str, Relation]) -> None:
    """Give the rows that were written since the last time their checksums."""
    written = db.execute("SELECT relation, row FROM unsummed").fetchall()
    for name, row in written:
        if (relation := known.get(name)) is None:
            continue
        for cells in db.execute(f"SELECT {relation.cells} FROM {name} WHERE rowid = ?", (row,)).fetchall():
            db.execute(
                f"INSERT OR REPLACE INTO checksums SELECT ?, {relation.key()}, ? FROM {name} WHERE rowid = ?",
                (name, relation.checksum(cells), row),
            )
    if written:
        db.execute("DELETE FROM unsummed")


def count_damaged(db: sqlite3.Connection, relation: Relation) -> int:
    """Return the number of rows of a table that are damaged or lost."""
    damaged = matched = 0
    for checksum, *cells in db.execute(relation.selection):
        if checksum is not None:
            matched += 1
            damaged += int(checksum != relation.checksum(cells))
    (recorded,) = db.execute("SELECT count(*) FROM checksums WHERE relation = ?", (relation.name,)).fetchone()
    return damaged + max(0, int(recorded) - matched)
