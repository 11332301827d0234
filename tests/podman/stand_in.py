"""A STAND-IN between the agent and real podman: it carries out each call, and fails some before, in or after that.

podman itself calls the real one, as when conmon ends.
"""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import which
from typing import IO

from tests.zipapps import PYTHON
from tools.hostlib.private import Private

# `created` stands for a `podman run` that is killed between its two halves.
PROGRAM = """\
#!{python} -IS
import fcntl, json, os, random, subprocess, sys

FOLDER, REAL, argv = {folder!r}, {real!r}, sys.argv[1:]


def how():
    with open(FOLDER + "/orders.json", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        orders = json.load(file)
        orders["calls"] += 1
        chosen = flaky(orders["calls"], **orders["flaky"])
        for order in orders["once"]:
            if order["argv"] == argv[: len(order["argv"])]:
                orders["once"].remove(order)
                chosen = order["how"]
                break
        orders["failed"] += bool(chosen)
        file.seek(0)
        file.truncate()
        json.dump(orders, file)
    return chosen


def flaky(number, percent, seed):
    chance = random.Random(f"{{seed}} {{number}}")
    if chance.randrange(100) >= percent:
        return ""
    return chance.choice(["before", "after", {{"run": "created", "ps": "empty"}}.get(argv[0], "after")])


def fail():
    print("Error: the stand-in is told to fail", file=sys.stderr)
    sys.exit(125)


match how():
    case "before":
        fail()
    case "after":
        subprocess.run([REAL, *argv], stdout=subprocess.DEVNULL)
        fail()
    case "created":
        subprocess.run([REAL, "create", *argv[2:]], stdout=subprocess.DEVNULL)
        fail()
    case "empty":
        print("[]")
    case _:
        os.execv(REAL, [REAL, *argv])
"""


@dataclass(frozen=True)
class StandIn:
    """The stand-in in a folder of podman's user; `podman` is what an agent gets that calls it."""

    folder: Path
    podman: Private

    @classmethod
    def make(cls, podman: Private, folder: Path) -> "StandIn":
        """Put a stand-in that fails no call into `folder`."""
        real = which("podman", path=podman.env["PATH"])
        assert real is not None
        folder.mkdir()
        program = folder / "podman"
        program.write_text(PROGRAM.format(python=PYTHON, folder=str(folder), real=real))
        program.chmod(0o755)
        made = cls(folder, replace(podman, env={**podman.env, "PATH": f"{folder}:{podman.env['PATH']}"}))
        (folder / "orders.json").touch()
        made.behave()
        podman.give(folder)
        return made

    def behave(self) -> None:
        """Fail no more calls."""
        self._order()

    def be_flaky(self, percent: int, seed: int) -> None:
        """Fail `percent` of a hundred calls, until `behave`; `podman ps` may list nothing instead."""
        self._order(percent, seed)

    def fail(self, *orders: tuple[Sequence[str], str]) -> None:
        """Fail one call that begins with these arguments for each order: before, after, created."""
        self._order(once=[{"argv": list(argv), "how": how} for argv, how in orders])

    @property
    def left(self) -> int:
        """How many orders no call has taken yet."""
        with self._orders() as file:
            return len(json.load(file)["once"])

    @property
    def failed(self) -> int:
        """How many calls have failed since the last order."""
        with self._orders() as file:
            return int(json.load(file)["failed"])

    def _order(self, percent: int = 0, seed: int = 0, once: Sequence[object] = ()) -> None:
        with self._orders() as file:
            file.truncate()
            json.dump({"calls": 0, "failed": 0, "flaky": {"percent": percent, "seed": seed}, "once": [*once]}, file)

    @contextmanager
    def _orders(self) -> Iterator[IO[str]]:
        """Hold the lock of its orders."""
        with (self.folder / "orders.json").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
