"""The files of our own tree, from a checkout and from a tree that looks as an unpacked zipapp does."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from agent.logs import grep_worker
from agent.logs.journald import worker
from mcp.shared import resources

# the modules, as they lie in a zipapp's tree, may be anywhere in the package
PROBE = """
import sys
sys.path.append(sys.argv[1])
from mcp.inner.deep import resources
print(resources.ROOT, resources.source_tree(), resources.deploy_file("unit"))
"""


def test_a_checkout() -> None:
    assert (resources.ROOT / "pyproject.toml").is_file()
    assert resources.source_tree() == resources.ROOT
    assert "ExecStart=" in resources.deploy_file("mcp-agent.service")


def test_an_unpacked_tree_wherever_the_module_lies_in_it(tmp_path: Path) -> None:
    inner = tmp_path / "mcp/inner/deep"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent, tmp_path / "mcp"):
        (folder / "__init__.py").touch()
    (inner / "resources.py").write_text(Path(resources.__file__).read_text())
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/unit").write_text("[Unit] é", encoding="utf-8")
    argv = [sys.executable, "-I", "-c", PROBE, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, check=True, env={"LC_ALL": "C", "PYTHONUTF8": "1"})
    assert done.stdout.decode() == f"{tmp_path} None [Unit] é\n"


def test_a_module_runs_in_a_python_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without site-packages, and without what lies in the working directory."""
    tree, other = tmp_path / "it's a tree", tmp_path / "other"
    (tree / "pack").mkdir(parents=True)
    other.mkdir()
    (tree / "pack/work.py").write_text("import json, sys\ndef main(): print(sys.argv[1:], 'site' in sys.modules)\n")
    (other / "json.py").write_text("raise SystemExit('not the standard one')")
    monkeypatch.setattr(resources, "ROOT", tree)
    argv = [*resources.module_argv(ModuleType("pack.work")), "a b"]
    done = subprocess.run(argv, cwd=other, capture_output=True, text=True, check=True)
    assert done.stdout == "['a b'] False\n"


@pytest.mark.parametrize("module", [grep_worker, worker])
def test_our_workers_can_be_run_so(module: ModuleType) -> None:
    argv = [part.replace("; main()", "; print(main.__name__)") for part in resources.module_argv(module)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True, cwd="/").stdout == "main\n"
