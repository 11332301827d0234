"""Permissions of accounts, by their roles. Pure.

`reader` and `deployer:SERVICE` limit an account, `admin` does not; with several of them it has the most that it is
given. An account without any of the three may do everything: roles of other systems grant and take nothing.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from mcp.shared.errors import Forbidden
from mcp.shared.names import is_name
from mcp.shared.roles import Role

ASK = "see `mcp whoami`; use a token that has it"
_ROLES = frozenset(map(str, Role))


@dataclass(frozen=True)
class Permission:
    """The role that an account's roles amount to, and the services that a deployer may change."""

    role: Role
    services: frozenset[str] = frozenset()

    def may_change(self, services: Collection[str]) -> bool:
        """Return True if the account may change these services; none stand for the whole node."""
        return self.role is Role.ADMIN or (bool(services) and self.services.issuperset(services))


def permission_of(roles: Iterable[str]) -> Permission:
    """Return what an account with these roles may do."""
    known = [(role, service) for role, _, service in (text.partition(":") for text in roles) if role in _ROLES]
    granted = {role for role, _ in known}
    if not granted or Role.ADMIN in granted:
        return Permission(Role.ADMIN)
    if Role.DEPLOYER in granted:
        named = (service for role, service in known if role == Role.DEPLOYER)
        return Permission(Role.DEPLOYER, frozenset(filter(is_name, named)))
    return Permission(Role.READER)


def deployer_roles(services: Iterable[str]) -> tuple[str, ...]:
    """Return the roles of a deployer of these services."""
    return tuple(f"{Role.DEPLOYER}:{service}" for service in services)


def forbidden(user: str, permission: Permission, action: str, services: Collection[str] = ()) -> Forbidden:
    """Return the error for an account that may not do `action` on these services, or on the whole node if none."""
    may = "may only read" if permission.role is Role.READER else f"may only deploy {_named(permission.services)}"
    lacking = sorted(set(services) - permission.services)
    needed = f"the role {Role.DEPLOYER} for {_named(lacking)}" if lacking else f"the role {Role.ADMIN}"
    return Forbidden(f"{user} {may} (role {permission.role}): {action} needs {needed}", ASK)


def _named(services: Collection[str]) -> str:
    return ", ".join(sorted(services)) or "nothing"
