"""The rules of the house.

ruff and import-linter check what they can say, as pyproject.toml has it; here is what they cannot. Each rule is
tested by what it finds.
"""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from mcp.shared.resources import ROOT

BIN = Path(sys.executable).parent
GENERATED = ("mcp_pb2.py", "mcp_pb2_grpc.py")

SQL = re.compile(
    r"\s*(SELECT\s.+\sFROM|INSERT\s+(OR|INTO)|UPDATE\s.+\sSET|DELETE\s+FROM|CREATE\s+TABLE|PRAGMA)\s", re.S
)
KNOWS_SQL = "agent/store/"
QUESTION = re.compile(r"(What|Whether|Where|How|Which|Whom|Who) ")
QUESTIONS_LIMIT = 5  # docstrings that may begin with a question word

Finding = tuple[str, int]  # path and line
Trees = dict[str, ast.Module]


@cache
def trees() -> Trees:
    """Every Python file of the programs and tools but the generated ones, by its path from the repository's root."""
    folders = ("agent", "mcp", "tools", "bench", "deploy")
    paths = [ROOT / "build.py", *chain.from_iterable((ROOT / folder).rglob("*.py") for folder in folders)]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths if path.name not in GENERATED}


def checked(*argv: str, text: str = "", folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run one of the checkers."""
    command = [f"{BIN}/{argv[0]}", *argv[1:]]
    return subprocess.run(command, input=text, cwd=folder, capture_output=True, text=True, timeout=3000, check=False)


@pytest.mark.parametrize(
    "command", ["ruff check .", "ruff format --check .", "mypy --strict", "lint-imports --no-cache"]
)
def test_checker(command: str) -> None:
    done = checked(*command.split())
    assert done.returncode == 0, f"`{command}` complains:\n{done.stdout}{done.stderr}"


# --- what neither of them can say ---


def sql_outside_the_store(files: Trees) -> Iterator[Finding]:
    """Find SQL statements in texts."""
    for path, tree in files.items():
        if not path.startswith(KNOWS_SQL) and path.startswith(("agent/", "mcp/")):
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value):
                    yield path, node.lineno


def questions(files: Trees) -> Iterator[Finding]:
    """Find docstrings that begin with a question word."""
    for path, tree in files.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node)
                if docstring and QUESTION.match(docstring):
                    yield path, node.body[0].lineno


def test_only_the_store_has_sql() -> None:
    assert list(sql_outside_the_store(trees())) == []


def test_docstrings_do_not_begin_as_questions() -> None:
    found = [f"{path}:{line}" for path, line in questions(trees())]
    assert len(found) <= QUESTIONS_LIMIT, f"{len(found)} docstrings do, {QUESTIONS_LIMIT} may:\n" + "\n".join(found)


def test_all_files_are_looked_at() -> None:
    assert {"build.py", "agent/store/tokens.py", "mcp/main.py", "deploy/zipapp/_start.py"} <= trees().keys()
    assert not [path for path in trees() if path.endswith(GENERATED)]


def test_what_no_tool_can_say_is_found() -> None:
    select = ast.parse("x = 1\ny = 'SELECT a\\n FROM b'")
    assert list(sql_outside_the_store({"agent/a.py": select, "mcp/a.py": select, "agent/store/a.py": select})) == [
        ("agent/a.py", 2),
        ("mcp/a.py", 2),
    ]
    assert list(sql_outside_the_store({"mcp/a.py": ast.parse("x = 'select one from many'")})) == []
    asks = ast.parse('"""What it is."""\nclass A:\n    """An A."""\n    def b(self): "Whether it is."')
    assert list(questions({"mcp/a.py": asks})) == [("mcp/a.py", 1), ("mcp/a.py", 4)]


# --- ruff's rules, each with what it finds ---

RUN = 'import subprocess\nsubprocess.run("x", shell=True)'
BREACHES = [
    ("D100", "tests/a.py", ""),
    ("D103", "mcp/a.py", "def f() -> None: ..."),
    ("D102", "agent/a.py", 'class A:\n    """An A."""\n    def b(self) -> None: ...'),
    ("D205", "mcp/a.py", 'def f() -> None:\n    """One\n    two."""'),
    ("D415", "agent/a.py", 'def f() -> None:\n    """No stop"""'),
    ("C901", "agent/a.py", "def f(x: int) -> None:\n" + "    if x: print()\n" * 10),
    ("PLR0911", "mcp/a.py", "def f(x: int) -> int:\n" + "    if x: return 1\n" * 10),
    ("PLR0912", "mcp/a.py", "def f(x: int) -> None:\n" + "    if x: print()\n" * 13),
    ("PLR0913", "mcp/a.py", "def f(a, b, c, d, e, f, g, h): ..."),
    ("PLR0915", "tools/a.py", "def f() -> None:\n" + "    print()\n" * 41),
    ("S602", "tools/a.py", RUN),
    ("S602", "tests/a.py", RUN),
    ("S604", "bench/a.py", 'f("x", shell=True)'),
    ("S605", "build.py", 'import os\nos.popen("x")'),
    ("S605", "agent/a.py", 'import os\nos.system("x")'),
    ("S606", "mcp/a.py", 'from os import execv\nexecv("x", ["x"])'),
    ("S606", "agent/a.py", 'import os\nos.spawnv(0, "x", ["x"])'),
    ("TID251", "mcp/a.py", "import os\nos.fork()"),
    ("TID251", "agent/a.py", "from os import posix_spawnp"),
    ("TID251", "mcp/a.py", 'import asyncio\nasyncio.create_subprocess_exec("x")'),
    ("TID251", "agent/a.py", "from asyncio.subprocess import create_subprocess_shell"),
    ("TID251", "agent/a.py", "import asyncio\nasyncio.create_task(f())"),
    ("TID251", "mcp/a.py", "import asyncio\nasyncio.ensure_future(f())"),
    ("T201", "mcp/a.py", "print()"),
    ("T201", "agent/a.py", "print()"),
    ("TID251", "mcp/commands/a.py", 'import sys\nsys.stderr.write("x")'),
    ("TID251", "agent/a.py", "from sys import stdout"),
    ("TID252", "mcp/a.py", "from . import b"),
]
ALLOWED = [
    ("TID251", "agent/tasks.py", "import asyncio\nasyncio.create_task(f())"),
    ("TID251", "agent/a.py", "import asyncio\nasyncio.TaskGroup()"),
    ("TID251", "mcp/shared/proc.py", 'import asyncio\nasyncio.create_subprocess_exec("x")'),
    ("TID251", "mcp/terminal/output.py", "import sys\nsys.stdout.flush()"),
    ("T201", "mcp/terminal/output.py", "print()"),
    ("S605", "agent/a.py", "import os\nos.close(0)"),
    ("D103", "mcp/a.py", "def _f() -> None: ..."),
    ("D105", "mcp/a.py", "class A:\n    def __len__(self) -> int: ..."),
]


def codes(path: str, source: str) -> set[str]:
    """List the rules that a file of this path would break."""
    text = f'"""A file."""\n{source}\n' if source else "x = 1\n"
    done = checked("ruff", "check", "--output-format=concise", f"--stdin-filename={path}", "-", text=text)
    return set(re.findall(r"^[^:]+:\d+:\d+: ([A-Z]+\d+) ", done.stdout, re.M))


@pytest.mark.parametrize(("code", "path", "source"), BREACHES)
def test_ruff_finds(code: str, path: str, source: str) -> None:
    assert code in codes(path, source)


@pytest.mark.parametrize(("code", "path", "source"), ALLOWED)
def test_ruff_allows(code: str, path: str, source: str) -> None:
    assert code not in codes(path, source)


# --- import-linter's contracts: files that break them, each with what the report is to say of it ---

NOT_ALLOWED = "is not allowed to import"
CONTRACT_BREACHES = {
    "Layers of agent": [
        ("agent/logs/b1.py", "from agent.services import plan", f"agent.logs {NOT_ALLOWED} agent.services"),
        ("agent/store/b1.py", "import agent.podman.argv", f"agent.store {NOT_ALLOWED} agent.podman"),
        ("agent/auth/b1.py", "def f():\n    from agent.logs import tail", f"agent.auth {NOT_ALLOWED} agent.logs"),
        ("agent/attic.py", "", "agent.attic"),  # every new room has to have its layer
    ],
    "Layers of mcp": [
        ("mcp/shared/b1.py", "from mcp.config.configuration import Config", f"mcp.shared {NOT_ALLOWED} mcp.config"),
        ("mcp/client/b1.py", "from mcp.logs import blocks", f"mcp.client {NOT_ALLOWED} mcp.logs"),
        ("mcp/attic.py", "", "mcp.attic"),
    ],
    "No circles": [
        ("agent/files/b1.py", "from agent.files import b2", "No cycles are allowed in agent.files"),
        ("agent/files/b2.py", "from agent.files import b1", "No cycles are allowed in agent.files"),
    ],
    "agent uses only mcp.shared of mcp": [
        ("agent/b1.py", "from mcp.terminal import output", "agent.b1 -> mcp.terminal.output"),
        ("agent/b2.py", "def f():\n    import mcp.client.agent", "agent.b2 -> mcp.client.agent"),
    ],
    "mcp never uses agent": [("mcp/b1.py", "from agent import log", "mcp.b1 -> agent.log")],
    "The programs use no tools": [
        ("mcp/b2.py", "from tools import images", "mcp.b2 -> tools.images"),
        ("agent/b3.py", "import tests.agents", "agent.b3 -> tests"),
    ],
    "Commands do not use each other": [
        ("mcp/commands/b1.py", "from mcp.commands.ps import run", "mcp.commands.b1 -> mcp.commands.ps"),
    ],
    "Only rpc, server and client know gRPC": [
        ("agent/auth/b2.py", "import grpc.aio", "agent.auth.b2 -> grpc"),
        ("mcp/logs/b1.py", "from proto.mcp.v1 import mcp_pb2_grpc", "mcp.logs.b1 -> proto.mcp.v1.mcp_pb2_grpc"),
    ],
    "Only store knows SQL": [("agent/auth/b3.py", "import sqlite3", "agent.auth.b3 -> sqlite3")],
    "Only services know the platform": [
        ("agent/rpc/b1.py", "from agent.platform import dns", "agent.rpc.b1 -> agent.platform.dns"),
    ],
    "Only proc starts processes": [
        ("agent/podman/b1.py", "import subprocess", "agent.podman.b1 -> subprocess"),
        ("mcp/nodes/b1.py", "from multiprocessing import Process", "mcp.nodes.b1 -> multiprocessing"),
    ],
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report on a copy of the tree with all the breaches."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("agent", "mcp", "proto", "tools", "bench"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "agent/platform").mkdir(exist_ok=True)
    for path in ("agent/platform/__init__.py", "agent/platform/dns.py"):
        (folder / path).touch()
    for path, source, _ in chain.from_iterable(CONTRACT_BREACHES.values()):
        (folder / path).write_text(f"{source}\n")
    done = checked("lint-imports", "--no-cache", "--no-logo", folder=folder)
    assert done.returncode == 1, done.stderr
    return done.stdout


@pytest.mark.parametrize("contract", CONTRACT_BREACHES)
def test_import_linter_finds(report: str, contract: str) -> None:
    _, _, broken = report.partition("Broken contracts")
    section = re.search(rf"^{contract}\n-+\n(.*?)(?=^[^\n]+\n-+\n|\Z)", broken, re.M | re.S)
    assert section, f"it is not broken:\n{report}"
    assert [finding for _, _, finding in CONTRACT_BREACHES[contract] if finding not in section[1]] == []


def test_every_contract_is_tested() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert [contract["name"] for contract in contracts] == list(CONTRACT_BREACHES)
