"""`mcp-agent token add|list|revoke`: manage accounts of the local backend in the registry file."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.admin.arguments import CONFIG, JSON
from mcp.shared.command import Command, argument, flag
from mcp.shared.errors import EXIT_DONE, InvalidInput, NotReady, one_line
from mcp.shared.roles import GUEST, Role, role_text
from mcp.shared.states import AccountType

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from agent.store.registry import Registry


def issue(registry: "Registry", name: str, lifetime: "timedelta | None" = None) -> str:
    """Create a human account without roles, and return its token."""
    from agent.auth.backends import new_token, token_row

    token = new_token()
    registry.tokens.add(token_row(name, token, AccountType.HUMAN, (), _expiry(lifetime)))
    return token


def _on_registry(act: "Callable[[Registry, argparse.Namespace], None]") -> Callable[[argparse.Namespace], int]:
    """Wrap a command to open the configured registry."""

    def run(args: argparse.Namespace) -> int:
        # all that `act` uses, see agent/admin/owner.py
        import json  # noqa: F401

        from agent import config
        from agent.admin.owner import give_up_root
        from agent.admin.reach import warn_if_served
        from agent.auth import backends, permissions  # noqa: F401
        from agent.store.registry import Registry
        from mcp.shared import files, names, times  # noqa: F401

        give_up_root(args.config)
        settings = config.load(args.config)
        give_up_root(settings.database)
        if settings.mcias is not None and act is _add:
            raise NotReady(
                f"{args.config}: the backend is MCIAS, which manages all accounts",
                "create the account in MCIAS; users get tokens with `mcp login`",
            )
        registry = Registry(settings.database)
        try:
            act(registry, args)
        finally:
            registry.close()
        if act is _add and args.output is not None:
            warn_if_served(settings, args.output)
        return EXIT_DONE

    return run


def _revoke(registry: "Registry", args: argparse.Namespace) -> None:
    registry.tokens.revoke(args.name)
    sys.stderr.write(f"revoked {one_line(args.name)}\n")


def _add(registry: "Registry", args: argparse.Namespace) -> None:
    from agent.auth.backends import new_token, token_row
    from mcp.shared.files import write_atomic
    from mcp.shared.names import check_name

    check_name("name", args.name)
    roles = _roles(args)
    token = _from_stdin() if args.token_stdin else new_token()
    expires = _expiry(_lifetime(args.expires))
    registry.tokens.add(token_row(args.name, token, AccountType(args.type), roles, expires))
    if args.token_stdin and args.output is None:
        sys.stderr.write(f"added {args.name} with the given token\n")
        return
    if args.output is None:
        sys.stdout.write(f"{token}\n")
        sys.stderr.write(f"added {args.name}; the token is not shown again: save it in a file with mode 0600\n")
        return
    try:
        write_atomic(args.output, f"{token}\n".encode())
    except BaseException:
        registry.tokens.revoke(args.name)  # nobody has the token
        raise
    sys.stderr.write(f"added {args.name}; its token is in {args.output}\n")


def _roles(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the roles of a new account; those of a deployer name its services. Raises InvalidInput."""
    from agent.auth.permissions import deployer_roles
    from mcp.shared.names import check_name

    services = args.services.split(",") if args.services is not None else []
    for service in services:
        check_name("--services", service)
    if services and Role.DEPLOYER not in args.role:
        raise InvalidInput(f"--services: is for --role {Role.DEPLOYER}", f"add --role {Role.DEPLOYER}")
    if Role.DEPLOYER in args.role and not services:
        raise InvalidInput(f"--role {Role.DEPLOYER}: no services", "add --services, as in --services shop,web")
    others = (role for role in args.role if role != Role.DEPLOYER)
    return (*others, *deployer_roles(dict.fromkeys(services)))


def _from_stdin() -> str:
    """Read a token of another agent, to use one for the whole fleet; raises InvalidInput."""
    from agent.auth.backends import is_token

    text = sys.stdin.read(4096).strip()
    if not is_token(text):
        raise InvalidInput("no valid token on stdin", "pass the output of `mcp-agent token add` on another node")
    return text


def _lifetime(text: str | None) -> "timedelta | None":
    from mcp.shared.times import parse_duration

    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidInput(f'--expires: "{one_line(text)}": {error}') from None


def _expiry(lifetime: "timedelta | None") -> "datetime | None":
    from datetime import UTC, datetime

    if lifetime is None:
        return None
    try:
        return datetime.now(UTC) + lifetime
    except OverflowError:
        raise InvalidInput("--expires: is too far in the future", "omit it for a permanent token") from None


def _list(registry: "Registry", args: argparse.Namespace) -> None:
    from agent.auth.permissions import permission_of

    rows: list[dict[str, Any]] = [
        {
            "name": token.name,
            "type": token.account_type,
            "role": GUEST if GUEST in token.roles else permission_of(token.roles).role,
            "services": sorted(permission_of(token.roles).services),
            "roles": list(token.roles),
            "created": token.created_at.isoformat(timespec="seconds"),
            "expires": token.expires_at.isoformat(timespec="seconds") if token.expires_at else None,
        }
        for token in registry.tokens.select()
    ]
    if args.json:
        import json

        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    sys.stdout.write(f"{'NAME':<24} {'TYPE':<8} {'ROLE':<16} {'CREATED':<26} EXPIRES\n")
    for row in rows:
        role = role_text(row["role"], row["services"])
        sys.stdout.write(
            f"{row['name']:<24} {row['type']:<8} {role:<16} {row['created']:<26} {row['expires'] or 'never'}\n"
        )


_NAME = argument("name", metavar="NAME", help="the account")
COMMAND = Command(
    "token",
    "manage accounts and their tokens",
    arguments=(CONFIG,),
    commands=(
        Command(
            "add",
            "create an account, and print its token once",
            _on_registry(_add),
            arguments=(
                _NAME,
                argument(
                    "--type",
                    choices=[*map(str, AccountType)],
                    default="human",
                    help="the account type (default: human)",
                ),
                argument(
                    "--role",
                    action="append",
                    default=[],
                    choices=[*map(str, Role), GUEST],
                    help="reader: may only read; deployer: may change --services, too; guest: refused; can be repeated,"
                    " and the most counts (default: admin, everything)",
                ),
                argument("--services", metavar="SERVICE,...", help="the services that a deployer may change"),
                argument("--expires", metavar="DURATION", help="the lifetime, as in 90d or 12h (default: permanent)"),
                argument("--output", type=Path, metavar="FILE", help="write the token to FILE (mode 0600) instead"),
                flag("--token-stdin", help="read the token of another node from stdin, and print none"),
            ),
        ),
        Command("list", "list accounts; tokens are stored nowhere", _on_registry(_list), arguments=(JSON,)),
        Command("revoke", "revoke a token immediately", _on_registry(_revoke), arguments=(_NAME,)),
    ),
)
