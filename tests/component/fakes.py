"""The fake podman as the tests handle it: install it, tell it to misbehave, look at what it was asked."""

import fcntl
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.component import fake_podman
from tests.component.processes import command_line, pids
from tests.waiting import wait_for

SCRIPT = f"""\
#!/usr/bin/python3 -IS
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from fake_podman import main
sys.exit(main(sys.argv[1:]))
"""
WEB, WEB2 = "localhost/mcp-web:1.0.0", "localhost/mcp-web:2.0.0"
WORKER, FAIL, BRIEF = "localhost/mcp-worker:1.0.0", "localhost/mcp-fail:1.0.0", "localhost/mcp-brief:1.0.0"
STUBBORN, STUBBORN2 = "localhost/mcp-stubborn:1.0.0", "localhost/mcp-stubborn:2.0.0"
MISSING = "localhost/mcp-missing:1.0.0"
IMAGES = {WEB: "web", WEB2: "web", WORKER: "worker", FAIL: "fail", BRIEF: "brief"}
IMAGES |= {STUBBORN: "stubborn", STUBBORN2: "stubborn"}


@dataclass(frozen=True)
class FakePodman:
    """A fake podman in `folder`, which goes on PATH."""

    folder: Path

    @classmethod
    def install(cls, folder: Path) -> "FakePodman":
        """Make `folder` with an executable `podman` and its empty state, which knows IMAGES."""
        state = folder / "state"
        state.mkdir(parents=True)
        (folder / "podman").write_text(SCRIPT)
        (folder / "podman").chmod(0o755)
        images = {reference: {"program": program} for reference, program in IMAGES.items()}
        empty = {"containers": [], "images": images, "registry": {}, "networks": [], "volumes": []}
        (state / "state.json").write_text(json.dumps(empty))
        return cls(folder)

    @property
    def state(self) -> dict[str, Any]:
        """Everything it knows."""
        value: dict[str, Any] = json.loads((self.folder / "state" / "state.json").read_text())
        return value

    def change(self, **parts: object) -> None:
        """Replace parts of its state."""
        with self._locked():  # else a podman of an agent that was just killed would write its own state over it
            self._write(parts)

    def change_container(self, name: str, **facts: object) -> None:
        """Change a container behind the agent's back."""
        with self._locked():
            containers = self.state["containers"]
            for each in containers:
                if each["name"] == name:
                    each.update(facts)
            self._write({"containers": containers})

    def _write(self, parts: Mapping[str, object]) -> None:
        path = self.folder / "state" / "state.json"
        path.with_suffix(".edit").write_text(json.dumps({**self.state, **parts}))
        path.with_suffix(".edit").rename(path)

    def add_image(
        self,
        reference: str,
        *,
        lifetime: float | None = None,
        code: int = 0,
        remote: bool = False,
        **more: object,
    ) -> None:
        """Add an image whose container ends after `lifetime` seconds; a `remote` one has to be pulled first.

        `more`: healthy (it has a health check, with that result), check_output (of that), architecture, anonymous
        (targets of volumes), users (of passwd).
        """
        where = "registry" if remote else "images"
        image = {"program": "web", "lifetime": lifetime, "code": code, **more}
        self.change(**{where: {**self.state[where], reference: image}})

    def digest(self, reference: str) -> str:
        """The digest of an image."""
        return f"sha256:{fake_podman.image_id(self.state, reference)}"

    def containers(self) -> dict[str, dict[str, Any]]:
        """Its containers by name."""
        return {container["name"]: container for container in self.state["containers"]}

    def running(self) -> dict[str, str]:
        """The image of each container that runs, by name."""
        return {name: each["image"] for name, each in self.containers().items() if each["state"] == "running"}

    def lives(self) -> dict[str, tuple[str, float, str]]:
        """The identifier, start and state of each container by name: the parts that no clock changes."""
        return {name: (each["id"], each["started"], each["state"]) for name, each in self.containers().items()}

    def calls(self) -> list[dict[str, Any]]:
        """Every call: its `argv`, `environment`, and whether it was `refused` as unknown."""
        path = self.folder / "state" / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def commands(self) -> list[list[str]]:
        """The command lines of every call."""
        return [call["argv"] for call in self.calls()]

    def forget_calls(self) -> None:
        """Begin a new list of calls."""
        (self.folder / "state" / "calls.jsonl").unlink(missing_ok=True)

    def misbehave(
        self,
        do: str,
        argv: Sequence[str] = (),
        *,
        when: str = "before",
        times: int = -1,
        seconds: float = 0.0,
        message: str = "it is told to fail",
        code: int = 125,
        stubborn: bool = False,
        after: Sequence[str] = (),
    ) -> None:
        """Misbehave for each command line that contains all of `argv`, at most `times` times (-1: always).

        With `after`, only once there was a command line that contains all of that.

        `do` is hang (a stubborn one ignores SIGTERM), hold (goes on at `behave`), sleep (`seconds`, then goes on),
        garbage, print (`message`, and exit with `code`), endless, or fail (`message` and `code`); `when` is before or
        after its real effect.
        """
        order = {"do": do, "argv": list(argv), "when": when, "times": times, "seconds": seconds}
        order |= {"message": message, "code": code, "stubborn": stubborn, "after": list(after)}
        self._order(order)

    def be_flaky(self, percent: int, seed: int, hang: float) -> None:
        """Fail in `percent` of a hundred calls, until `behave`: before or after their effect, or list nothing.

        A tenth of them hangs for `hang` seconds instead, and then goes on.
        """
        order = {"do": "flaky", "argv": [], "times": -1, "after": [], "percent": percent, "seed": seed, "seconds": hang}
        self._order({**order, "message": "it is told to fail", "code": 125})

    def _order(self, order: dict[str, object]) -> None:
        path = self.folder / "state" / "orders.json"
        with self._locked():
            orders = json.loads(path.read_text()) if path.exists() else []
            path.with_suffix(".edit").write_text(json.dumps([*orders, order]))
            path.with_suffix(".edit").rename(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of its state."""
        with (self.folder / "state" / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def behave(self) -> None:
        """Forget every order, end what hangs, and let what is held go on."""
        with self._locked():  # else a podman that counts its order just now would write the file again
            (self.folder / "state" / "orders.json").unlink(missing_ok=True)
        for pid in self.hanging():
            os.kill(pid, signal.SIGKILL)

    def hanging(self) -> list[int]:
        """The processes that hang, as they were told."""
        return self._marked("hanging")

    def wait_holding(self) -> None:
        """Wait until a process is held."""
        wait_for(lambda: self._marked("holding"), what="a podman that is held")

    def _marked(self, kind: str) -> list[int]:
        marks = list((self.folder / "state").glob(f"{kind}.*"))
        return [pid for pid in self.processes() if any(mark.suffix == f".{pid}" for mark in marks)]

    def wait_hanging(self) -> None:
        """Wait until a process hangs."""
        wait_for(self.hanging, what="a podman that hangs")

    def processes(self) -> list[int]:
        """Every process of this fake that runs now."""
        return [pid for pid in pids() if str(self.folder / "podman") in command_line(pid)]

    def busy_with(self, word: str) -> bool:
        """Whether one of its processes that runs now has `word` among its arguments."""
        return any(word in command_line(pid) for pid in self.processes())
