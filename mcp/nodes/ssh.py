"""The system's own ssh, so that ~/.ssh/config, agents, jump hosts and known_hosts count as they do by hand.

    async with Ssh(node) as ssh:
        done = await ssh.run(["uname", "-m"], seconds=20)
        await ssh.copy(path.read_bytes(), "/srv/mcp/file", root=True)

Each node has one connection that all commands share (ControlMaster in ssh_config(5)). Its own session reads from us,
so that it ends with us, however we end: nothing is left in the background.
"""

import asyncio
import hashlib
import os
import re
import secrets
import shlex
import stat
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mcp.config.configuration import Node
from mcp.shared import proc
from mcp.shared.errors import McpError, NotReady, Unavailable, Unreachable, one_line
from mcp.shared.proc import Completed

CONNECT_SECONDS = 10  # for TCP and the first words; a login may take longer
LOGIN_SECONDS = 60.0  # until the node says who we are there
COMMAND_SECONDS = 60.0
_NOT_FOUND = 127  # sh(1), and every shell that somebody may have there
_FAILED = 255  # ssh's own exit status where it failed itself
_LONGEST_PATH = 80  # of a socket: 108 bytes are the most, and ssh adds 17 while it makes it
# What of the environment ssh needs beyond what every child gets: agents and tickets. Never a window to ask in.
_PASSED_ON = ("SSH_AUTH_SOCK", "KRB5CCNAME")
_OPTIONS = (
    *("-T", "-x", "-a", "-oBatchMode=yes", f"-oConnectTimeout={CONNECT_SECONDS}"),
    *("-oServerAliveInterval=10", "-oServerAliveCountMax=3"),
    # What a configuration may have for people who log in, and would be in the way here.
    *("-oRemoteCommand=none", "-oPermitLocalCommand=no", "-oClearAllForwardings=yes", "-oLogLevel=ERROR"),
    *("-oControlPersist=no", "-oForkAfterAuthentication=no", "-oStdinNull=no", "-oSessionType=default"),
)
_CHANGED = "REMOTE HOST IDENTIFICATION HAS CHANGED"  # ssh's words
_MISSING = r"\b{tool}: (command )?not found|(not found|Unknown command): {tool}\b"  # dash and bash, zsh and fish
_NOT_ABOUT_US = ("command not found", "unable to resolve host")  # what sudo says of the command, and of the node's name
_WITH_PORT = re.compile("[^:/]+:[0-9]{1,5}")  # as other programs have it, and ssh only in a URL
_UID = re.compile(rb"mcp-uid:([0-9]{1,10})\s*\Z")
# doas leaves a command the PATH of who logs in, in which Debian has none of root's programs; sudo has its own.
_WITH_SBIN = 'PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH; exec "$@"'
_WHO = "printf mcp-uid:; id -u; exec cat"  # means the same in every shell that somebody may have there
# The new file is whole and checked before it has its name.
_WRITE = """\
umask 077
part=$(mktemp "$1.XXXXXX")
trap 'rm -f "$part"' EXIT
trap 'exit 1' HUP INT TERM
cat >"$part"
echo "$3  $part" | sha256sum --check --status || { echo "what arrived is not what was sent" >&2; exit 1; }
chmod "$2" "$part"
sync "$part"
mv -fT "$part" "$1"
"""


class Ssh(AbstractAsyncContextManager["Ssh"]):
    """A connection to a node, made by `async with`, which raises Unreachable with what ssh said."""

    def __init__(self, node: Node) -> None:
        """For a node of mcp.toml: its `ssh` destination, or its name."""
        self.node = node
        self.uid = -1  # who we are there; 0 is root
        self._socket: Path | None = None
        self._master: asyncio.subprocess.Process | None = None

    @property
    def destination(self) -> str:
        """What stands behind `ssh` on a command line."""
        return self.node.ssh or self.node.name

    async def __aenter__(self) -> Self:
        """Connect, and find out who we are there."""
        self._socket = _socket_folder() / secrets.token_hex(4)
        try:
            # -S and ControlMaster on the command line count before the configuration's
            argv = self._argv(["-oControlMaster=yes"], _WHO)
            self._master = await proc.start(argv, env=_environment(), pipe_stdin=True)
            await self._logged_in(self._master)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the connection."""
        await self.close()

    async def close(self) -> None:
        """End the connection, and every command that still uses it; harmless if there is none."""
        master, self._master = self._master, None
        if master is not None:
            await asyncio.shield(proc.end(master))
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)  # ssh removes it itself, also after our own violent end
            self._socket = None

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: proc.Stdin | None = None,
        root: bool = False,
        seconds: float = COMMAND_SECONDS,
    ) -> Completed:
        """Run a command there to its end, whatever its exit status; its words reach it as they are.

        With `root` it is run as root, by the node's `sudo` setting where we are not root already. Raises Unreachable
        where ssh itself fails (exit status 255 is its own), Unavailable after `seconds`, NotReady where we cannot
        become root.
        """
        words = [*(self.become_root() if root else ()), *argv]
        command = self._argv(["-oControlMaster=no"], shlex.join(words))
        try:
            done = await proc.run(command, seconds=seconds, env=_environment(), stdin=stdin)
        except Unavailable:
            raise Unavailable(f"{_brief(argv)}: did not end within {seconds:g} s", node=self.node.name) from None
        if done.returncode == _FAILED:
            raise self._unreachable(done.stderr.decode(errors="replace"))
        if root and done.returncode in (1, _NOT_FOUND) and self.uid != 0:
            self._check_root(done)
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)

    async def check(
        self,
        argv: Sequence[str],
        *,
        stdin: proc.Stdin | None = None,
        root: bool = False,
        seconds: float = COMMAND_SECONDS,
    ) -> str:
        """Like `run`, and returns what it printed; raises McpError with its last line where it fails."""
        done = await self.run(argv, stdin=stdin, root=root, seconds=seconds)
        if done.returncode != 0:
            raise McpError(f"{_brief(argv)}: {done.last_words()}", node=self.node.name)
        return done.stdout.decode(errors="replace")

    async def copy(
        self,
        content: bytes,
        remote: str,
        *,
        mode: int = 0o644,
        user: str = "",
        root: bool = False,
        seconds: float = 600.0,
    ) -> None:
        """Write a file there, whole or not at all: beside its place, checked by sha256, then renamed.

        It is the file of who writes it: with `root` root, or that `user`, who then needs no trust of root's. In a
        folder of somebody else's root would write, and give away, whatever a link there leads to. Raises McpError.
        """
        digest = hashlib.sha256(content).hexdigest()
        argv = [*as_user(user), "sh", "-euc", _WRITE, "sh", remote, f"{mode:04o}", digest]
        done = await self.run(argv, stdin=content, root=root, seconds=seconds)
        if done.returncode != 0:
            raise McpError(f"{remote}: cannot be written: {done.last_words()}", node=self.node.name)

    def become_root(self) -> tuple[str, ...]:
        """What stands in front of a command that is to run as root; raises NotReady where mcp.toml does not say."""
        if self.uid == 0:
            return ()
        if not self.node.sudo:
            raise NotReady(
                f"ssh {self.destination} logs in as another user than root",
                f'say how to become root there: sudo = "sudo" for {self.node.name} in mcp.toml',
                node=self.node.name,
            )
        become = (self.node.sudo, "-n", "--")
        return (*become, "sh", "-c", _WITH_SBIN, "sh") if self.node.sudo == "doas" else become

    def _argv(self, options: Sequence[str], command: str) -> list[str]:
        assert self._socket is not None, "not connected"
        return ["ssh", *_OPTIONS, *options, "-S", str(self._socket), "--", self.destination, command]

    async def _logged_in(self, master: asyncio.subprocess.Process) -> None:
        """Wait for the node's first words; what a login shell prints before them is passed over."""
        assert master.stdout is not None
        with suppress(TimeoutError, ValueError):  # ValueError: a line without end
            async with asyncio.timeout(LOGIN_SECONDS):
                while line := await master.stdout.readline():
                    if uid := _UID.search(line):
                        self.uid = int(uid[1])
                        await self._check_host_key(master)
                        return
                await self._refused(master)
        what = f"ssh: no answer to the login within {LOGIN_SECONDS:g} s"
        raise Unreachable(what, self._by_hand(), node=self.node.name)

    async def _refused(self, master: asyncio.subprocess.Process) -> None:
        assert master.stderr is not None
        await master.wait()
        said = await master.stderr.read(65536)  # not to its end: a jump host's ssh may hold it open
        raise self._unreachable(said.decode(errors="replace"))

    async def _check_host_key(self, master: asyncio.subprocess.Process) -> None:
        """Raise Unreachable where ssh let us in, and only warned of another key: StrictHostKeyChecking may say so.

        It was said before the login, so it is in the pipe, or nothing was; but the loop may have taken the login from
        its pipe before it looked into this one. It looks into all of them in each round, and hands on in the next.
        """
        assert master.stderr is not None
        for _ in range(3):
            await asyncio.sleep(0)
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                said = (await master.stderr.read(65536)).decode(errors="replace")
                if _CHANGED in said:
                    raise self._unreachable(said)

    def _unreachable(self, said: str) -> Unreachable:
        """The error for what ssh printed, with what to do about the failures that everybody meets."""
        lines = [line.strip() for line in said.splitlines() if line.strip()] or ["failed without a word"]
        # ssh's own last word on host keys comes before what it says of the end of the connection
        last = next((line for line in lines if line.startswith("Host key verification failed")), lines[-1])
        hint = self._by_hand()
        if _CHANGED in said:
            offending = next((line for line in lines if line.startswith("Offending")), "the known key is another one")
            last = f"Host key verification failed. Its host key has changed: {offending}"
            hint = "if the node was really installed anew, remove that line (ssh-keygen -R), then " + hint
        elif "Host key verification failed" in said:
            last = f"{last} Its host key is not known yet"
            hint = f"log in once by hand and compare the key: ssh {self.destination}"
        elif "Permission denied" in last:
            hint = f"a key must let you in, since no password can be asked for here: ssh-copy-id {self.destination}"
        elif "Could not resolve hostname" in last and _WITH_PORT.fullmatch(self.destination):
            hint = f"ssh takes a port as in ssh://{self.destination}"
        return Unreachable(f"ssh: {last.removeprefix('ssh: ')}", hint, node=self.node.name)

    def _by_hand(self) -> str:
        return f"try it by hand: ssh {self.destination}"

    def _check_root(self, done: Completed) -> None:
        """Raise NotReady where it was sudo or doas that failed, and not the command."""
        last, tool = done.last_words(), self.node.sudo
        if done.returncode == _NOT_FOUND:
            if re.search(_MISSING.format(tool=tool), last):
                raise NotReady(
                    f"there is no {tool} there",
                    f"install it, or say how else to become root there: sudo for {self.node.name} in mcp.toml",
                    node=self.node.name,
                )
        elif last.startswith(f"{tool}: ") and not any(words in last for words in _NOT_ABOUT_US):
            raise NotReady(
                last,
                f"no password can be asked for here: allow {self.destination} there to run commands without one",
                node=self.node.name,
            )


def as_user(user: str) -> tuple[str, ...]:
    """What stands in front of a command that root runs as that user; nothing for root, or for no user."""
    return ("runuser", "-u", user, "--") if user not in ("", "root") else ()


def _environment() -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return proc.environment({**passed, "SSH_ASKPASS_REQUIRE": "never"})


def _socket_folder() -> Path:
    """The folder of our sockets, which nobody else can look into; raises McpError."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    usable = runtime.startswith("/") and len(runtime) + 20 <= _LONGEST_PATH and os.access(runtime, os.W_OK | os.X_OK)
    folder = Path(runtime, "mcp-ssh") if usable else Path("/tmp", f"mcp-ssh-{os.geteuid()}")  # noqa: S108 - TMPDIR may be long
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise McpError(f"{folder}: cannot be created: {error.strerror}") from None
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise McpError(f"{folder}: is not a folder of ours alone", "remove it")
    return folder


def _brief(argv: Sequence[str]) -> str:
    """A command as it is named in an error: its first words, without scripts."""
    return one_line(shlex.join([word for word in argv[:3] if "\n" not in word]))[:120]
