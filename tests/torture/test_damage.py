"""Damage a registry in hundreds of ways: readers go on or fail in one line, the damage is noticed, nothing leaks.

A damage counts if the content of a table differs afterwards, or cannot be read: bytes of free space and of indexes are
none of anybody's.
"""

import logging
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.log import logger
from agent.store.alerts import Alert, AlertKind
from agent.store.check import damages
from agent.store.components import Run
from agent.store.events import Event
from agent.store.operations import OperationRow, TransactionRow
from agent.store.previous_logs import PreviousLog, PreviousReason
from agent.store.registry import Registry, TokenRow
from mcp.shared.errors import McpError
from mcp.shared.spec import ComponentSpec, RouteSpec, ServiceSpec
from mcp.shared.states import AccountType, DeployResult, DesiredState
from tests.torture.conftest import Torture

SECRET = "hunter2-and-more"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SERVICES = ("shop", "web", "mail", "wiki", "git", "dns")
COMPONENTS = ("web", "api")
Damage = Callable[[Path, random.Random], None]


def fill(path: Path) -> None:
    """Make a registry with rows in every table, in one file."""
    registry = Registry(path)
    for number, name in enumerate(SERVICES):
        specs = tuple(spec(name, component) for component in COMPONENTS)
        service = ServiceSpec(name, components=specs)
        for position, each in enumerate(specs):
            registry.components.put(name, position, each, DesiredState.RUNNING, f"sha256:{number:064x}", number + 1)
            registry.components.reserve_port(name, each.name, "", iter(range(10_000, 20_000)))
            registry.volumes.put(name, each.name, {"/data": f"{number:064x}"})
            registry.previous_logs.put(previous_log(name, each.name))
        for _ in range(4):
            deploy = registry.deploys.begin(service, "", "ann")
            registry.deploys.end(deploy, DeployResult.DONE, "", {"web": "sha256:1"})
        registry.deploys.begin(replace(service, components=(*specs, spec(name, "late"))), "late", "ann")
        registry.events.add([Event(name, "web", "exited", "running", NOW + timedelta(seconds=i)) for i in range(40)])
        registry.tokens.add(TokenRow(name, f"{number:064x}", AccountType.HUMAN, ("admin",), NOW, NOW))
        registry.operations.begin(OperationRow(name, "deploy", ""), "ann")
        step = f'[{{"kind": "RunContainer", "spec": "{SECRET}"}}]'
        registry.operations.begin_transactions([TransactionRow(name, "web", 3, True, step)])
        registry.components.record_ended("boot", {(name, "web"): Run("id", NOW)})
        registry.alerts.record([Alert(name, "web", AlertKind.DRIFT, "running", "exited", "code 1", NOW)], NOW)
    registry.tokens.add(TokenRow("bob", "ff", AccountType.SYSTEM, (), NOW, None))
    registry.tokens.revoke("bob")
    registry.restores.begin(NOW)
    registry.pushes.begin(["shop", "data"], 1)
    registry.close()


def spec(service: str, name: str) -> ComponentSpec:
    """Return a specification of a usual size, with a secret."""
    env = (f"PASSWORD={SECRET}", f"URL=https://{service}.example.net/{name}", *(f"OPTION_{n}={n}" for n in range(20)))
    return ComponentSpec(name, f"registry.example.net/{service}/{name}:1.2.3", env=env, routes=(RouteSpec(port=80),))


def previous_log(service: str, component: str) -> PreviousLog:
    """Return a log tail of a few pages."""
    data = f"2026-01-31T12:00:00.000000000+00:00 stdout F {SECRET}\n".encode() * 100
    return PreviousLog(
        *(service, component, "id", f"{service}-{component}", 3, "1.2.3", "k8s-file", NOW, 1),
        reason=PreviousReason.FAILED,
        data=data,
        place="0:0",
    )


# --- damages ---


def flip_bit(path: Path, chance: random.Random) -> None:
    """Flip one bit of the file."""
    offset = chance.randrange(path.stat().st_size)
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << chance.randrange(8)]))


def overwrite(path: Path, chance: random.Random) -> None:
    """Overwrite some bytes of the file."""
    size = chance.choice((1, 2, 8, 64, 512))
    with path.open("r+b") as file:
        file.seek(chance.randrange(path.stat().st_size - size))
        file.write(chance.choice((chance.randbytes(size), bytes(size), b"\xff" * size)))


def lose_page(path: Path, chance: random.Random) -> None:
    """Fill one page with zeros, or with another page, as disks and filesystems do."""
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.seek(4096 * chance.randrange(pages))
        other = chance.choice((bytes(4096), file.read(4096)))
        file.seek(4096 * chance.randrange(1, pages))
        file.write(other)


def truncate(path: Path, chance: random.Random) -> None:
    """Cut the end of the file."""
    with path.open("r+b") as file:
        file.truncate(chance.randrange(path.stat().st_size))


def change_cell(path: Path, chance: random.Random) -> None:
    """Change one byte of one cell, and leave all pages well-formed: without triggers, which are for writers."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        tables = [name for name, _ in tables_of(db)]
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        table = chance.choice(tables)
        column, kind = chance.choice(db.execute("SELECT name, type FROM pragma_table_info(?)", (table,)).fetchall())
        row, cell = chance.choice(
            db.execute(f"SELECT rowid, CAST({column} AS BLOB) FROM {table}").fetchall()  # noqa: S608 - our own names
        )
        changed = f"CAST(? AS {kind})"
        with suppress(sqlite3.IntegrityError):
            db.execute(
                f"UPDATE {table} SET {column} = {changed} WHERE rowid = ?",  # noqa: S608 - our own names
                (with_other_byte(cell or b"0", chance), row),
            )
        for _, sql in triggers:
            db.execute(sql)


def with_other_byte(cell: bytes, chance: random.Random) -> bytes:
    """Return the content of a cell with one byte changed."""
    place = chance.randrange(len(cell))
    return cell[:place] + bytes([cell[place] ^ 1 << chance.randrange(8)]) + cell[place + 1 :]


# --- what is left ---


def tables_of(db: sqlite3.Connection) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    """Yield the names of the tables with anything in them, and their rows as bytes, but for the checksums' own."""
    names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    for (name,) in names:
        if name in ("checksums", "unsummed", "sqlite_sequence"):
            continue
        columns = [column for (column,) in db.execute("SELECT name FROM pragma_table_info(?)", (name,))]
        cells = ", ".join(f"CAST({column} AS BLOB)" for column in columns)
        rows = db.execute(f"SELECT {cells} FROM {name}").fetchall()  # noqa: S608 - our own names
        if rows:
            yield name, sorted(rows, key=repr)


def content(path: Path) -> object:
    """Return the content of a registry, or the error of reading it."""
    try:
        with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
            return list(tables_of(db))
    except sqlite3.DatabaseError as error:
        return repr(error)


def read_all(registry: Registry) -> Iterator[Callable[[], object]]:
    """Yield everything that the agent asks the registry."""
    yield registry.components.read
    yield lambda: registry.components.ended("boot")
    yield registry.components.requested
    yield lambda: registry.components.reserve_port("new", "web", "", iter(range(10_000, 20_000)))
    for service in SERVICES:
        yield lambda service=service: registry.components.select(service, "web")  # type: ignore[misc]
        yield lambda service=service: registry.components.ports(service, "web")  # type: ignore[misc]
        yield lambda service=service: registry.deploys.select(service)  # type: ignore[misc]
        yield lambda service=service: registry.previous_logs.find(service, "web")  # type: ignore[misc]
        yield lambda service=service: registry.volumes.select(service, "web")  # type: ignore[misc]
        yield lambda service=service: registry.events.select(service)  # type: ignore[misc]
        yield lambda service=service: registry.operations.transactions(service)  # type: ignore[misc]
    yield lambda: registry.deploys.recent_definitions(3)
    yield lambda: registry.deploys.numbered(3)
    yield registry.events.latest
    yield registry.operations.unfinished
    yield registry.operations.transactions
    yield registry.tokens.select
    yield registry.alerts.select
    yield registry.restores.last
    yield registry.previous_logs.names
    yield registry.volumes.names
    yield registry.pushes.unfinished


class Outcome:
    """The outcomes of all damages."""

    def __init__(self) -> None:
        self.counted = self.noticed = self.opened = self.served = 0
        self.unnoticed: list[str] = []
        self.messages: list[str] = []

    def examine(self, path: Path, what: str, *, matters: bool) -> None:
        """Read everything of a damaged registry; only an McpError may be raised."""
        noticed = False
        try:
            registry = Registry(path)
        except McpError as error:
            self.messages.append(str(error))
            noticed = True
        else:
            noticed = self._read(registry, path)
            registry.close()
        if matters:
            self.counted += 1
            self.noticed += int(noticed)
            self.unnoticed += [] if noticed else [what]

    def _read(self, registry: Registry, path: Path) -> bool:
        found = damages(path)
        self.messages += found
        self.opened += 1
        for read in read_all(registry):
            try:
                read()
            except McpError as error:
                self.messages.append(str(error))
                found.append(str(error))
        with suppress(McpError):
            self.served += len(registry.components.read().rows)
        return bool(found)


class Messages(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, kept: list[str]) -> None:
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(f"{record.getMessage()} {getattr(record, 'fields', '')} {record.exc_info}")


@pytest.fixture
def outcome() -> Iterator[Outcome]:
    """The outcomes, with all that is logged meanwhile."""
    made = Outcome()
    handler = Messages(made.messages)
    logger.addHandler(handler)
    yield made
    logger.removeHandler(handler)


def test_damages_are_noticed_and_survived(tmp_path: Path, torture: Torture, outcome: Outcome) -> None:
    template, damaged = tmp_path / "template.db", tmp_path / "mcp.db"
    fill(template)
    before = content(template)
    kinds: tuple[Damage, ...] = (flip_bit, overwrite, lose_page, truncate, change_cell)
    count = torture.count(600, ci=60)
    for number in range(count):
        for left in tmp_path.glob("mcp.db*"):
            left.unlink()
        shutil.copy(template, damaged)
        kind = kinds[number % len(kinds)]
        kind(damaged, random.Random(number))
        outcome.examine(damaged, f"{kind.__name__} {number}", matters=content(damaged) != before)
    leaked = [message for message in outcome.messages if SECRET[:8] in message]
    assert leaked == []
    assert outcome.counted > count / 4
    assert outcome.noticed >= 0.95 * outcome.counted, outcome.unnoticed
    share = outcome.served / (outcome.opened * len(SERVICES) * len(COMPONENTS))
    torture.figure("damaged registries survived", f"{count}, with no error but ours")
    torture.figure("damages noticed", f"{outcome.noticed} of {outcome.counted} that changed something")
    torture.figure("components served from damaged registries", f"{share:.0%}, where the file could be opened")
