"""A Debian node booted by systemd-nspawn, and commands in it."""

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcp.nodes.layout import account_steps
from tools.hostlib.bootstrap import checked
from tools.hostlib.machine import HostError, why_failed
from tools.nodelib import cgroups, network
from tools.nodelib.image import image

BOOT_SECONDS = 60
END_SECONDS = 120  # a container that ignores SIGTERM delays a shutdown by 90 s; hence more
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# System calls that nested containers need beyond systemd-nspawn's defaults.
CALLS = "@keyring bpf perf_event_open @mount"
# The node may have no pids controller, and podman sets a limit by default.
CONTAINERS_CONF = "[containers]\npids_limit = 0\n"

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class User:
    """A user in the node's /etc/passwd."""

    name: str
    uid: int
    gid: int
    home: str


class Node:
    """A node of a fleet; `srv` (its /srv) and `root` (the rest) are paths on this machine while it is up."""

    def __init__(self, fleet: int, number: int, name: str, debian: str, folder: Path) -> None:
        """Describe the node; prepare() and boot() create it."""
        self.fleet, self.number, self.name, self.debian, self.folder = fleet, number, name, debian, folder
        self.address = network.address(fleet, number)
        self.root, self.srv = folder / "root", folder / "srv"
        self.group = f"mcp-nodes-{fleet}-{name}"
        self.pid = 0  # host PID of its process 1
        self._nspawn: subprocess.Popen[bytes] | None = None

    # --- up and down ---

    def prepare(self, hosts: str, key: str) -> None:
        """Create files and network, with `hosts` as /etc/hosts and `key` authorized for root."""
        for name in ("upper", "work", "root", "srv"):
            (self.folder / name).mkdir()
        lower = f"lowerdir={image(self.debian)},upperdir={self.folder}/upper,workdir={self.folder}/work"
        checked(["mount", "-t", "overlay", "-o", lower, self.group, str(self.root)], 20)
        etc = self.root / "etc"
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text(hosts)
        # required by podman's networks; this machine refuses queries at once, and names are in /etc/hosts
        (etc / "resolv.conf").unlink(missing_ok=True)
        (etc / "resolv.conf").write_text(f"nameserver {network.gateway(self.fleet)}\n")
        (etc / "containers").mkdir(exist_ok=True)
        (etc / "containers/containers.conf").write_text(CONTAINERS_CONF)
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name]
        checked([*keygen, "-f", str(etc / "ssh/ssh_host_ed25519_key")], 20)
        (self.root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        (self.root / "root/.ssh/authorized_keys").write_text(key)
        network.make_namespace(self.fleet, self.number, self.name)

    @property
    def host_key(self) -> str:
        """The public key of its sshd, in the form of known_hosts."""
        return " ".join((self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2])

    def start(self) -> None:
        """Start to boot; wait_up() waits for the end."""
        cgroups.make(self.group)
        argv = [
            *("systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", f"--machine={self.name}"),
            *("--keep-unit", "--register=no", "--capability=all", "--link-journal=no"),
            *("--resolv-conf=off", "--timezone=off", f"--system-call-filter={CALLS}"),
            f"--network-namespace-path=/run/netns/{network.namespace(self.fleet, self.name)}",
            *("--bind=/dev/net/tun", "--bind=/dev/fuse", f"--bind={self.srv}:/srv"),
        ]
        env = {"PATH": PATH, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"}
        with (self.folder / "console.log").open("ab") as console:
            self._nspawn = subprocess.Popen(
                cgroups.inside(self.group, argv),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=env,
                start_new_session=True,  # Ctrl-C goes to the tests, which end the nodes
            )

    def wait_up(self) -> None:
        """Wait for the end of the boot; raises HostError with the last output."""
        deadline = time.monotonic() + BOOT_SECONDS
        manager = self.folder / "none"
        while not manager.exists():
            if self._nspawn is None or self._nspawn.poll() is not None or time.monotonic() > deadline:
                raise HostError(f"{self.name} does not boot: {self._last_words()}")
            time.sleep(0.02)
            self.pid = cgroups.first(self.group) or 0
            manager = Path(f"/proc/{self.pid}/root/run/systemd/private")
        # "degraded" if the cgroups lack a controller that a unit uses
        state = self.run(["systemctl", "is-system-running", "--wait"], check=False, timeout=BOOT_SECONDS)
        if state.stdout.strip() not in ("running", "degraded"):
            raise HostError(f"{self.name} does not come up: {state.stdout.strip() or state.stderr.strip()}")

    def boot(self) -> None:
        """Boot the node, and wait until it is up."""
        self.start()
        self.wait_up()

    def stop(self, *, graceful: bool = False) -> None:
        """Cut the power, or if `graceful` shut down; idempotent."""
        if graceful and self.pid and self._nspawn is not None and self._nspawn.poll() is None:
            cgroups.power_off(self.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._nspawn.wait(END_SECONDS)
        cgroups.end(self.group)
        if self._nspawn is not None:
            self._nspawn.wait(END_SECONDS)
        self._nspawn, self.pid = None, 0

    def reboot(self, *, graceful: bool = False) -> None:
        """Reboot on the same disk, after a power cut, or if `graceful` a shutdown."""
        self.stop(graceful=graceful)
        self.boot()

    def remove(self) -> None:
        """End the node and undo prepare(), except for the folder; idempotent."""
        self.stop()
        while os.path.ismount(self.root):
            checked(["umount", str(self.root)], 20)
        network.remove_namespace(self.fleet, self.name)

    # --- inside ---

    def argv(self, command: Sequence[str], user: str = "root", env: Mapping[str, str] | None = None) -> list[str]:
        """Return the argv to run a command as a user of the node, in its home, with a clean environment.

        The command is in no unit or session of the node, and ends with the local process.
        """
        who = self.user(user)
        variables = {"PATH": PATH, "HOME": who.home, "USER": who.name, "LOGNAME": who.name, "LANG": "C.UTF-8"}
        if who.uid:
            runtime = f"/run/user/{who.uid}"
            variables |= {"XDG_RUNTIME_DIR": runtime, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus"}
        variables |= env or {}
        become = [f"--reuid={who.uid}", f"--regid={who.gid}", "--init-groups"] if who.uid else []
        return [
            *("sh", "-euc", f'echo 0 >{self._manager_group()}/cgroup.procs; exec "$@"', "sh"),
            *("nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"),
            *("setpriv", "--pdeathsig=KILL", *become, "--"),
            *("env", "-i", f"--chdir={who.home}", *(f"{name}={value}" for name, value in variables.items())),
            *command,
        ]

    def run(
        self,
        command: Sequence[str],
        *,
        user: str = "root",
        check: bool = True,
        timeout: float = 60,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a command in the node, for at most `timeout` seconds, with text output.

        Raises HostError with the command and its last line on failure (unless check=False) or timeout.
        """
        argv = self.argv(command, user, env)
        try:
            done = subprocess.run(argv, input=stdin, capture_output=True, check=False, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise HostError(f"{self.name}: `{' '.join(command)}` took longer than {timeout:g} s") from None
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode != 0:
            why = why_failed(out, err)
            raise HostError(f"{self.name}: `{' '.join(command)}` as {user} failed with {done.returncode}: {why}")
        return Done(list(command), done.returncode, out, err)

    def popen(
        self, command: Sequence[str], *, user: str = "root", env: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start a command in the node with pipes for stdout and stderr; the caller ends it."""
        argv = self.argv(command, user, env)
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def write(self, path: str, content: bytes | str, *, owner: str = "root", mode: int = 0o644) -> None:
        """Write a file in an existing folder of the node."""
        data = content.encode() if isinstance(content, str) else content
        script = 'umask 077; cat >"$1"; chown "$2:" "$1"; chmod "$3" "$1"'
        self.run(["sh", "-euc", script, "sh", path, owner, f"{mode:o}"], stdin=data)

    def user(self, name: str) -> User:
        """Return a user of the node; raises HostError if unknown."""
        for line in (self.root / "etc/passwd").read_text().splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return User(name, int(fields[2]), int(fields[3]), fields[5])
        raise HostError(f"{self.name} has no user {name}")

    def add_account(self) -> None:
        """Create the user mcp, as provisioning does."""
        for step in account_steps():
            if self.run(step.done, check=False).returncode != 0:
                self.run(step.command)

    def _manager_group(self) -> Path:
        """The cgroup for commands, which ends with the node."""
        line = next(line for line in Path(f"/proc/{self.pid}/cgroup").read_text().splitlines() if line[:3] == "0::")
        hierarchy = cgroups.folders(self.group)[0].parent
        return hierarchy / line[3:].lstrip("/")

    def _last_words(self) -> str:
        lines = (self.folder / "console.log").read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
