"""The registry's table of tokens: the accounts of the local backend. Only hashes of tokens are stored."""

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime

from agent.store.database import CELL_ERRORS, StoredRow, Table, now_text, readable, time_of
from mcp.shared.errors import NotFound, NotReady, Unauthenticated
from mcp.shared.states import AccountType


@dataclass(frozen=True)
class TokenRow:
    """A token's account; `expires_at` is None if it never expires."""

    name: str
    sha256: str
    account_type: AccountType
    roles: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None


class TokenTable(Table):
    """Table of tokens."""

    def add(self, token: TokenRow) -> None:
        """Add an account's token; raises NotReady if one of the two exists, Unauthenticated if it was revoked."""
        with self._database.transaction():
            self._refuse_revoked(token)
            try:
                self._database.db.execute(
                    "INSERT INTO tokens (name, sha256, account_type, roles, created_at, expires_at)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        token.name,
                        token.sha256,
                        token.account_type,
                        json.dumps(token.roles),
                        token.created_at.isoformat(),
                        token.expires_at.isoformat() if token.expires_at else None,
                    ),
                )
            except sqlite3.IntegrityError:
                raise NotReady(
                    f"a token named {token.name} exists already, or this token under another name",
                    "see mcp-agent token list; revoke it first, or use another name",
                ) from None

    def select(self, sha256: str = "") -> list[TokenRow]:
        """Return all tokens by name, or the one with this hash; one that is damaged is not valid."""
        rows = self._database.stored("tokens", "?1 IN ('', sha256)", sha256)
        return sorted(readable("tokens", rows, _token), key=lambda token: token.name)

    def _refuse_revoked(self, token: TokenRow) -> None:
        rows = self._database.rows("SELECT name, revoked_at FROM revoked_tokens WHERE sha256 = ?", token.sha256)
        if rows:
            name, at = rows[0]
            raise Unauthenticated(f"this token, of {name}, was revoked on {_day(str(at))}")

    def revoke(self, name: str) -> None:
        """Remove a token, which is never accepted again; raises NotFound with the existing names as its hint."""
        with self._database.transaction():
            self._database.db.execute(
                "INSERT OR REPLACE INTO revoked_tokens (sha256, name, revoked_at)"
                " SELECT sha256, name, ? FROM tokens WHERE name = ?",
                (now_text(), name),
            )
            if self._database.db.execute("DELETE FROM tokens WHERE name = ?", (name,)).rowcount == 0:
                names = [str(row[0]) for row in self._database.rows("SELECT name FROM tokens ORDER BY name")]
                raise NotFound(f"no token named {name}", f"tokens: {', '.join(names)}" if names else "there are none")


def _token(row: StoredRow) -> TokenRow:
    return TokenRow(
        row.text("name"),
        row.text("sha256"),
        AccountType(row.text("account_type")),
        tuple(json.loads(row.text("roles"))),
        time_of(row.text("created_at")),
        time_of(row.text("expires_at")) if row.cells["expires_at"] else None,
    )


def _day(at: str) -> str:
    try:
        return f"{time_of(at):%Y-%m-%d}"
    except CELL_ERRORS:
        return "a day that is not readable"
