"""`make fleet-down`: which fleets of nodes it ends, and which it leaves alone."""

from pathlib import Path

import pytest

from tools import nodes
from tools.hostlib.machine import HostError
from tools.nodelib import fleet, network
from tools.nodelib.node import Node


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with four fleets: of this clone, of another one, of a run that was killed, and of one that goes on."""
    monkeypatch.setattr(fleet, "BASE", tmp_path)
    monkeypatch.setattr(network, "remove_bridge", lambda _: None)
    monkeypatch.setattr(Node, "remove", lambda _: None)
    for number, name in enumerate(("ours", "theirs", "killed", "running")):
        (tmp_path / str(number) / "nodes" / name).mkdir(parents=True)
    (tmp_path / "0/kept").write_text(f"{fleet.CLONE}\n")
    (tmp_path / "1/kept").write_text("/home/other/mcp\n")
    return tmp_path


def fleets(base: Path) -> set[str]:
    """The numbers of the fleets that there are."""
    return {folder.name for folder in base.glob("[0-9]*/")}


def test_the_fleets_of_this_clone_end_and_others_are_named(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes.down(None)
    assert fleets(base) == {"1", "2", "3"}
    assert capsys.readouterr().out == (
        "removed ours\nfleet 1 of /home/other/mcp stays up; to end it: make fleet-down FLEET=1\n"
    )
    nodes.down(None)
    assert capsys.readouterr().out.startswith("no nodes of this clone are up\nfleet 1 of")


def test_a_fleet_ends_by_its_number(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes.down(1)
    assert fleets(base) == {"0", "2", "3"}
    assert capsys.readouterr().out == "removed theirs\n"


@pytest.mark.parametrize("number", [1, 2, 7])
def test_only_a_fleet_that_was_left_up_ends_by_its_number(base: Path, number: int) -> None:
    (base / "1/kept").unlink()
    with pytest.raises(HostError, match=f"no fleet {number} is kept up; there are: 0$"):
        fleet.end_kept(number)
    assert fleets(base) == {"0", "1", "2", "3"}


def test_a_sweep_ends_what_nobody_owns(base: Path) -> None:
    running = fleet._locked(3)
    assert fleet.sweep() == ["killed"]
    assert fleets(base) == {"0", "1", "3"}
    running.lock.close()


def test_a_fleet_that_is_left_up_says_which_clone_it_is_of(base: Path) -> None:
    made = fleet._locked(2)
    made.keep()
    assert fleet.kept() == {0: str(fleet.CLONE), 1: "/home/other/mcp", 2: str(fleet.CLONE)}
    made.lock.close()
