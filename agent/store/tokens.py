"""The registry's table of tokens: the accounts of the local backend. Only hashes of tokens are stored."""

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime

from agent.store.database import Table, now_text, time_of
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
        try:
            with self._database.transaction():
                self._refuse_revoked(token)
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
        """Return all tokens by name, or the one with this hash."""
        rows = self._database.rows(
            "SELECT name, sha256, account_type, roles, created_at, expires_at FROM tokens"
            " WHERE ?1 IN ('', sha256) ORDER BY name",
            sha256,
        )
        return [
            TokenRow(
                str(row[0]),
                str(row[1]),
                AccountType(str(row[2])),
                tuple(json.loads(str(row[3]))),
                time_of(str(row[4])),
                time_of(str(row[5])) if row[5] else None,
            )
            for row in rows
        ]

    def _refuse_revoked(self, token: TokenRow) -> None:
        rows = self._database.rows("SELECT name, revoked_at FROM revoked_tokens WHERE sha256 = ?", token.sha256)
        if rows:
            name, at = rows[0]
            raise Unauthenticated(f"this token, of {name}, was revoked on {time_of(str(at)):%Y-%m-%d}")

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
