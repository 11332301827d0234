"""The node's own part of an upgrade, asked over ssh: deploy/switch-agent.sh, whose words this file knows."""

import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from mcp.nodes.agent_file import AgentFile
from mcp.nodes.ssh import Ssh
from mcp.shared import resources
from mcp.shared.errors import McpError
from mcp.shared.proc import Completed

SCRIPT = "switch-agent.sh"
COPY_SECONDS = 900.0  # for some 12 MB, and the first start of the new file
ASK_SECONDS = 10  # how long the node waits for the end of a switch before it says that there is none yet
# The script comes first on stdin, and then whatever it reads itself.
_RUN = 'script=$(head -c "$1"); shift; eval "$script"'


@dataclass(frozen=True)
class AgentFacts:
    """What there is on a node; `version` is empty where no agent starts or serves, a sum where there is no file."""

    machine: str  # uname -m
    version: str
    sha256: str
    active: str  # systemd's ActiveState of the unit
    previous: str  # sha256 of .prev
    unfinished: bool = False  # something was interrupted, or has left something behind

    def has(self, file: AgentFile) -> bool:
        """Whether it is this very file that serves."""
        return self.sha256 == file.sha256 and self.active == "active"


class SwitchPhase(StrEnum):
    """How far a switch is."""

    NONE = ""  # the node knows nothing of it
    HANDED_OVER = "handed-over"
    SWITCHING = "switching"
    UPGRADED = "upgraded"
    FAILED = "failed"  # nothing was changed
    ROLLED_BACK = "rolled-back"  # the old agent is running again
    NO_AGENT = "no-agent"  # neither agent is running
    ANSWERING = "answering"  # the node cannot be asked, but its new agent answers
    LOST = "lost"  # the node cannot be asked


_UNFINISHED = (SwitchPhase.NONE, SwitchPhase.HANDED_OVER, SwitchPhase.SWITCHING)


@dataclass(frozen=True)
class SwitchState:
    """What the node says of a switch, or what is known of it where the node cannot be asked."""

    phase: SwitchPhase
    version: str
    why: str
    busy: bool

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase not in _UNFINISHED or not self.busy


@dataclass(frozen=True)
class Switch:
    """One switch on one node; its id tells it from others."""

    ssh: Ssh
    deadline: int  # seconds in which the agent must serve
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    async def facts(self) -> AgentFacts:
        """What there is; changes nothing. Raises McpError, as all of these do."""
        said = _fields(await self._ask("facts"))
        # one that serves says so even where no Python starts it again
        version = said.get("version", "").removeprefix("mcp-agent ") or said.get("status", "").removeprefix("serving ")
        machine, sha256, active = (said.get(name, "") for name in ("machine", "sha256", "active"))
        return AgentFacts(machine, version, sha256, active, said.get("previous", ""), said.get("unfinished") == "yes")

    async def tidy(self) -> None:
        """Bring to its end what was interrupted, and remove what it left; refused while a switch is under way."""
        await self._ask("tidy", seconds=COPY_SECONDS)

    async def stage(self, file: AgentFile, content: bytes) -> None:
        """Copy the file there, have it checked, and hand over: from then on the node goes on by itself."""
        words = ("stage", self.id, file.sha256, file.version, str(self.deadline))
        await self._ask(*words, stdin=content, seconds=COPY_SECONDS)

    async def rollback(self) -> str:
        """Hand over to go back to the agent that is kept as .prev; returns its version."""
        return _fields(await self._ask("rollback", self.id, str(self.deadline), seconds=COPY_SECONDS)).get("to", "")

    async def verdict(self) -> SwitchState:
        """How it went, or that it goes on still, after ASK_SECONDS at the latest."""
        said = _fields(await self._ask("result", self.id, str(ASK_SECONDS)))
        return SwitchState(phase_of(said.get("state", "")), said.get("to", ""), said.get("why", ""), "busy" in said)

    async def _ask(self, *words: str, stdin: bytes = b"", seconds: float = 60.0) -> str:
        script = resources.deploy_file(SCRIPT).encode()
        argv = ["sh", "-c", _RUN, "sh", str(len(script)), *words]
        done = await self.ssh.run(argv, stdin=(script, stdin), root=True, seconds=seconds)
        if done.returncode != 0:
            raise McpError(_complaint(done))
        return done.stdout.decode(errors="replace")


def phase_of(word: str) -> SwitchPhase:
    """Return the phase that the node's result file names; a word that it cannot have written is an unfinished one."""
    return SwitchPhase(word) if word in [*SwitchPhase] else SwitchPhase.SWITCHING


def _complaint(done: Completed) -> str:
    """What the script says is one line, whatever else was printed before it."""
    return done.last_words()


def _fields(text: str) -> dict[str, str]:
    """NAME=VALUE lines."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
