"""What a zipapp leaves on the disk: whole whatever happens, and gone when nobody needs it."""

import json
import os
import runpy
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from mcp.nodes.doctor import script
from mcp.shared.resources import ROOT
from tests.build.conftest import SLEEPER, Stage
from tests.zipapps import PYTHON, forged


def trees(stage: Stage, program: str = "mcp") -> list[Path]:
    return sorted(path for path in (stage.cache / program).iterdir() if path.is_dir())


def leftovers(stage: Stage, program: str = "mcp") -> list[str]:
    """What lies in the program's cache that belongs to no tree that is there."""
    kept = [tree.name for tree in trees(stage, program)]
    return [path.name for path in (stage.cache / program).iterdir() if not any(name in path.name for name in kept)]


def works(stage: Stage, zipapp: Path) -> None:
    done = stage.run(stage.command(zipapp, "version"))
    assert (done.returncode, done.stderr) == (0, "")


def test_ten_first_starts_at_once(stage: Stage, agent: Path) -> None:
    started = [stage.popen(stage.command(agent, "version")) for _ in range(10)]
    answers = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * 10, answers
    assert len({out for out, _ in answers}) == 1
    (tree,) = trees(stage, "mcp-agent")
    assert (tree / "complete").is_file()
    assert leftovers(stage, "mcp-agent") == []


@pytest.mark.parametrize(
    "until",
    ["*.tmp", "*.tmp/site-packages/mcp", "*.tmp/*/grpc/__pycache__", "*-gnu/*/grpc", "*-gnu/*/grpc/_cython/*.so"],
)
def test_first_start_killed_on_the_way_heals(stage: Stage, cli: Path, until: str) -> None:
    process = stage.popen(stage.command(cli, "version"))
    deadline = time.monotonic() + 60
    while not any((stage.cache / "mcp").glob(until)) and time.monotonic() < deadline:
        assert process.poll() is None, f"it was done before {until} was seen"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    works(stage, cli)
    (tree,) = trees(stage)
    assert (tree / "complete").is_file()
    assert not any(tree.rglob("*.part"))


def test_first_start_interrupted_is_silent(stage: Stage, cli: Path) -> None:
    process = stage.popen(stage.command(cli, "version"))
    while not any((stage.cache / "mcp").glob("*.tmp/*/grpc")):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130
    works(stage, cli)


@pytest.mark.parametrize("first", [True, False], ids=["first start", "later starts"])
def test_interrupted_at_any_moment_is_silent(stage: Stage, cli: Path, agent: Path, first: bool, tmp_path: Path) -> None:
    (tmp_path / "mcp.toml").write_text('[[nodes]]\nname = "rift"\naddress = "127.0.0.1:1"\n')
    if not first:
        works(stage, cli)
        works(stage, agent)
    commands = [(str(cli), "--config", "mcp.toml", "ps"), (str(cli), "--help"), (str(agent), "dev", "--help")]
    for step in range(20 if first else 40):
        command = commands[step % len(commands)]
        process = stage.popen([*command])
        time.sleep(0.0075 * step)
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=60)
        silent = {(130, 0), (-signal.SIGINT, 0)}
        said = 1 if command[-1] == "ps" else 0  # lines; by a signal it also ends when all is said and Python exits
        complete = {(0, said), (3, said), (-signal.SIGINT, said)}
        assert (process.returncode, len(err.splitlines())) in silent | complete, (step, process.returncode, err)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("name", ["mcp/main.py", "grpc", "grpc/_cython/cygrpc.*.so", "google/_upb/_message.abi3.so"])
def test_tree_with_something_missing_heals(stage: Stage, cli: Path, name: str) -> None:
    works(stage, cli)
    (tree,) = trees(stage)
    (target,) = (tree / "site-packages").glob(name)
    before = sorted(path.relative_to(tree) for path in tree.rglob("*"))
    remove(target)
    works(stage, cli)
    assert sorted(path.relative_to(tree) for path in tree.rglob("*")) == before
    assert leftovers(stage) == []


def test_truncated_module_heals(stage: Stage, cli: Path) -> None:
    works(stage, cli)
    (tree,) = trees(stage)
    (target,) = tree.rglob("cygrpc.*.so")
    size = target.stat().st_size
    target.write_bytes(target.read_bytes()[:1000])
    works(stage, cli)
    assert target.stat().st_size == size


def examined(stage: Stage, zipapp: Path, program: str = "mcp") -> dict[str, Any]:
    """What mcp doctor gets to know of the tree."""
    done = stage.run([PYTHON, "-I", "-c", script.VERIFY, str(zipapp), program])
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


CHANGED = ["mcp/main.py", "mcp/__pycache__/main.*.pyc", "grpc/_cython/cygrpc.*.so"]


def change(tree: Path, name: str) -> Path:
    """Change a byte of a file, whose size and mtime stay."""
    (target,) = (tree / "site-packages").glob(name)
    info, content = target.stat(), target.read_bytes()
    place = content.find(b"mcp")  # a constant, so that the module can still be imported
    target.write_bytes(content[:place] + b"mcq" + content[place + 3 :])
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert target.stat().st_size == info.st_size
    return target


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_file_is_found_and_extracted_again(stage: Stage, cli: Path, name: str) -> None:
    works(stage, cli)
    (tree,) = trees(stage)
    assert examined(stage, cli)["changed"] == 0
    target = change(tree, name)
    assert examined(stage, cli)["listed"] == [str(target.relative_to(tree))]
    works(stage, cli)
    assert examined(stage, cli)["changed"] == 0


@pytest.mark.parametrize("name", CHANGED)
def test_doctor_finds_a_changed_file_whatever_the_marker_says(stage: Stage, cli: Path, name: str) -> None:
    works(stage, cli)
    (tree,) = trees(stage)
    target = change(tree, name)
    start = runpy.run_path(str(ROOT / "deploy/zipapp/_start.py"))
    path = str(target.relative_to(tree))
    marker = (tree / "complete").read_text().splitlines(keepends=True)
    lines = [start["fingerprint"](str(tree), path) if line.endswith(f" {path}\n") else line for line in marker]
    assert lines != marker
    (tree / "complete").write_text("".join(lines))
    assert start["intact"](str(tree)), "a start believes it"
    assert examined(stage, cli)["listed"] == [path]


def test_doctor_finds_what_was_added_and_removed(stage: Stage, cli: Path) -> None:
    works(stage, cli)
    (tree,) = trees(stage)
    site = tree / "site-packages"
    (site / "sitecustomize.py").write_text("")
    (site / "grpc/evil").symlink_to("/tmp")
    (site / "mcp/__pycache__/gone.cpython-311.pyc").write_bytes(b"")
    (site / "mcp/main.py").unlink()
    assert examined(stage, cli)["listed"] == [
        "site-packages/grpc/evil",
        "site-packages/mcp/__pycache__/gone.cpython-311.pyc",
        "site-packages/sitecustomize.py",
        "site-packages/mcp/main.py",
    ]


@pytest.mark.parametrize("content", ["", "half a line", "end"])
def test_a_marker_that_is_cut_heals(stage: Stage, cli: Path, content: str) -> None:
    works(stage, cli)
    (tree,) = trees(stage)
    whole = (tree / "complete").read_text()
    (tree / "complete").write_text(content)
    works(stage, cli)
    assert len((tree / "complete").read_text().splitlines()) == len(whole.splitlines())


def test_everything_is_compiled_on_the_first_start(stage: Stage, cli: Path) -> None:
    stage.environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
    works(stage, cli)
    (tree,) = trees(stage)
    sources = {path.relative_to(tree) for path in tree.rglob("*.py")}
    compiled = {path.parent.parent.relative_to(tree) / f"{path.name.split('.')[0]}.py" for path in tree.rglob("*.pyc")}
    assert sources == compiled
    works(stage, cli)
    assert (tree / "complete").is_file()


def test_warm_start_needs_no_writable_cache(stage: Stage, cli: Path) -> None:
    works(stage, cli)
    mark = [(path, path.stat().st_mtime_ns) for path in sorted(stage.cache.rglob("*"))]
    works(stage, cli)
    assert [(path, path.stat().st_mtime_ns) for path in sorted(stage.cache.rglob("*"))] == mark


def test_older_build_is_removed(stage: Stage, cli: Path, agent: Path) -> None:
    old = forged(cli, stage.folder / "old.pyz", ident="1" * 16)
    works(stage, old)
    works(stage, agent)
    works(stage, cli)
    assert [tree.name[:4] for tree in trees(stage) if tree.name.startswith("1111")] == []
    assert leftovers(stage) == []
    assert len(trees(stage, "mcp-agent")) == 1, "the other program's is not ours to remove"


def test_build_in_use_is_kept_until_it_ends(stage: Stage, cli: Path) -> None:
    old = forged(cli, stage.folder / "old.pyz", ident="1" * 16, entry="sleeper", sleeper=SLEEPER)
    for _ in ("first", "warm"):
        running = stage.popen(stage.command(old))
        assert running.stdout
        assert running.stdin
        assert running.stdout.readline() == "running\n"
        works(stage, cli)
        works(stage, cli)
        assert len(trees(stage)) == 2
        running.stdin.write("go on\n")
        assert running.communicate(timeout=60) == ("still whole\n", "")
        assert running.returncode == 0
    works(stage, cli)
    assert len(trees(stage)) == 1
    assert leftovers(stage) == []


def test_running_program_survives_the_replacement_of_its_file(stage: Stage, cli: Path) -> None:
    """As in an upgrade: another file is renamed over the zipapp of a process that has yet to import things."""
    file = forged(cli, stage.folder / "mcp.pyz", ident="1" * 16, entry="sleeper", sleeper=SLEEPER)
    running = stage.popen(stage.command(file))
    assert running.stdout
    assert running.stdout.readline() == "running\n"
    forged(cli, stage.folder / "mcp.new", ident="2" * 16).rename(file)
    works(stage, file)
    assert running.communicate("go on\n", timeout=60) == ("still whole\n", "")


def test_trash_of_a_killed_cleaner_is_removed(stage: Stage, cli: Path) -> None:
    works(stage, cli)
    (stage.cache / "mcp/.trash-1-x/deep").mkdir(parents=True)
    for name in ("1" * 16 + "-cpython-311-x.lock", "." + "1" * 16 + "-cpython-311-x_lock"):
        (stage.cache / "mcp" / name).touch()
    (stage.cache / "mcp" / ("1" * 16 + "-cpython-311-x.tmp")).mkdir()
    works(stage, cli)
    assert leftovers(stage) == []


def test_starts_race_with_the_removal(stage: Stage, cli: Path) -> None:
    """Two builds of one program, started over and over at once, each removing the other's tree."""
    one = forged(cli, stage.folder / "one.pyz", ident="1" * 16)
    two = forged(cli, stage.folder / "two.pyz", ident="2" * 16)
    for _ in range(3):
        started = [stage.popen(stage.command(file, "version")) for file in (one, two) * 3]
        answers = [process.communicate(timeout=120) for process in started]
        assert [(process.returncode, err) for process, (_, err) in zip(started, answers, strict=True)] == [(0, "")] * 6
