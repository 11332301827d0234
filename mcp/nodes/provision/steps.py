"""What provisioning is made of: actions on the node, and steps that say what they found and did."""

import shlex
from collections.abc import Callable, Sequence
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
    """Something that changes the node."""

    def shown(self) -> list[str]:
        """The lines that --dry-run prints for it."""

    async def do(self, ssh: Ssh) -> None:
        """Do it as root; raises McpError."""


@dataclass(frozen=True)
class RemoteCommand:
    """A command on a node.

    `stdin` is never shown, `seconds` is how long it may take, `name` is what errors call a script, and `hint` what they
    say to do.
    """

    argv: Sequence[str]
    stdin: bytes | None = field(default=None, repr=False)
    seconds: float = 120.0
    name: str = ""
    hint: str = ""

    def shown(self) -> list[str]:
        """As it would be typed."""
        return shlex.join(self.argv).splitlines()

    async def do(self, ssh: Ssh) -> None:
        """Run it; raises McpError where it fails."""
        done = await ssh.run(self.argv, stdin=self.stdin, root=True, seconds=self.seconds)
        if done.returncode != 0:
            name = self.name or shlex.join(self.argv[:3])
            raise McpError(f"{name}: {done.last_words()}", self.hint, node=ssh.node.name)


@dataclass(frozen=True)
class RemoteFile:
    """A file to be written, by the user whose it is to be."""

    path: str
    content: bytes = field(repr=False)
    owner: str
    mode: int

    def shown(self) -> list[str]:
        """What is written, but not the content."""
        return [f"(write {self.path}: {len(self.content)} bytes, mode {self.mode:04o}, owner {self.owner})"]

    async def do(self, ssh: Ssh) -> None:
        """Write it whole or not at all; raises McpError."""
        await ssh.copy(self.content, self.path, mode=self.mode, user=self.owner, root=True)


Report = Callable[[StepOutcome, str, Sequence[str]], None]  # outcome, what, lines of detail


class Steps:
    """The steps of one run. With `dry_run` nothing is changed, and each says what it would do."""

    def __init__(self, ssh: Ssh, report: Report, *, dry_run: bool) -> None:
        """`report` is told of each step when it is done."""
        self.ssh, self.dry_run = ssh, dry_run
        self.changes = 0
        self.written: set[str] = set()  # files that were changed, or with `dry_run` would be
        self._report = report

    def ok(self, what: str) -> None:
        """A step that found all as it should be."""
        self._report(StepOutcome.OK, what, ())

    async def change(self, what: str, *actions: Action) -> None:
        """A step that has something to do."""
        self.changes += 1
        self.written |= {action.path for action in actions if isinstance(action, RemoteFile)}
        if self.dry_run:
            self._report(StepOutcome.WOULD_CHANGE, what, [line for action in actions for line in action.shown()])
            return
        for action in actions:
            await action.do(self.ssh)
        self._report(StepOutcome.CHANGED, what, ())

    def changed_here(self, what: str, detail: str = "") -> None:
        """A step that changed something on this machine, or with `dry_run` would."""
        self.changes += 1
        outcome = StepOutcome.WOULD_CHANGE if self.dry_run else StepOutcome.CHANGED
        self._report(outcome, what, [detail] if self.dry_run and detail else [])

    async def holds(self, argv: Sequence[str]) -> bool:
        """Whether a command that changes nothing ends with 0, as root."""
        return (await self.ssh.run(argv, root=True)).returncode == 0

    async def text(self, path: str) -> str | None:
        """What a file of the node holds; None if it is not there."""
        done = await self.ssh.run(["cat", "--", path], root=True)
        return done.stdout.decode(errors="replace") if done.returncode == 0 else None

    async def sha256(self, path: str) -> str:
        """The sha256 of a file of the node, in hex; "" if it is not there."""
        done = await self.ssh.run(["sha256sum", "--", path], root=True)
        return done.stdout.decode(errors="replace").split()[0] if done.returncode == 0 else ""
