"""Completion in real shells: the scripts of `mcp completion`, for a program called mcp and for ./mcp.pyz."""

import os
import pty
import resource
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcp.commands.shared import catalogue
from mcp.shared.resources import ROOT
from tests.agents import SYSTEM_PATH, Cli

CONFIG = '[[nodes]]\nname = "rift"\naddress = "127.0.0.1:1"\n[[nodes]]\nname = "orion"\naddress = "127.0.0.1:2"\n'
COMPONENT = '[[components]]\nname = "{}"\nimage = "localhost/x:1"\n'
DEFINITIONS = {"web": ("api", "db"), "worker": ("worker",)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program as bin/mcp and ./mcp.pyz, its configuration, and each shell's script."""
    folder = tmp_path_factory.mktemp("shells")
    (folder / "bin").mkdir()
    (folder / "services").mkdir()
    (folder / "mcp.toml").write_text(CONFIG)
    for name, components in DEFINITIONS.items():
        text = "".join(COMPONENT.format(component) for component in components)
        (folder / "services" / f"{name}.toml").write_text(f'name = "{name}"\nnode = "rift"\n{text}')
    for path in (folder / "bin" / "mcp", folder / "mcp.pyz"):
        path.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m mcp.main "$@"\n')
        path.chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        done = Cli(folder / "mcp.toml").run("completion", shell)
        assert done.code == 0, done
        (folder / f"script.{shell}").write_text(done.stdout)
    return folder


def environment(place: Path) -> dict[str, str]:
    """What the shells see."""
    path = f"{place / 'bin'}:{SYSTEM_PATH}"
    return {
        "PATH": path,
        "HOME": str(place),
        "MCP_CONFIG": str(place / "mcp.toml"),
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONPATH": str(ROOT),
    }


def output_of(place: Path, *argv: str) -> str:
    """What a program prints; it must succeed and say nothing on stderr."""
    done = subprocess.run(
        argv, cwd=place, env=environment(place), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


BASH = r"""
set -u
source script.bash
COMP_LINE=$1; COMP_POINT=${#1}
# as readline splits it: at spaces and at =
read -ra COMP_WORDS <<< "${1//=/ = }"
[[ $1 == *[\ =] ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
compopt() { :; }   # works only while readline completes
spec=$(complete -p "${COMP_WORDS[0]##*/}")
[[ $spec =~ -F\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" ""
(( ${#COMPREPLY[@]} )) && printf '%s\n' "${COMPREPLY[@]}"
exit 0
"""

LINES = [
    ("mcp unde", {"undeploy"}),
    ("mcp logs w", {"web", "worker"}),
    ("mcp logs web/", {"web/api", "web/db"}),
    ("mcp ps --node ", {"rift", "orion"}),
    ("mcp --config mcp.toml node ", {"list", "add", "remove", "provision"}),
    ("mcp node add x y:1 --arch ", {"amd64", "arm64"}),
    ("mcp logs --fol", {"--follow"}),
    ("mcp logs web/api wor", {"worker"}),
    ("mcp logs -n 5 --grep x web --node o", {"orion"}),
    ("mcp logs web --since ", {"boot", "deploy"}),
    ("mcp dance ", set()),
    ("./mcp.pyz rollback we", {"web"}),
    ("~/mcp.pyz rollback we", {"web"}),
    ("mcp --config m", {"mcp.toml", "mcp.pyz"}),
    ("mcp service export --output s", {"services"}),
]


@pytest.mark.parametrize(("line", "expected"), [*LINES, ("mcp ps --node=o", {"orion"})])
def test_bash(place: Path, line: str, expected: set[str]) -> None:
    assert set(output_of(place, "bash", "--norc", "-c", BASH, "bash", line).split()) == expected


def test_bash_itself_finds_the_function(place: Path) -> None:
    """Readline completes the line: what it leaves unique is completed, and runs."""
    said = typed(place, ["bash", "--norc", "-i"], "source script.bash", "./mcp.pyz rollback we\t--he\t\n")
    assert "usage: mcp rollback" in said


@pytest.mark.parametrize(("line", "expected"), [*LINES, ("mcp ps --node=o", {"--node=orion"})])
def test_fish(place: Path, line: str, expected: set[str]) -> None:
    if "service export" in line:
        expected = {f"{name}/" for name in expected}
    script = "source script.fish; complete -C $argv[1]"
    said = output_of(place, "fish", "--no-config", "-c", script, line)
    assert {candidate.partition("\t")[0] for candidate in said.splitlines()} == expected


def test_fish_shows_what_they_are(place: Path) -> None:
    said = output_of(place, "fish", "--no-config", "-c", "source script.fish; complete -C 'mcp ps --node o'")
    assert said == "orion\t127.0.0.1:2\n"


# A compadd of ours, which every completion ends in, writes down what it is to offer.
ZSH = r"""
compadd() {
    local -a hits
    if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)* ]]; then
        builtin compadd -A hits "$@"
        print -rl -- $hits >> offered
    fi
    builtin compadd "$@"
}
autoload -Uz compinit; compinit -u -D
source script.zsh
"""


@pytest.mark.parametrize(("line", "expected"), [*LINES, ("mcp ps --node=o", {"--node=orion"})])
def test_zsh(place: Path, line: str, expected: set[str]) -> None:
    offered = place / "offered"
    offered.unlink(missing_ok=True)
    (place / "setup.zsh").write_text(ZSH)
    typed(place, ["zsh", "-f", "-i"], "source ./setup.zsh", f"{line}\t\x15")
    assert set(offered.read_text().split() if offered.exists() else ()) == expected


def typed(place: Path, argv: list[str], setup: str, keys: str) -> str:
    """What an interactive shell shows after a line of setup, while it is given these keys."""
    master, slave = pty.openpty()
    env = environment(place) | {"PS1": "READY> ", "COLUMNS": "400", "LINES": "200"}
    with subprocess.Popen(
        argv, cwd=place, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    ) as process:
        os.close(slave)
        try:
            read_until(master, "READY> ")
            os.write(master, f"{setup}\n".encode())
            read_until(master, "READY> ")
            os.write(master, f"{keys}echo DO''NE\n".encode())
            return read_until(master, "DONE")
        finally:
            process.kill()
            os.close(master)


def read_until(terminal: int, words: str) -> str:
    """What is written until these words, which must come within 60 s."""
    said, end = "", time.monotonic() + 60
    while words not in said and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            said += os.read(terminal, 65536).decode(errors="replace")
    assert words in said, said
    return said


@pytest.mark.parametrize("command", catalogue.names())
def test_nothing_slow_is_imported(place: Path, command: str) -> None:
    """With Python's own start it takes well under 100 ms, which is what one waits for unnoticed."""
    code = "import sys; from mcp import main; main.main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    argv = [sys.executable, "-c", code, "__complete", "zsh", command, ""]
    done = subprocess.run(argv, cwd=ROOT, env=environment(place), capture_output=True, text=True, check=True)
    assert {"grpc", "google", "asyncio", "ssl", "cryptography"} & set(done.stderr.split()) == set()


def test_it_is_fast(place: Path) -> None:
    """Measured in processor time, since other tests may run beside this one."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    took = []
    for _ in range(5):
        began = spent()
        assert output_of(place, sys.executable, "-m", "mcp.main", "__complete", "zsh", "logs", "web/") != ""
        took.append(spent() - began)
    assert min(took) < 1, took
