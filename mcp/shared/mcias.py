"""The contract with MCIAS, the identity service: what is sent, and which answers are allowed. All of it is here.

    POST /v1/auth/login       {"username", "password", "totp_code" (where there is one), "service_name", "tags": []}
        200 {"token", "expires_at"}; 401 wrong name, password or code; 403 a login policy says no
    POST /v1/token/validate   {"token"}
        200 {"valid": false}, or {"valid": true, "username", "account_type", "roles", "expires_at"}

Times are RFC 3339. Keys that are not known here are ignored; `roles` may be null or missing, as Go writes an empty
list. Any other answer, redirects among them, is nonsense, and nonsense is nobody's permission.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from mcp.shared.errors import Forbidden, Unauthenticated, Unavailable
from mcp.shared.https import TIMEOUT, HttpAnswer, HttpsService
from mcp.shared.states import AccountType
from mcp.shared.times import parse_time
from mcp.shared.url import Endpoint

T = TypeVar("T")

LOGIN_PATH = "/v1/auth/login"
VALIDATE_PATH = "/v1/token/validate"
NAME_LIMIT = 255  # characters of a user's or role's name
ROLES_LIMIT = 100
TOKEN_LIMIT = 8192  # characters; agents take no longer ones

NO_SECOND_FACTOR_HINT = "try again; an account with a second factor also needs --totp CODE"
SECOND_FACTOR_HINT = "try again, with a new code"


@dataclass(frozen=True)
class Login:
    """A token, and when it ends."""

    token: str
    expires_at: datetime


@dataclass(frozen=True)
class Account:
    """Whom a valid token belongs to, and when it ends."""

    username: str
    account_type: AccountType
    roles: tuple[str, ...]
    expires_at: datetime


class Mcias:
    """MCIAS at one address. Its methods block for `timeout` seconds at most, name look-up aside."""

    def __init__(self, endpoint: Endpoint, ca_cert: Path | None, timeout: float = TIMEOUT) -> None:
        """`ca_cert` is PEM, None the system's authorities; raises InvalidInput where it cannot be used."""
        self._service = HttpsService("MCIAS", endpoint, ca_cert, timeout)

    @property
    def where(self) -> str:
        """What errors call it: MCIAS at HOST:PORT."""
        return self._service.where

    def login(self, username: str, password: str, totp: str, service_name: str) -> Login:
        """A token for an account; `totp` may be empty.

        Raises Unauthenticated for a wrong name, password or code, Forbidden where a login policy says no, and
        Unavailable where MCIAS cannot be reached or answers nonsense.
        """
        content: dict[str, object] = {
            "username": username,
            "password": password,
            "service_name": service_name,
            "tags": [],
        }
        if totp:
            content["totp_code"] = totp
        answer = self._service.post(LOGIN_PATH, content)
        if answer.status == 401:
            hint = SECOND_FACTOR_HINT if totp else NO_SECOND_FACTOR_HINT
            raise Unauthenticated(f"{self.where} does not accept the user name and password", hint)
        if answer.status == 403:
            raise Forbidden(
                f"{self.where} has a login policy that does not let {username} log in to {service_name}",
                "the password was right; ask its administrator",
            )
        fields = self._fields(answer)
        return Login(self._token(fields), self._time(fields))

    def validate(self, token: str) -> Account | None:
        """Whom a token belongs to, None where it is not valid; raises Unavailable."""
        fields = self._fields(self._service.post(VALIDATE_PATH, {"token": token}))
        if not self._value(fields, "valid", bool):
            return None
        account_type = self._value(fields, "account_type", str)
        if account_type not in [*AccountType]:
            raise self._nonsense(f"account_type is neither {' nor '.join(AccountType)}")
        username = self._value(fields, "username", str)
        if not _is_name(username):
            raise self._nonsense("username is no name")
        return Account(username, AccountType(account_type), self._roles(fields), self._time(fields))

    def _fields(self, answer: HttpAnswer) -> dict[str, object]:
        if 300 <= answer.status < 400:
            raise self._nonsense(f"a redirect ({answer.status}), which is never followed")
        if answer.status != 200:
            raise self._nonsense(f"HTTP status {answer.status}")
        if answer.media_type != "application/json":
            raise self._nonsense("something other than JSON")
        try:
            fields = json.loads(answer.body.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise self._nonsense("no valid JSON") from None
        if not isinstance(fields, dict):
            raise self._nonsense("no JSON object")
        return fields

    def _value(self, fields: dict[str, object], name: str, kind: type[T]) -> T:
        value = fields.get(name)
        if type(value) is not kind:  # not isinstance: a bool is an int in Python, but not in JSON
            raise self._nonsense(f"{name} is {'missing' if name not in fields else 'of a wrong type'}")
        return value

    def _token(self, fields: dict[str, object]) -> str:
        token = self._value(fields, "token", str)
        if not token.isascii() or not token.isprintable() or " " in token or not 0 < len(token) <= TOKEN_LIMIT:
            raise self._nonsense("token is no token")
        return token

    def _time(self, fields: dict[str, object]) -> datetime:
        try:
            return parse_time(self._value(fields, "expires_at", str))
        except ValueError:
            raise self._nonsense("expires_at is no RFC 3339 time") from None

    def _roles(self, fields: dict[str, object]) -> tuple[str, ...]:
        if fields.get("roles") is None:
            return ()
        roles = self._value(fields, "roles", list)
        if len(roles) > ROLES_LIMIT or not all(isinstance(role, str) and _is_name(role) for role in roles):
            raise self._nonsense("roles is no list of names")
        return tuple(roles)

    def _nonsense(self, what: str) -> Unavailable:
        return Unavailable(f"{self.where} gave an answer that is not in its contract: {what}", "check server_url")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_LIMIT and text.isprintable() and text == text.strip()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):  # two readers could see two different answers in it
        raise ValueError("a key occurs twice")
    return fields


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
