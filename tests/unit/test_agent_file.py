"""Which agent file is taken for an architecture, judged by what the files say of themselves and not by their names."""

import asyncio
import json
import sys
import zipfile
from pathlib import Path

import pytest

from mcp.nodes import agent_file
from mcp.nodes.agent_file import AgentFile
from mcp.shared import resources
from mcp.shared.errors import InvalidInput, NotFound
from mcp.shared.version import VERSION


def make(path: Path, arch: str, version: str = VERSION, entry: str = "agent.main:main") -> Path:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[arch]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("environment.json", json.dumps({"entry_point": entry}))
        archive.writestr("site-packages/native.json", json.dumps({"names": [f"a.cpython-311-{machine}-linux-gnu.so"]}))
        archive.writestr("site-packages/mcp/shared/_stamp.py", f'VERSION = "{version}"\nCOMMIT = "c"\n')
    return path


def find(arch: str, folder: Path) -> AgentFile:
    return asyncio.run(agent_file.find(arch, folder))


def test_the_one_of_the_architecture_is_taken(tmp_path: Path) -> None:
    amd64, arm64 = make(tmp_path / "mcp-agent.pyz", "amd64"), make(tmp_path / "mcp-agent-linux-arm64.pyz", "arm64")
    (tmp_path / "mcp-agent-broken.pyz").write_text("no archive")
    make(tmp_path / "mcp-agent-not.pyz", "amd64", entry="mcp.main:main")
    assert find("amd64", tmp_path).path == amd64
    found = find("arm64", tmp_path)
    assert (found.path, found.version, found.arch) == (arm64, VERSION, "arm64")
    assert found.content == arm64.read_bytes()


def test_our_own_version_comes_first(tmp_path: Path) -> None:
    make(tmp_path / "mcp-agent-old.pyz", "amd64", "0.1.0")
    assert find("amd64", tmp_path).version == "0.1.0"
    ours = make(tmp_path / "mcp-agent-ours.pyz", "amd64")
    assert find("amd64", tmp_path).path == ours
    (tmp_path / "mcp-agent.pyz").write_bytes(ours.read_bytes())  # the same under another name
    assert find("amd64", tmp_path).version == VERSION


def test_nobody_guesses_between_others(tmp_path: Path) -> None:
    make(tmp_path / "mcp-agent-1.pyz", "amd64", "0.1.0")
    make(tmp_path / "mcp-agent-2.pyz", "amd64", "0.2.0")
    with pytest.raises(NotFound, match=r"several agents for amd64: 0.1.0, 0.2.0; keep only one there"):
        find("amd64", tmp_path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"has no agent for arm64; put mcp-agent-VERSION-linux-arm64.pyz there"):
        find("arm64", tmp_path)
    make(tmp_path / "mcp-agent.pyz", "amd64")
    with pytest.raises(NotFound, match="no agent for arm64, only for amd64;"):
        find("arm64", tmp_path)
    with pytest.raises(NotFound, match="is not a folder"):
        find("arm64", tmp_path / "none")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    whole = make(tmp_path / "mcp-agent-1.pyz", "arm64").read_bytes()
    (tmp_path / "mcp-agent-2.pyz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        NotFound, match=r"no agent for amd64, only for arm64; damaged, or not an agent: mcp-agent-2\.pyz; put"
    ):
        find("amd64", tmp_path)


def test_without_a_source_tree_it_is_beside_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "ROOT", tmp_path / "site-packages")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "mcp.pyz")])
    ours = make(tmp_path / "mcp-agent.pyz", "amd64")
    assert asyncio.run(agent_file.find("amd64")).path == ours


def test_a_source_tree_builds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "ROOT", tmp_path)
    made = make(tmp_path / "mcp-agent-1.0.0-linux-arm64.pyz", "arm64", "1.0.0")
    (tmp_path / "build.py").write_text(f"import sys\nprint('{made}: 1.2 MB', file=sys.stderr)\n")
    assert asyncio.run(agent_file.find("arm64")).version == "1.0.0"
    (tmp_path / "build.py").write_text("import sys\nsys.exit('build.py: no wheels')\n")
    with pytest.raises(NotFound, match=r"cannot build the agent for arm64: build.py: no wheels; or name a folder"):
        asyncio.run(agent_file.find("arm64"))


def test_a_file_that_changes_meanwhile_is_not_taken(tmp_path: Path) -> None:
    found = find("amd64", make(tmp_path / "mcp-agent.pyz", "amd64").parent)
    make(tmp_path / "mcp-agent.pyz", "amd64", "9.0.0")
    with pytest.raises(NotFound, match="changed meanwhile"):
        assert found.content


def test_machines_have_their_names() -> None:
    assert [agent_file.architecture(name) for name in ("x86_64\n", "aarch64", "arm64")] == ["amd64", "arm64", "arm64"]
    with pytest.raises(InvalidInput, match="no agent for riscv64"):
        agent_file.architecture("riscv64")
