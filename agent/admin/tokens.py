"""`mcp-agent token add|list|revoke`: the accounts of the local backend, directly in the registry's file."""

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.auth.backends import ACCOUNT_TYPES, is_token, new_token, token_row
from agent.store.registry import Registry, TokenRow
from mcp.shared.errors import InvalidInput, one_line
from mcp.shared.files import write_atomic
from mcp.shared.names import check_name
from mcp.shared.times import parse_duration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands and their arguments."""
    commands = parser.add_subparsers(dest="token_command", required=True, metavar="COMMAND")
    add = commands.add_parser("add", help="make a token and print it, once")
    add.add_argument("name", metavar="NAME", help="the account's name")
    add.add_argument("--type", choices=ACCOUNT_TYPES, default="human", help="account type (default: human)")
    add.add_argument("--role", action="append", default=[], metavar="ROLE", help="a role; may be repeated")
    add.add_argument("--expires", metavar="DURATION", help="how long it is valid, as in 90d or 12h (default: for ever)")
    add.add_argument(
        "--output", type=Path, metavar="FILE", help="write the token to FILE (0600) instead of printing it"
    )
    add.add_argument(
        "--token-stdin",
        action="store_true",
        help="take over a token that another node made, from stdin, and print none",
    )
    listing = commands.add_parser("list", help="show the accounts; tokens themselves are stored nowhere")
    listing.add_argument("--json", action="store_true", help="print JSON")
    revoke = commands.add_parser("revoke", help="end a token; takes effect at once")
    revoke.add_argument("name", metavar="NAME", help="the account's name")


def run(args: argparse.Namespace, database: Path) -> int:
    """Carry out a token command on the registry at `database`."""
    registry = Registry(database)
    try:
        match args.token_command:
            case "add":
                _add(registry, args)
            case "revoke":
                registry.tokens.revoke(args.name)
                sys.stderr.write(f"revoked {one_line(args.name)}\n")
            case _:
                _list(registry.tokens.select(), args.json)
    finally:
        registry.close()
    return 0


def issue(registry: Registry, name: str, lifetime: timedelta | None = None) -> str:
    """Make a human account without roles, and return its token."""
    token = new_token()
    registry.tokens.add(token_row(name, token, "human", (), _expiry(lifetime)))
    return token


def _add(registry: Registry, args: argparse.Namespace) -> None:
    check_name("name", args.name)
    for role in args.role:
        check_name("--role", role)
    token = _from_stdin() if args.token_stdin else new_token()
    expires = _expiry(_lifetime(args.expires))
    registry.tokens.add(token_row(args.name, token, args.type, tuple(args.role), expires))
    if args.token_stdin and args.output is None:
        sys.stderr.write(f"added {args.name}, with the token that was given\n")
        return
    if args.output is None:
        sys.stdout.write(f"{token}\n")
        sys.stderr.write(f"added {args.name}; the token above is shown only now: keep it in a file with mode 0600\n")
        return
    try:
        write_atomic(args.output, f"{token}\n".encode())
    except BaseException:
        registry.tokens.revoke(args.name)  # nobody has the token: nothing half done
        raise
    sys.stderr.write(f"added {args.name}; its token is in {args.output}\n")


def _from_stdin() -> str:
    """A token made by another agent: an operator has one for the whole fleet. Raises InvalidInput for anything else."""
    text = sys.stdin.read(4096).strip()
    if not is_token(text):
        raise InvalidInput("stdin holds no token", "give what `mcp-agent token add` printed on another node")
    return text


def _lifetime(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidInput(f'--expires: "{one_line(text)}": {error}') from None


def _expiry(lifetime: timedelta | None) -> datetime | None:
    if lifetime is None:
        return None
    try:
        return datetime.now(UTC) + lifetime
    except OverflowError:
        raise InvalidInput("--expires: is too far away", "leave it out for a token that never ends") from None


def _list(tokens: list[TokenRow], as_json: bool) -> None:
    rows = [
        {
            "name": token.name,
            "type": token.account_type,
            "roles": list(token.roles),
            "created": token.created_at.isoformat(timespec="seconds"),
            "expires": token.expires_at.isoformat(timespec="seconds") if token.expires_at else None,
        }
        for token in tokens
    ]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    sys.stdout.write(f"{'NAME':<24} {'TYPE':<8} {'ROLES':<16} {'CREATED':<26} EXPIRES\n")
    for row in rows:
        roles = ",".join(token_role for token_role in row["roles"] or ()) or "-"
        sys.stdout.write(
            f"{row['name']:<24} {row['type']:<8} {roles:<16} {row['created']:<26} {row['expires'] or 'never'}\n"
        )
