"""ssh as the CLI uses it, with a stand-in for `ssh` that runs the command here; nodes are in tests/fleet."""

import asyncio
import errno
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp.config.configuration import Node
from mcp.nodes.ssh import Ssh
from mcp.shared.errors import McpError, NotReady, Unavailable, Unreachable
from mcp.shared.proc import Completed

# What ssh does with its command line: options, --, destination, and one string for the remote shell.
FAKE = """\
#!/bin/sh
printf '%s\\n' "$*" >>"$FAKE/argv"
printf '%s\\n' "${SSH_AUTH_SOCK:-no agent}" >"$FAKE/agent"
while test "$1" != --; do shift; done
printf '%s\\n' "$2" >"$FAKE/destination"
if test -e "$FAKE/refuse"; then cat "$FAKE/refuse" >&2; exit 255; fi
if test -e "$FAKE/warn"; then cat "$FAKE/warn" >&2; fi
if test -e "$FAKE/motd"; then cat "$FAKE/motd"; fi
if test -e "$FAKE/noise"; then cat "$FAKE/noise" >&2; fi
if test -e "$FAKE/lost"; then case $3 in sh*) cat "$FAKE/lost" >&2; exit 255;; esac; fi
if test -e "$FAKE/nologin"; then cat "$FAKE/nologin"; exit 1; fi
PATH="$FAKE/there:$PATH" sh -c "$3"
status=$?
if test -e "$FAKE/logout"; then cat "$FAKE/logout"; cat "$FAKE/logout" >&2; fi
exit $status
"""
FAKE_ID = '#!/bin/sh\ntest "$1" = -u && cat "$FAKE/uid"\n'
FAKE_SUDO = """\
#!/bin/sh
test "$1 $2" = "-n --" || exit 9
shift 2
if test -e "$FAKE/password"; then echo 'sudo: a password is required' >&2; exit 1; fi
echo "as root: $*" >>"$FAKE/sudo"
exec "$@"
"""


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that holds what the stand-ins say and were told; `uid` is who ssh logs in as. No socket may be left."""
    for name, text in {"ssh": FAKE, "there/id": FAKE_ID, "there/sudo": FAKE_SUDO}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("$FAKE", str(tmp_path)))
        path.chmod(0o755)
    (tmp_path / "uid").write_text("0\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # the path of a socket must be
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        yield tmp_path
        assert list(Path(short).glob("mcp-ssh/*")) == []


def run(*argv: str, node: Node | None = None, stdin: bytes | None = None, root: bool = False) -> Completed:
    async def session() -> Completed:
        async with Ssh(node or Node("rift", "10.0.0.5:9444")) as ssh:
            return await ssh.run(argv, stdin=stdin, root=root, seconds=10)

    return asyncio.run(session())


def copy(content: bytes, remote: Path, mode: int = 0o644) -> None:
    async def session() -> None:
        async with Ssh(Node("rift", "10.0.0.5:9444")) as ssh:
            await ssh.copy(content, str(remote), mode=mode)

    asyncio.run(session())


def test_words_arrive_as_they_are(far: Path) -> None:
    words = ["a b", "$(id)", "'", '"', "*", "", "\n", "-x"]
    assert run("printf", "<%s>", *words).stdout.decode() == "".join(f"<{word}>" for word in words)


def test_status_streams_and_stdin_arrive(far: Path) -> None:
    done = run("sh", "-c", "cat; echo err >&2; exit 3", stdin=b"in\0\xff")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in\0\xff", b"err\n")
    assert done.argv == ("sh", "-c", "cat; echo err >&2; exit 3")


def test_the_destination_is_the_node_s_or_its_name(far: Path) -> None:
    run("true")
    assert (far / "destination").read_text() == "rift\n"
    run("true", node=Node("rift", "10.0.0.5:9444", ssh="deploy@rift.example.net"))
    assert (far / "destination").read_text() == "deploy@rift.example.net\n"


def test_it_never_asks_and_shares_one_connection(far: Path) -> None:
    run("true")
    master, command = (far / "argv").read_text().splitlines()
    for line in (master, command):
        assert "-oBatchMode=yes" in line
        assert "StrictHostKeyChecking" not in line
        assert f"-S {os.environ['XDG_RUNTIME_DIR']}/mcp-ssh/" in line
    assert "-oControlMaster=yes" in master
    assert "-oControlMaster=no" in command


def test_the_agent_is_passed_on(far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    run("true")
    assert (far / "agent").read_text() == "/run/agent\n"


def test_what_a_login_prints_is_no_answer(far: Path) -> None:
    (far / "motd").write_text("Welcome\nto rift, ")
    (far / "uid").write_text("1000\n")
    with pytest.raises(NotReady, match="does not log in as root; set how"):
        run("true", root=True)


def test_root_needs_no_sudo(far: Path) -> None:
    assert run("echo", "x", root=True, node=Node("rift", "h:1", sudo="sudo")).stdout.endswith(b"x\n")
    assert not (far / "sudo").exists()


def test_another_user_becomes_root_by_sudo(far: Path) -> None:
    (far / "uid").write_text("1000\n")
    assert run("echo", "a b", root=True, node=Node("rift", "h:1", sudo="sudo")).stdout == b"a b\n"
    assert (far / "sudo").read_text() == "as root: echo a b\n"


def test_sudo_that_wants_a_password_is_one_line(far: Path) -> None:
    (far / "uid").write_text("1000\n")
    (far / "password").touch()
    with pytest.raises(
        NotReady, match=r"^rift: sudo: a password is required; sudo cannot prompt for a password here: allow"
    ):
        run("true", root=True, node=Node("rift", "h:1", sudo="sudo"))


@pytest.mark.parametrize(
    "said", ["sh: 1: sudo: not found", "bash: line 1: sudo: command not found", "zsh:1: command not found: sudo"]
)
def test_where_there_is_no_sudo_that_is_said(far: Path, said: str) -> None:
    (far / "uid").write_text("1000\n")
    (far / "there/sudo").write_text(f"#!/bin/sh\necho '{said}' >&2; exit 127\n")
    with pytest.raises(NotReady, match=r"^rift: sudo is not installed there; install it, or change how"):
        run("true", root=True, node=Node("rift", "h:1", sudo="sudo"))


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("sudo: podman: command not found", 1),
        ("podman: not found", 127),
        ("sudo: unable to resolve host rift: Name or service not known", 1),
    ],
)
def test_a_command_that_is_missing_is_not_sudo_s_failure(far: Path, said: str, status: int) -> None:
    (far / "uid").write_text("1000\n")
    (far / "there/sudo").write_text(f"#!/bin/sh\necho '{said}' >&2; exit {status}\n")
    done = run("podman", root=True, node=Node("rift", "h:1", sudo="sudo"))
    assert (done.returncode, done.last_words()) == (status, said)


def test_doas_finds_root_s_programs(far: Path) -> None:
    """It gives a command the PATH of who logs in."""
    (far / "uid").write_text("1000\n")
    doas = far / "there/doas"
    doas.write_text('#!/bin/sh\ntest "$1 $2" = "-n --" || exit 9\nshift 2\nPATH=/usr/bin:/bin exec "$@"\n')
    doas.chmod(0o755)
    done = run("sh", "-c", 'echo "$PATH" "$1"', "sh", "a b", root=True, node=Node("rift", "h:1", sudo="doas"))
    assert done.stdout == b"/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin a b\n"


def test_a_command_that_fails_is_not_sudo_s_failure(far: Path) -> None:
    (far / "uid").write_text("1000\n")
    done = run("sh", "-c", "echo no >&2; exit 1", root=True, node=Node("rift", "h:1", sudo="sudo"))
    assert (done.returncode, done.last_words()) == (1, "no")


CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Offending ED25519 key in /home/op/.ssh/known_hosts:3
Host key verification failed.
"""
REFUSALS = [
    ("ssh: connect to host rift port 22: No route to host\n", r"No route to host; try it by hand: ssh rift$"),
    ("op@rift: Permission denied (publickey,password).\n", r"Permission denied .*ssh-copy-id rift$"),
    ("Host key verification failed.\n", r"Its host key is unknown; log in once by hand and compare the key: ssh rift$"),
    (CHANGED, r"has changed: Offending ED25519 key in /home/op/.ssh/known_hosts:3; if the node was reinstalled"),
    ("", r"failed without a message; try it by hand: ssh rift$"),
]


def test_a_port_in_the_destination_is_said_to_be_written_otherwise(far: Path) -> None:
    (far / "refuse").write_text("ssh: Could not resolve hostname rift:2222: Name or service not known\n")
    with pytest.raises(Unreachable, match=r"not known; write the port as in ssh://op@rift:2222$"):
        run("true", node=Node("rift", "h:1", ssh="op@rift:2222"))


@pytest.mark.parametrize(("said", "shown"), REFUSALS)
def test_why_ssh_failed_and_what_to_do(far: Path, said: str, shown: str) -> None:
    (far / "refuse").write_text(said)
    with pytest.raises(Unreachable, match=shown) as caught:
        run("true")
    assert "\n" not in str(caught.value)


def test_a_changed_host_key_is_refused_even_where_ssh_only_warns(far: Path) -> None:
    (far / "warn").write_text(CHANGED.replace("Host key verification failed.\n", ""))
    with pytest.raises(Unreachable, match="Its host key has changed: Offending ED25519 key"):
        run("true")
    (far / "warn").write_text("Welcome\n")
    assert run("true").returncode == 0


def test_a_changed_host_key_is_refused_also_where_all_was_said_before_we_listen(
    far: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the login is read from its pipe before the pipe of the warning is even looked at."""
    connect = asyncio.SelectorEventLoop.connect_read_pipe

    async def slowly(loop: asyncio.SelectorEventLoop, factory: Any, pipe: Any) -> Any:
        time.sleep(0.5)  # nothing else is done meanwhile, and ssh says all that it has to say
        return await connect(loop, factory, pipe)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "connect_read_pipe", slowly)
    (far / "warn").write_text(CHANGED.replace("Host key verification failed.\n", ""))
    with pytest.raises(Unreachable, match="Its host key has changed: Offending ED25519 key"):
        run("true")


@pytest.mark.parametrize("said", ["x" * 2_000_000, "mcp-uid:\u00b2\n", "mcp-uid:" + "9" * 5000 + "\n"])
def test_what_is_no_login_is_one_line(far: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (far / "motd").write_text(said)
    (far / "uid").write_text("no number\n")
    monkeypatch.setattr("mcp.nodes.ssh.LOGIN_SECONDS", 0.5)
    with pytest.raises(Unreachable, match=r"^rift: ssh: login timed out"):
        run("true")


def test_255_without_the_end_of_the_command_is_ssh_s_own(far: Path) -> None:
    (far / "lost").write_text("Connection to rift closed by remote host.\n")
    with pytest.raises(Unreachable, match=r"closed by remote host\.; try it by hand"):
        run("true")
    (far / "lost").unlink()
    done = run("sh", "-c", "echo no >&2; exit 255")
    assert (done.returncode, done.last_words()) == (255, "no")


@pytest.mark.parametrize("after", ["", "Bye\n"])
def test_what_the_login_shell_prints_is_not_the_command_s(far: Path, after: str) -> None:
    for name, text in {"motd": "Welcome\nto rift, ", "noise": "stty: not a tty\n", "logout": after}.items():
        (far / name).write_text(text)
    done = run("sh", "-c", "cat; echo err >&2; exit 3", stdin=b"in\0\xff")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in\0\xff", b"err\n")
    assert (run("true").stdout, run("true").last_words()) == (b"", "exit status 0")
    copy(b"content", far / "file")
    assert (far / "file").read_bytes() == b"content"


def test_a_login_shell_that_runs_nothing_is_one_line(far: Path) -> None:
    (far / "nologin").write_text("This account is currently not available.\n")
    with pytest.raises(NotReady, match=r"^rift: the login shell of rift does not run commands: This account is curr"):
        run("true")


def test_without_ssh_it_is_one_line(far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (far / "ssh").unlink()
    monkeypatch.setenv("PATH", str(far))
    with pytest.raises(NotReady, match="ssh was not found"):
        run("true")


def test_a_command_without_end_is_ended(far: Path) -> None:
    async def session() -> None:
        async with Ssh(Node("rift", "h:1")) as ssh:
            await ssh.run(["sleep", "600"], seconds=0.2)

    with pytest.raises(Unavailable, match=r"^rift: sleep 600: did not end within 0.2 s$"):
        asyncio.run(session())


def test_a_file_is_written_whole_or_not_at_all(far: Path) -> None:
    target = far / "files/it"
    target.parent.mkdir()
    content = bytes(range(256)) * 1000
    copy(content, target, 0o755)
    assert target.read_bytes() == content
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    target.unlink()
    target.mkdir()
    with pytest.raises(McpError, match=r"^rift: .*/files/it: cannot be written: "):
        copy(b"x", target)
    assert [path.name for path in target.parent.iterdir()] == ["it"]


def test_sockets_are_in_a_folder_of_ours_alone(far: Path) -> None:
    folder = Path(os.environ["XDG_RUNTIME_DIR"], "mcp-ssh")
    run("true")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    with pytest.raises(McpError, match="is not a private folder; remove it"):
        run("true")
    folder.rmdir()
    folder.symlink_to(far)
    with pytest.raises(McpError, match="is not a private folder"):
        run("true")
    folder.unlink()


def test_a_disk_without_room_for_the_socket_is_one_line(far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, mode: int = 0o777) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(McpError, match=r"/mcp-ssh: cannot be created: No space left on device$"):
        run("true")
