"""What of upgrades can be told without a node: waves, verdicts, and the script's own soundness."""

import argparse
import asyncio
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from mcp.client.session import Session
from mcp.commands import agent as commands
from mcp.commands.agent import _deadline
from mcp.config.configuration import Node
from mcp.nodes.agent_file import AgentFile
from mcp.nodes.upgrade import node_upgrade, waves
from mcp.nodes.upgrade.node_upgrade import NodeUpgrade, Say, UpgradeResult, UpgradeRow
from mcp.nodes.upgrade.switch import SCRIPT, AgentFacts, SwitchPhase, SwitchState, phase_of
from mcp.shared.errors import InvalidInput, McpError, NotFound, NotReady, Unreachable
from mcp.shared.resources import ROOT
from mcp.terminal.output import LiveLines

NODES = [Node(name, "10.0.0.1:9444") for name in ("ada", "bob", "cyd", "dan", "eve")]


class Scripted(NodeUpgrade):
    """A course that ends as told, without any node, and notes how many are on their way at a time."""

    def __init__(self, results: dict[str, UpgradeResult]) -> None:
        """Nodes that are not named are upgraded."""
        super().__init__(cast("Session", None), None, 10)
        object.__setattr__(self, "results", results)
        object.__setattr__(self, "began", [])

    async def run(self, node: Node, say: Say) -> UpgradeRow:
        """End as told."""
        say("copying")
        cast("Any", self).began.append(node.name)
        await asyncio.sleep(0)
        return UpgradeRow(node.name, "v1", "v2", cast("Any", self).results.get(node.name, UpgradeResult.UPGRADED))


def results(course: NodeUpgrade, wave: int) -> list[str]:
    rows = asyncio.run(waves.run(course, NODES, wave, LiveLines(live=False)))
    assert [row.node for row in rows] == [node.name for node in NODES]
    return [str(row.result) for row in rows]


def test_without_waves_every_node_is_brought_through_whatever_happens_to_others() -> None:
    assert results(Scripted({"ada": UpgradeResult.FAILED}), 0) == ["failed", *["upgraded"] * 4]


@pytest.mark.parametrize(
    ("wave", "bad", "expected"),
    [
        (1, "ada", ["failed: rolled back", *["skipped"] * 4]),
        (2, "bob", ["upgraded", "failed: rolled back", *["skipped"] * 3]),
        (2, "cyd", ["upgraded", "upgraded", "failed: rolled back", "upgraded", "skipped"]),
        (2, "eve", [*["upgraded"] * 4, "failed: rolled back"]),
        (9, "ada", ["failed: rolled back", *["upgraded"] * 4]),
    ],
)
def test_a_wave_with_a_failure_is_the_last(wave: int, bad: str, expected: list[str]) -> None:
    each = Scripted({bad: UpgradeResult.FAILED_ROLLED_BACK})
    assert results(each, wave) == expected
    assert len(cast("Any", each).began) == 5 - expected.count("skipped")


def test_current_nodes_stop_no_wave() -> None:
    assert results(Scripted({"ada": UpgradeResult.CURRENT}), 1) == ["current", *["upgraded"] * 4]


def test_a_file_is_looked_for_once_for_all_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def find(arch: str, folder: Path | None, keys: Sequence[str]) -> AgentFile:
        asked.append(arch)
        await asyncio.sleep(0)
        return AgentFile(folder or Path("beside"), "v1", arch, "0" * 64)

    monkeypatch.setattr(waves, "find", find)

    async def all_of_them() -> list[AgentFile]:
        files = waves.AgentFiles(Path("dist"))
        return list(await asyncio.gather(*(files.find(arch) for arch in ("amd64", "arm64", "amd64", "amd64"))))

    assert [file.arch for file in asyncio.run(all_of_them())] == ["amd64", "arm64", "amd64", "amd64"]
    assert asked == ["amd64", "arm64"]


def test_a_file_that_is_not_found_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def find(arch: str, folder: Path | None, keys: Sequence[str]) -> AgentFile:
        asked.append(arch)
        await asyncio.sleep(0)
        raise NotFound(f"no agent for {arch} in {folder}")

    monkeypatch.setattr(waves, "find", find)

    async def all_of_them() -> list[AgentFile | BaseException]:
        files = waves.AgentFiles(Path("dist"))
        return await asyncio.gather(*(files.find("amd64") for _ in range(3)), return_exceptions=True)

    assert [str(error) for error in asyncio.run(all_of_them())] == ["no agent for amd64 in dist"] * 3
    assert asked == ["amd64"]


@pytest.mark.parametrize(
    ("state", "busy", "final"),
    [
        ("handed-over", True, False),
        ("switching", True, False),
        ("", True, False),  # the node may be about to take over
        ("", False, True),
        ("switching", False, True),  # it ended half-way
        ("rolled-back", True, True),
        ("upgraded", False, True),
    ],
)
def test_a_verdict_is_waited_for_as_long_as_there_can_be_one(state: str, busy: bool, final: bool) -> None:
    assert SwitchState(SwitchPhase(state), "v2", "", busy).is_final is final


def test_a_result_file_that_a_power_cut_has_garbled_is_of_an_unfinished_switch() -> None:
    assert phase_of("upgraded") is SwitchPhase.UPGRADED
    assert phase_of("upg\0") is SwitchPhase.SWITCHING


@pytest.mark.parametrize(
    ("state", "result", "after", "why"),
    [
        (
            "rolled-back",
            UpgradeResult.FAILED_ROLLED_BACK,
            "v1",
            "it fell; the old agent is running again; see the agent's log: ssh op@ada ",
        ),
        ("no-agent", UpgradeResult.NO_AGENT, "", "it fell; see the agent's log"),
        ("failed", UpgradeResult.FAILED, "v1", "it fell"),
        ("", UpgradeResult.FAILED, "v1", "connection lost before the switch started; try again"),
        ("lost", UpgradeResult.UNKNOWN, "", "ssh no longer reaches the node, which continues by itself"),
        ("switching", UpgradeResult.UNKNOWN, "v1", "the node was restarted, or its switch ended, half-way"),
    ],
)
def test_each_bad_end_says_what_to_do(state: str, result: UpgradeResult, after: str, why: str) -> None:
    verdict = SwitchState(SwitchPhase(state), "v2", "it fell", busy=False)
    row = node_upgrade._row_of(UpgradeRow("ada", "v1", "v1", UpgradeResult.FAILED), verdict, "op@ada")
    assert (row.result, row.after, row.is_good) == (result, after, False)
    assert row.unreachable == (state == "lost")
    assert row.why.startswith(why)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([UpgradeRow("ada", "", "v2", UpgradeResult.UPGRADED)], 0),
        (
            [
                UpgradeRow("ada", "", "v2", UpgradeResult.UPGRADED),
                UpgradeRow("bob", "", "", UpgradeResult.FAILED, unreachable=True),
            ],
            4,
        ),
        (
            [
                UpgradeRow("ada", "", "", UpgradeResult.FAILED, unreachable=True),
                UpgradeRow("bob", "", "", UpgradeResult.SKIPPED),
            ],
            4,
        ),
        (
            [
                UpgradeRow("ada", "", "", UpgradeResult.FAILED, unreachable=True),
                UpgradeRow("bob", "v1", "v1", UpgradeResult.FAILED_ROLLED_BACK),
            ],
            1,
        ),
    ],
)
def test_the_exit_code_tells_whether_only_ssh_failed(rows: list[UpgradeRow], code: int) -> None:
    assert commands._exit_code(rows) == code


def test_a_wave_has_a_node() -> None:
    assert commands._wave("1") == 1
    for text in ("0", "-1", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            commands._wave(text)


def test_an_agent_is_trusted_without_ssh_only_once_it_has_gone_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("mcp.nodes.upgrade.node_upgrade.time.monotonic", lambda: now[0])
    watch = node_upgrade._Watch("v1", "v2")

    def after(seconds: float, answer: str | McpError) -> bool:
        now[0] += seconds
        return watch.goes_on(answer)

    assert not after(0, "v2")
    assert not after(9, "v2")
    assert not after(0.5, Unreachable("ada: is gone"))
    assert not after(1, "v2")
    assert not after(9.9, "v2")
    assert after(0.2, "v2")
    assert not after(60, "v1")
    assert not node_upgrade._Watch("v2", "v2").goes_on("v2")  # the same version says nothing
    assert not node_upgrade._Watch("v1", "").goes_on("")


def test_another_architecture_than_that_of_the_configuration_is_refused() -> None:
    facts = AgentFacts("aarch64", "v1", "", "active", "")
    assert node_upgrade._architecture(NODES[0], facts) == "arm64"
    assert node_upgrade._architecture(Node("ada", "x:1", arch="arm64"), facts) == "arm64"
    with pytest.raises(InvalidInput, match=r'it is arm64 \(aarch64\), but mcp.toml has amd64; set arch = "arm64"'):
        node_upgrade._architecture(Node("ada", "x:1", arch="amd64"), facts)
    with pytest.raises(InvalidInput, match="no agent for riscv64"):
        node_upgrade._architecture(NODES[0], AgentFacts("riscv64", "", "", "", ""))


@pytest.mark.parametrize(
    ("before", "version", "allowed", "result"),
    [
        ("0.1.0", "0.2.0", False, "upgraded"),
        ("", "0.2.0", False, "upgraded"),  # no agent runs
        ("0.1.0+3.gabc", "0.1.0+3.gdef", False, "upgraded"),  # in unknown order
        ("0.2.0", "0.1.0", True, "downgraded"),
        ("0.2.0", "0.1.0", False, ""),
        ("0.1.0+3.gabc", "0.1.0", False, ""),
    ],
)
def test_an_older_version_is_installed_only_if_that_is_allowed(
    before: str, version: str, allowed: bool, result: str
) -> None:
    course = NodeUpgrade(cast("Session", None), waves.AgentFiles(None).find, 10, allow_downgrade=allowed)
    facts, file = AgentFacts("x86_64", before, "", "active", ""), AgentFile(Path("x"), version, "amd64", "0" * 64)
    if result:
        course._refuse_downgrade(facts, file)
        assert course._good(before, version) == result
        assert UpgradeRow("ada", before, version, course._good(before, version)).is_good
    else:
        with pytest.raises(NotReady, match=f"its agent is {re.escape(before)}, and 0.1.0 is older; --allow-downgrade"):
            course._refuse_downgrade(facts, file)


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("1m30s", 90), ("10m", 600)])
def test_a_deadline_is_a_duration(text: str, seconds: int) -> None:
    assert _deadline(text) == seconds


@pytest.mark.parametrize("text", ["4s", "11m", "60", "soon", ""])
def test_another_deadline_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        _deadline(text)


def test_plain_lines_say_each_step_once(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveLines(live=False) as lines:
        for text in ("copying", "copying", "switching"):
            lines.show("ada", text)
        lines.show("ada", "upgraded", last=True)
    assert capsys.readouterr() == ("", "ada: copying\nada: switching\n")


def test_live_lines_are_written_over_and_gone_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((20, 10)))
    with LiveLines(live=True) as lines:
        lines.show("ada", "copying")
        lines.show("barbara", "\x1b[2J" + "x" * 30)
    shown = capsys.readouterr().err
    assert shown == ("ada  copying\n\x1b[1A\x1b[Jada      copying\nbarbara  \\x1b[2Jxx…\n\x1b[2A\x1b[J")


def test_the_nodes_part_is_sound_posix_shell() -> None:
    done = subprocess.run(
        ["shellcheck", "--shell=sh", str(ROOT / "deploy" / SCRIPT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
