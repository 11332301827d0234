"""Client of MCIAS, the identity service, and the whole contract with it: requests and valid responses.

    POST /v1/auth/login       {"username", "password", "totp_code" (optional), "service_name", "tags": []}
        200 {"token", "expires_at"}; 401 wrong name, password or code; 403 denied by a login policy
    POST /v1/token/validate   {"token"}
        200 {"valid": false}, or {"valid": true, "username", "account_type", "roles", "expires_at"}

Times are RFC 3339. Unknown keys are ignored; `roles` may be null or missing, which is how Go encodes an empty list.
Any other response, redirects included, is invalid and grants nothing.
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
TOKEN_LIMIT = 8192  # characters; agents refuse longer tokens

NO_SECOND_FACTOR_HINT = "try again; an account with a second factor also needs --totp CODE"
SECOND_FACTOR_HINT = "try again with a new code"


@dataclass(frozen=True)
class Login:
    """A token and its expiry."""

    token: str
    expires_at: datetime


@dataclass(frozen=True)
class Account:
    """The account and expiry of a valid token."""

    username: str
    account_type: AccountType
    roles: tuple[str, ...]
    expires_at: datetime


class Mcias:
    """A client of MCIAS at one address; methods block for `timeout` seconds at most, name resolution excluded."""

    def __init__(self, endpoint: Endpoint, ca_cert: Path | None, timeout: float = TIMEOUT) -> None:
        """Take `ca_cert` in PEM (None: the system's authorities); raises InvalidInput if it is unusable."""
        self._service = HttpsService("MCIAS", endpoint, ca_cert, timeout)

    @property
    def where(self) -> str:
        """The name of the server in errors: MCIAS at HOST:PORT."""
        return self._service.where

    def login(self, username: str, password: str, totp: str, service_name: str) -> Login:
        """Obtain a token for an account; `totp` may be empty.

        Raises Unauthenticated for a wrong name, password or code, Forbidden if a login policy denies the login, and
        Unavailable if MCIAS cannot be reached or its response is invalid.
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
            raise Unauthenticated(f"{self.where} rejected the user name and password", hint)
        if answer.status == 403:
            raise Forbidden(
                f"{self.where} has a login policy that does not allow {username} to log in to {service_name}",
                "the password is correct; ask the administrator of MCIAS",
            )
        fields = self._fields(answer)
        return Login(self._token(fields), self._time(fields))

    def validate(self, token: str) -> Account | None:
        """Return the account of a token; None if the token is invalid. Raises Unavailable."""
        fields = self._fields(self._service.post(VALIDATE_PATH, {"token": token}))
        if not self._value(fields, "valid", bool):
            return None
        account_type = self._value(fields, "account_type", str)
        if account_type not in [*AccountType]:
            raise self._nonsense(f"account_type is neither {' nor '.join(AccountType)}")
        username = self._value(fields, "username", str)
        if not _is_name(username):
            raise self._nonsense("invalid username")
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
            raise self._nonsense("invalid JSON") from None
        if not isinstance(fields, dict):
            raise self._nonsense("JSON that is not an object")
        return fields

    def _value(self, fields: dict[str, object], name: str, kind: type[T]) -> T:
        value = fields.get(name)
        if type(value) is not kind:  # not isinstance: a bool is an int in Python, but not in JSON
            raise self._nonsense(f"{name} is {'missing' if name not in fields else 'of the wrong type'}")
        return value

    def _token(self, fields: dict[str, object]) -> str:
        token = self._value(fields, "token", str)
        if not token.isascii() or not token.isprintable() or " " in token or not 0 < len(token) <= TOKEN_LIMIT:
            raise self._nonsense("invalid token")
        return token

    def _time(self, fields: dict[str, object]) -> datetime:
        try:
            return parse_time(self._value(fields, "expires_at", str))
        except ValueError:
            raise self._nonsense("expires_at is not an RFC 3339 time") from None

    def _roles(self, fields: dict[str, object]) -> tuple[str, ...]:
        if fields.get("roles") is None:
            return ()
        roles = self._value(fields, "roles", list)
        if len(roles) > ROLES_LIMIT or not all(isinstance(role, str) and _is_name(role) for role in roles):
            raise self._nonsense("roles is not a list of names")
        return tuple(roles)

    def _nonsense(self, what: str) -> Unavailable:
        return Unavailable(f"{self.where} sent an invalid response: {what}", "check server_url")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_LIMIT and text.isprintable() and text == text.strip()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):  # parsers differ in which of two values they use
        raise ValueError("a key occurs twice")
    return fields


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
