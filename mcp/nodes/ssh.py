"""Commands and files over the system's ssh, with the user's ~/.ssh/config, agents, jump hosts and known_hosts.

    async with Ssh(node) as ssh:
        done = await ssh.run(["uname", "-m"], seconds=20)
        await ssh.copy(path.read_bytes(), "/srv/mcp/file", root=True)

All commands to a node share one connection (ControlMaster in ssh_config(5)). Its own session reads from our pipe, so
that it ends with us, however we end, and leaves nothing in the background.

The login shell may be any: it gets one command line that csh(1) and fish(1) read like sh(1), and marks on both streams
separate the output of the command from that of the shell's start files.
"""

import asyncio
import base64
import hashlib
import os
import re
import secrets
import shlex
import stat
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from mcp.config.configuration import Node
from mcp.shared import proc
from mcp.shared.errors import McpError, NotReady, Unavailable, Unreachable, one_line, shell_word
from mcp.shared.proc import Completed
from mcp.shared.times import in_seconds

CONNECT_SECONDS = 10  # for TCP and the banner; a login may take longer
LOGIN_SECONDS = 60.0  # until the login session prints our UID
COMMAND_SECONDS = 60.0
_NOT_FOUND = 127  # of sh(1) and every other login shell
_FAILED = 255  # exit status of failures of ssh itself
_LONGEST_PATH = 80  # of a socket: the limit is 108 bytes, and ssh temporarily appends 17
# Variables that ssh needs beyond those of every child: agents and tickets, but no graphical prompts.
_PASSED_ON = ("SSH_AUTH_SOCK", "KRB5CCNAME")
_OPTIONS = (
    *("-T", "-x", "-a", "-oBatchMode=yes", f"-oConnectTimeout={CONNECT_SECONDS}"),
    *("-oServerAliveInterval=10", "-oServerAliveCountMax=3"),
    # Override settings for interactive logins.
    *("-oRemoteCommand=none", "-oPermitLocalCommand=no", "-oClearAllForwardings=yes", "-oLogLevel=ERROR"),
    *("-oControlPersist=no", "-oForkAfterAuthentication=no", "-oStdinNull=no", "-oSessionType=default"),
)
_CHANGED = "REMOTE HOST IDENTIFICATION HAS CHANGED"  # message of ssh
_MISSING = r"\b{tool}: (command )?not found|(not found|Unknown command): {tool}\b"  # dash and bash, zsh and fish
_NOT_ABOUT_US = ("command not found", "unable to resolve host")  # messages of sudo about the command and the host name
_WITH_PORT = re.compile("[^:/]+:[0-9]{1,5}")  # as in other programs; ssh accepts a port only in a URL
_UID = re.compile(rb"mcp-uid:([0-9]{1,10})\s*\Z")
# doas keeps the PATH of the login, which in Debian lacks the sbin folders; sudo sets its own.
_WITH_SBIN = 'PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH; exec "$@"'
_WHO = "printf mcp-uid:; id -u; exec cat"  # valid in every login shell
_FRAMED = """\
printf '%s\\n' {mark}; printf '%s\\n' {mark} >&2
{command}
status=$?
printf '%s:%s' {mark} "$status"; printf '%s' {mark} >&2
exit "$status"
"""
# The new file is complete and verified before it gets its name.
_WRITE = """\
umask 077
part=$(mktemp "$1.XXXXXX")
trap 'rm -f "$part"' EXIT
trap 'exit 1' HUP INT TERM
cat >"$part"
echo "$3  $part" | sha256sum --check --status || { echo "the checksum of the received file differs" >&2; exit 1; }
chmod "$2" "$part"
sync "$part"
mv -fT "$part" "$1"
"""


@dataclass(frozen=True)
class Frame:
    """A random mark that a command prints before and after its own output, on both streams."""

    mark: str = field(default_factory=lambda: f"mcp-{secrets.token_hex(12)}")

    def command(self, words: Sequence[str]) -> str:
        """Return the command line for the login shell; base64 has no character that csh or fish would interpret."""
        script = _FRAMED.format(mark=self.mark, command=shlex.join(words))
        return f"sh -c 'eval \"$(echo {base64.b64encode(script.encode()).decode()} | base64 -d)\"'"

    def has_begun(self, stdout: bytes) -> bool:
        """Return True if the login shell has run the command."""
        return self._begin in stdout

    def has_ended(self, stdout: bytes) -> bool:
        """Return True if the command came to its end, whatever its status."""
        return self._end in stdout.partition(self._begin)[2]

    def inner(self, output: bytes) -> bytes:
        """Return the command's own part of a stream; all of it if the command was not run."""
        _, begun, rest = output.partition(self._begin)
        if not begun:
            return output
        own, ended, _ = rest.rpartition(self.mark.encode())
        return own if ended else rest

    @property
    def _begin(self) -> bytes:
        return self.mark.encode() + b"\n"

    @property
    def _end(self) -> bytes:
        return self.mark.encode() + b":"


class Ssh(AbstractAsyncContextManager["Ssh"]):
    """A connection to a node, opened by `async with`, which raises Unreachable with the error of ssh."""

    def __init__(self, node: Node) -> None:
        """Prepare a connection to the `ssh` destination of a node, or to its name."""
        self.node = node
        self.uid = -1  # our UID on the node; 0 is root
        self._socket: Path | None = None
        self._master: asyncio.subprocess.Process | None = None

    @property
    def destination(self) -> str:
        """The destination argument of ssh."""
        return self.node.ssh or self.node.name

    async def __aenter__(self) -> Self:
        """Connect, and read our UID on the node."""
        self._socket = _socket_folder() / secrets.token_hex(4)
        try:
            # -S and ControlMaster on the command line override the configuration
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
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection and end commands that still use it; does nothing if not connected."""
        master, self._master = self._master, None
        if master is not None:
            await asyncio.shield(proc.end(master))
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)  # ssh removes it itself, even if we are killed
            self._socket = None

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: proc.Stdin | None = None,
        root: bool = False,
        seconds: float = COMMAND_SECONDS,
    ) -> Completed:
        """Run a command on the node to completion, whatever its exit status; arguments are passed verbatim.

        With `root` it runs as root, through the node's `sudo` setting unless we log in as root. Raises Unreachable if
        ssh itself fails (exit status 255), Unavailable after `seconds`, NotReady if we cannot become root, or if the
        login shell does not run the command.
        """
        frame = Frame()
        line = frame.command([*(self.become_root() if root else ()), *argv])
        command = self._argv(["-oControlMaster=no"], line)
        try:
            done = await proc.run(command, seconds=seconds, env=_environment(), stdin=stdin)
        except Unavailable:
            raise Unavailable(
                f"{_brief(argv)}: did not end within {in_seconds(seconds)} s", node=self.node.name
            ) from None
        if done.returncode == _FAILED and not frame.has_ended(done.stdout):
            raise self._unreachable(frame.inner(done.stderr).decode(errors="replace"))
        if not frame.has_begun(done.stdout):
            raise self._not_run(done)
        done = Completed(tuple(argv), done.returncode, frame.inner(done.stdout), frame.inner(done.stderr))
        if root and done.returncode in (1, _NOT_FOUND) and self.uid != 0:
            self._check_root(done)
        return done

    async def check(
        self,
        argv: Sequence[str],
        *,
        stdin: proc.Stdin | None = None,
        root: bool = False,
        seconds: float = COMMAND_SECONDS,
    ) -> str:
        """Run a command like `run` and return its output; raises McpError with its last line if it fails."""
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
        """Write a file on the node atomically: to a temporary file, verified by sha256, then renamed.

        The writer owns the file: root with `root`, or `user`. Use `user` for folders of that user, where root would
        follow symbolic links. Raises McpError.
        """
        digest = hashlib.sha256(content).hexdigest()
        argv = [*as_user(user), "sh", "-euc", _WRITE, "sh", remote, f"{mode:04o}", digest]
        done = await self.run(argv, stdin=content, root=root, seconds=seconds)
        if done.returncode != 0:
            raise McpError(f"{remote}: cannot be written: {done.last_words()}", node=self.node.name)

    def become_root(self) -> tuple[str, ...]:
        """Return the command prefix to become root; raises NotReady if mcp.toml does not set it."""
        if self.uid == 0:
            return ()
        if not self.node.sudo:
            raise NotReady(
                f"ssh {self.destination} does not log in as root",
                f'set how to become root there: sudo = "sudo" for {self.node.name} in mcp.toml',
                node=self.node.name,
            )
        become = (self.node.sudo, "-n", "--")
        return (*become, "sh", "-c", _WITH_SBIN, "sh") if self.node.sudo == "doas" else become

    def _argv(self, options: Sequence[str], command: str) -> list[str]:
        assert self._socket is not None, "not connected"
        return ["ssh", *_OPTIONS, *options, "-S", str(self._socket), "--", self.destination, command]

    async def _logged_in(self, master: asyncio.subprocess.Process) -> None:
        """Wait for our UID from the login session; earlier output of the login shell is skipped."""
        assert master.stdout is not None
        last = b""
        with suppress(TimeoutError, ValueError):  # ValueError: line too long
            async with asyncio.timeout(LOGIN_SECONDS):
                while line := await master.stdout.readline():
                    if uid := _UID.search(line):
                        self.uid = int(uid[1])
                        await self._check_host_key(master)
                        return
                    last = line if line.strip() else last
                await self._refused(master, last)
        what = f"ssh: login timed out after {in_seconds(LOGIN_SECONDS)} s"
        raise Unreachable(what, self._by_hand(), node=self.node.name)

    async def _refused(self, master: asyncio.subprocess.Process, last: bytes) -> None:
        """Raise the error of ssh, or of a login shell that printed `last` and ran nothing."""
        assert master.stderr is not None
        status = await master.wait()
        said = await master.stderr.read(65536)  # not to the end: the ssh of a jump host may keep it open
        if status == _FAILED:
            raise self._unreachable(said.decode(errors="replace"))
        raise self._not_run(Completed(("ssh",), status, b"", said if said.strip() else last))

    def _not_run(self, done: Completed) -> NotReady:
        what = f"the login shell of {self.destination} does not run commands: {done.last_words()}"
        hint = f"{self._by_hand()} sh -c true; or give the account another shell: chsh -s /bin/sh"
        return NotReady(what, hint, node=self.node.name)

    async def _check_host_key(self, master: asyncio.subprocess.Process) -> None:
        """Raise Unreachable if ssh only warned of a changed host key, as some StrictHostKeyChecking settings do.

        ssh prints the warning before the login, so it is in the pipe by now; but the event loop may have read the
        login's pipe first. It polls all pipes in each iteration and delivers in the next.
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
        """Convert the output of ssh to an error, with hints for common failures."""
        lines = [line.strip() for line in said.splitlines() if line.strip()] or ["failed without a message"]
        # ssh prints its verdict on the host key before the message about the closed connection
        last = next((line for line in lines if line.startswith("Host key verification failed")), lines[-1])
        hint = self._by_hand()
        if _CHANGED in said:
            offending = next((line for line in lines if line.startswith("Offending")), "the known key differs")
            last = f"Host key verification failed. Its host key has changed: {offending}"
            hint = "if the node was reinstalled, remove that line (ssh-keygen -R), then " + hint
        elif "Host key verification failed" in said:
            last = f"{last} Its host key is unknown"
            hint = f"log in once by hand and compare the key: ssh {shell_word(self.destination)}"
        elif "Permission denied" in last:
            copy = f"ssh-copy-id {shell_word(self.destination)}"
            hint = f"log in with a key, since ssh cannot prompt for a password here: {copy}"
        elif "Could not resolve hostname" in last and _WITH_PORT.fullmatch(self.destination):
            hint = f"write the port as in ssh://{self.destination}"
        return Unreachable(f"ssh: {last.removeprefix('ssh: ')}", hint, node=self.node.name)

    def _by_hand(self) -> str:
        return f"try it by hand: ssh {shell_word(self.destination)}"

    def _check_root(self, done: Completed) -> None:
        """Raise NotReady if sudo or doas itself failed, and not the command."""
        last, tool = done.last_words(), self.node.sudo
        if done.returncode == _NOT_FOUND:
            if re.search(_MISSING.format(tool=tool), last):
                raise NotReady(
                    f"{tool} is not installed there",
                    f"install it, or change how to become root there: sudo for {self.node.name} in mcp.toml",
                    node=self.node.name,
                )
        elif last.startswith(f"{tool}: ") and not any(words in last for words in _NOT_ABOUT_US):
            raise NotReady(
                last,
                f"{tool} cannot prompt for a password here: allow {self.destination} to run commands there without one",
                node=self.node.name,
            )


def as_user(user: str) -> tuple[str, ...]:
    """Return the command prefix for root to run a command as `user`; empty for root or no user."""
    return ("runuser", "-u", user, "--") if user not in ("", "root") else ()


def _environment() -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return proc.environment({**passed, "SSH_ASKPASS_REQUIRE": "never"})


def _socket_folder() -> Path:
    """Return our private folder of sockets; raises McpError."""
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
        raise McpError(f"{folder}: is not a private folder", "remove it")
    return folder


def _brief(argv: Sequence[str]) -> str:
    """Return the first words of a command, without scripts, for errors."""
    return one_line(shlex.join([word for word in argv[:3] if "\n" not in word]))[:120]
