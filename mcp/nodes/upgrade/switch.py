"""Control of deploy/switch-agent.sh, the node's own part of an upgrade, over ssh."""

import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from mcp.nodes.agent_file import AgentFile
from mcp.nodes.ssh import Ssh
from mcp.shared import resources
from mcp.shared.errors import McpError
from mcp.shared.proc import Completed

SCRIPT = "switch-agent.sh"
COPY_SECONDS = 900.0  # for about 12 MB, and the first start of the new file
ASK_SECONDS = 10  # that the node waits for the end of a switch before it reports that it continues
# stdin contains the script, then the script's own input.
_RUN = 'script=$(head -c "$1"); shift; eval "$script"'


@dataclass(frozen=True)
class AgentFacts:
    """State of a node; `version` is empty if no agent starts or serves, a checksum if there is no file."""

    machine: str  # uname -m
    version: str
    sha256: str
    active: str  # systemd's ActiveState of the unit
    previous: str  # sha256 of .prev
    unfinished: bool = False  # an upgrade was interrupted or has left files behind

    def has(self, file: AgentFile) -> bool:
        """Return True if this file is the running agent."""
        return self.sha256 == file.sha256 and self.active == "active"


class SwitchPhase(StrEnum):
    """Phase of a switch."""

    NONE = ""  # unknown to the node
    HANDED_OVER = "handed-over"
    SWITCHING = "switching"
    UPGRADED = "upgraded"
    FAILED = "failed"  # nothing was changed
    ROLLED_BACK = "rolled-back"  # the old agent is running again
    NO_AGENT = "no-agent"  # neither agent is running
    ANSWERING = "answering"  # ssh no longer works, but the new agent responds
    LOST = "lost"  # ssh no longer works


_UNFINISHED = (SwitchPhase.NONE, SwitchPhase.HANDED_OVER, SwitchPhase.SWITCHING)


@dataclass(frozen=True)
class SwitchState:
    """State of a switch as the node reports it, or as known if ssh no longer works."""

    phase: SwitchPhase
    version: str
    why: str
    busy: bool
    restored: bool = False  # a copy of the registry was put back

    @property
    def is_final(self) -> bool:
        """True if the switch has ended."""
        return self.phase not in _UNFINISHED or not self.busy


@dataclass(frozen=True)
class Switch:
    """A switch on a node, identified by its id."""

    ssh: Ssh
    deadline: int  # seconds within which the agent must serve
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    async def facts(self) -> AgentFacts:
        """Return the state of the node; raises McpError, as all methods do."""
        fields = _fields(await self._ask("facts"))
        # a running agent reports its version even if no Python can start it again
        version = fields.get("version", "").removeprefix("mcp-agent ") or fields.get("status", "").removeprefix(
            "serving "
        )
        machine, sha256, active = (fields.get(name, "") for name in ("machine", "sha256", "active"))
        return AgentFacts(
            machine, version, sha256, active, fields.get("previous", ""), fields.get("unfinished") == "yes"
        )

    async def tidy(self) -> None:
        """Complete an interrupted switch and remove leftovers; refused while a switch is in progress."""
        await self._ask("tidy", seconds=COPY_SECONDS)

    async def stage(self, file: AgentFile, content: bytes) -> None:
        """Copy the file, have the node verify it, and start the switch, which the node completes by itself."""
        words = ("stage", self.id, file.sha256, file.version, str(self.deadline))
        await self._ask(*words, stdin=content, seconds=COPY_SECONDS)

    async def rollback(self) -> str:
        """Start the switch to the agent kept as .prev; return its version."""
        return _fields(await self._ask("rollback", self.id, str(self.deadline), seconds=COPY_SECONDS)).get("to", "")

    async def verdict(self) -> SwitchState:
        """Return the state of the switch, waiting up to ASK_SECONDS for its end."""
        fields = _fields(await self._ask("result", self.id, str(ASK_SECONDS)))
        return SwitchState(
            phase_of(fields.get("state", "")),
            fields.get("to", ""),
            fields.get("why", ""),
            "busy" in fields,
            fields.get("registry") == "restored",
        )

    async def _ask(self, *words: str, stdin: bytes = b"", seconds: float = 60.0) -> str:
        script = resources.deploy_file(SCRIPT).encode()
        argv = ["sh", "-c", _RUN, "sh", str(len(script)), *words]
        done = await self.ssh.run(argv, stdin=(script, stdin), root=True, seconds=seconds)
        if done.returncode != 0:
            raise McpError(_complaint(done))
        return done.stdout.decode(errors="replace")


def phase_of(word: str) -> SwitchPhase:
    """Return the phase in the node's result file; an unknown word counts as unfinished."""
    return SwitchPhase(word) if word in [*SwitchPhase] else SwitchPhase.SWITCHING


def _complaint(done: Completed) -> str:
    """Return the error of the script, its last line."""
    return done.last_words()


def _fields(text: str) -> dict[str, str]:
    """Parse NAME=VALUE lines."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
