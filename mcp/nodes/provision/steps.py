"""Actions on a node, and steps that report changes, for provisioning."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from mcp.nodes.ssh import Ssh
from mcp.shared.errors import McpError


class StepOutcome(StrEnum):
    """Outcome of a step."""

    OK = "ok"
    CHANGED = "changed"
    WOULD_CHANGE = "would change"


class Action(Protocol):
    """A change of the node."""

    def shown(self) -> list[str]:
        """Return the lines that --dry-run prints."""

    async def do(self, ssh: Ssh) -> None:
        """Make the change as root; raises McpError."""


@dataclass(frozen=True)
class RemoteCommand:
    """A command on a node.

    `stdin` is never shown, `seconds` is its timeout, `name` replaces a script in errors, and `hint` is their hint, or
    that of `hints` for an exit status.
    """

    argv: Sequence[str]
    stdin: bytes | None = field(default=None, repr=False)
    seconds: float = 120.0
    name: str = ""
    hint: str = ""
    hints: Mapping[int, str] = field(default_factory=dict)

    def shown(self) -> list[str]:
        """Return the command quoted for a shell."""
        return shlex.join(self.argv).splitlines()

    async def do(self, ssh: Ssh) -> None:
        """Run the command; raises McpError if it fails."""
        done = await ssh.run(self.argv, stdin=self.stdin, root=True, seconds=self.seconds)
        if done.returncode != 0:
            name = self.name or shlex.join(self.argv[:3])
            hint = self.hints.get(done.returncode, self.hint)
            raise McpError(f"{name}: {done.last_words()}", hint, node=ssh.node.name)


@dataclass(frozen=True)
class RemoteFile:
    """A file to write as the user that will own it."""

    path: str
    content: bytes = field(repr=False)
    owner: str
    mode: int

    def shown(self) -> list[str]:
        """Return path, size, mode and owner, without the content."""
        return [f"(write {self.path}: {len(self.content)} bytes, mode {self.mode:04o}, owner {self.owner})"]

    async def do(self, ssh: Ssh) -> None:
        """Write the file atomically; raises McpError."""
        await ssh.copy(self.content, self.path, mode=self.mode, user=self.owner, root=True)


Report = Callable[[StepOutcome, str, Sequence[str]], None]  # outcome, what, lines of detail


class Steps:
    """The steps of a run; with `dry_run` they only report what they would change."""

    def __init__(self, ssh: Ssh, report: Report, *, dry_run: bool) -> None:
        """Take the function that is called after each step."""
        self.ssh, self.dry_run = ssh, dry_run
        self.changes = 0
        self.written: set[str] = set()  # files changed, or with `dry_run` to be changed
        self._report = report

    def ok(self, what: str) -> None:
        """Report a step without a change."""
        self._report(StepOutcome.OK, what, ())

    async def change(self, what: str, *actions: Action) -> None:
        """Carry out and report a step with changes."""
        self.changes += 1
        self.written |= {action.path for action in actions if isinstance(action, RemoteFile)}
        if self.dry_run:
            self._report(StepOutcome.WOULD_CHANGE, what, [line for action in actions for line in action.shown()])
            return
        for action in actions:
            await action.do(self.ssh)
        self._report(StepOutcome.CHANGED, what, ())

    def changed_here(self, what: str, detail: str = "") -> None:
        """Report a step that changed this machine, or with `dry_run` would."""
        self.changes += 1
        outcome = StepOutcome.WOULD_CHANGE if self.dry_run else StepOutcome.CHANGED
        self._report(outcome, what, [detail] if self.dry_run and detail else [])

    async def holds(self, argv: Sequence[str]) -> bool:
        """Run a read-only command as root; return True if it exits with 0."""
        return (await self.ssh.run(argv, root=True)).returncode == 0

    async def text(self, path: str) -> str | None:
        """Return the content of a file of the node; None if it does not exist."""
        done = await self.ssh.run(["cat", "--", path], root=True)
        return done.stdout.decode(errors="replace") if done.returncode == 0 else None

    async def sha256(self, path: str) -> str:
        """Return the sha256 of a file of the node, in hex; "" if it does not exist."""
        done = await self.ssh.run(["sha256sum", "--", path], root=True)
        return done.stdout.decode(errors="replace").split()[0] if done.returncode == 0 else ""
