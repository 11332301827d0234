"""The arm64 files, really run: under user-mode emulation, up to calls over TLS in both directions."""

import json
from pathlib import Path
from shutil import copyfile

import pytest

from tests.agents import Agent, agent_env, run_program
from tests.roots import Arm64
from tests.stage import AGENT_FILE, CLI_FILE, deal_out
from tests.zipapps import OWN_ARCH, PYTHON, built

pytestmark = pytest.mark.timeout(300)  # emulation is some fifteen times slower


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """This machine's two files, and the arm64 ones."""
    place = tmp_path / "empty"
    place.mkdir()
    deal_out(place)
    copyfile(built("mcp", "arm64"), place / "mcp-arm64.pyz")
    copyfile(built("mcp-agent", "arm64"), place / "mcp-agent-arm64.pyz")
    return place


def test_the_arm64_cli_calls_an_agent_here(folder: Path, arm64: Arm64) -> None:
    assert OWN_ARCH == "amd64", "this test emulates arm64"
    with Agent.start_dev(
        folder / "state", env=agent_env(folder), command=(PYTHON, "-I", str(folder / AGENT_FILE)), cwd=folder
    ) as agent:
        env = {**agent_env(folder), "MCP_CONFIG": str(agent.mcp_toml)}
        version = run_program(arm64.argv(folder / "mcp-arm64.pyz", ["version", "--json"]), env=env, timeout=120)
        assert version.code == 0, version.stderr
        assert json.loads(version.stdout)["architecture"] == "arm64"
        done = run_program(arm64.argv(folder / "mcp-arm64.pyz", ["node", "list", "--json"]), env=env, timeout=120)
        assert done.code == 0, done.stderr
        assert json.loads(done.stdout)[0]["state"] == "ready"


def test_the_arm64_agent_answers_a_cli_here(folder: Path, arm64: Arm64) -> None:
    with Agent.start_dev(
        folder / "state",
        env=agent_env(folder),
        command=arm64.argv(folder / "mcp-agent-arm64.pyz"),
        cwd=folder,
        cli_command=(PYTHON, "-I", str(folder / CLI_FILE)),
    ) as agent:
        done = agent.cli.run("node", "list", "--json", timeout=120)
        assert done.code == 0, done.stderr
        assert json.loads(done.stdout)[0]["state"] == "ready"
