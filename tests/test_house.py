"""The rules of the house, read off the source: each failure says which rule broke, and where."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from google.protobuf.descriptor import FieldDescriptor

from mcp.shared.resources import ROOT
from proto.mcp.v1 import mcp_pb2 as pb

GENERATED = ("mcp_pb2.py", "mcp_pb2_grpc.py")
FILE_LIMIT = 400  # lines of one module

KNOW_GRPC = {"agent/daemon/server.py", "agent/rpc/servicer.py", "agent/rpc/interceptor.py", "mcp/client/agent.py"}
KNOW_SQL = {
    "agent/store/operations.py",
    *("agent/store/database.py", "agent/store/schema.py", "agent/store/snapshot.py"),
    *("agent/store/components.py", "agent/store/events.py", "agent/store/deploys.py", "agent/store/tokens.py"),
    "agent/store/previous_logs.py",
}
STARTS_PROCESSES = {"mcp/shared/proc.py"}
PRINTS = {"mcp/terminal/output.py", "mcp/main.py", "mcp/shared/cli.py", "mcp/shared/streams.py"}
SHARED_BY_COMMANDS = {f"mcp.commands.{name}" for name in ("arguments", "changes", "components", "results")}
NO_DOCSTRING = {"deploy/zipapp/__main__.py"}  # begins with comments: it must parse under any Python

PROCESS_MODULES = {"subprocess", "multiprocessing", "pty", "_posixsubprocess"}
PROCESS_CALL = re.compile(r"system|popen\w*|exec[lv]\w*|spawn\w*|posix_spawn\w*|fork\w*|create_subprocess_\w+")
SHELL_CALL = re.compile(r"system|popen|getoutput|getstatusoutput|create_subprocess_shell")
SQL = re.compile(
    r"\s*(SELECT\s.+\sFROM|INSERT\s+(OR|INTO)|UPDATE\s.+\sSET|DELETE\s+FROM|CREATE\s+TABLE|PRAGMA)\s", re.S
)


class Module(NamedTuple):
    """One Python file; `path` counts from the repository's root."""

    path: str
    tree: ast.Module
    lines: int


Finding = tuple[int, str]  # line, what was found there
Rule = Callable[[Module], Iterator[Finding]]


def module(path: str, source: str) -> Module:
    """A file of this path and source."""
    return Module(path, ast.parse(source), source.count("\n"))


@cache
def modules() -> tuple[Module, ...]:
    """Every Python file of the project but the generated ones."""
    folders = ("mcp", "agent", "proto", "tools", "bench", "tests", "deploy")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    kept = [path for path in [*ROOT.glob("*.py"), *found] if path.name not in GENERATED]
    return tuple(module(str(path.relative_to(ROOT)), path.read_text()) for path in sorted(kept))


def imports(one: Module) -> Iterator[Finding]:
    """What a file imports, with dots: `from mcp.terminal import output` is mcp.output, `from a.b import C` a.b.C."""
    for node in ast.walk(one.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{one.path}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def below(name: str, *packages: str) -> bool:
    """Whether a dotted name is one of these packages or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def program(one: Module) -> str:
    """mcp, agent, or another top folder."""
    return one.path.partition("/")[0]


# --- the rules: each yields what breaks it ---


def agent_uses_only_mcp_shared(one: Module) -> Iterator[Finding]:
    if program(one) == "agent":
        yield from (found for found in imports(one) if below(found[1], "mcp") and not below(found[1], "mcp.shared"))


def mcp_never_uses_agent(one: Module) -> Iterator[Finding]:
    if program(one) == "mcp":
        yield from (found for found in imports(one) if below(found[1], "agent"))


def shared_stands_on_its_own(one: Module) -> Iterator[Finding]:
    if one.path.startswith("mcp/shared/"):
        yield from (found for found in imports(one) if below(found[1], "mcp") and not below(found[1], "mcp.shared"))


def programs_use_no_tools(one: Module) -> Iterator[Finding]:
    if program(one) in ("mcp", "agent"):
        yield from (found for found in imports(one) if below(found[1], "tools", "tests", "bench", "build"))


def commands_do_not_use_each_other(one: Module) -> Iterator[Finding]:
    if one.path.startswith("mcp/commands/"):
        yield from (
            found
            for found in imports(one)
            if below(found[1], "mcp.commands") and not below(found[1], *SHARED_BY_COMMANDS)
        )


def only_proc_starts_processes(one: Module) -> Iterator[Finding]:
    if program(one) not in ("mcp", "agent") or one.path in STARTS_PROCESSES:
        return
    for line, name in imports(one):
        top, _, last = name.rpartition(".")
        if below(name, *PROCESS_MODULES) or (top in ("os", "asyncio") and PROCESS_CALL.fullmatch(last)):
            yield line, name
    for line, owner, name in attributes(one):
        if owner in ("os", "asyncio") and PROCESS_CALL.fullmatch(name):
            yield line, f"{owner}.{name}"


def only_four_files_know_grpc(one: Module) -> Iterator[Finding]:
    if program(one) in ("mcp", "agent") and one.path not in KNOW_GRPC:
        yield from (found for found in imports(one) if below(found[1], "grpc", "proto.mcp.v1.mcp_pb2_grpc"))


def only_the_registry_knows_sql(one: Module) -> Iterator[Finding]:
    if program(one) not in ("mcp", "agent") or one.path in KNOW_SQL:
        return
    yield from (found for found in imports(one) if below(found[1], "sqlite3"))
    for node in ast.walk(one.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value):
            yield node.lineno, node.value.strip()[:40]


def only_output_prints(one: Module) -> Iterator[Finding]:
    if program(one) != "mcp" or one.path in PRINTS:
        return
    for node in ast.walk(one.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node.lineno, "print"
    for line, owner, name in attributes(one):
        if owner == "sys" and name in ("stdout", "stderr", "__stdout__", "__stderr__"):
            yield line, f"sys.{name}"


def no_shell(one: Module) -> Iterator[Finding]:
    for node in ast.walk(one.tree):
        if isinstance(node, ast.keyword) and node.arg == "shell" and not is_false(node.value):
            yield node.value.lineno, "shell="
    for line, owner, name in attributes(one):
        if owner in ("os", "subprocess", "asyncio") and SHELL_CALL.fullmatch(name):
            yield line, f"{owner}.{name}"


def every_module_says_what_it_is(one: Module) -> Iterator[Finding]:
    if one.tree.body and not ast.get_docstring(one.tree) and one.path not in NO_DOCSTRING:
        yield 1, "no docstring"


def what_is_public_says_what_it_does(one: Module) -> Iterator[Finding]:
    if program(one) in ("mcp", "agent") and one.path != "agent/rpc/servicer.py":  # its RPCs are described in mcp.proto
        yield from (
            (node.lineno, node.name)
            for node in public(one.tree.body)
            if not ast.get_docstring(node) and not node.name.startswith("__")
        )


def files_stay_small(one: Module) -> Iterator[Finding]:
    if one.lines > FILE_LIMIT and program(one) in ("mcp", "agent", "tools", "deploy"):
        yield one.lines, f"{one.lines} lines; {FILE_LIMIT} are the most"


def attributes(one: Module) -> Iterator[tuple[int, str, str]]:
    """Line, owner and name of each NAME.ATTRIBUTE."""
    for node in ast.walk(one.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.lineno, node.value.id, node.attr


def is_false(node: ast.expr) -> bool:
    """Whether an expression is the constant False."""
    return isinstance(node, ast.Constant) and node.value is False


def public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The public functions and classes of a module, and the public methods of those classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


RULES: dict[str, Rule] = {
    "agent/ imports nothing of mcp/ but mcp.shared": agent_uses_only_mcp_shared,
    "mcp/ never imports agent/": mcp_never_uses_agent,
    "mcp/shared/ imports nothing else of mcp/": shared_stands_on_its_own,
    "the programs import no tools": programs_use_no_tools,
    "commands do not import each other": commands_do_not_use_each_other,
    "only mcp/shared/proc.py starts processes": only_proc_starts_processes,
    "only client, server, servicer and interceptor know gRPC": only_four_files_know_grpc,
    "only registry and migrations know SQL": only_the_registry_knows_sql,
    "only mcp/terminal/output.py prints": only_output_prints,
    "no shell strings": no_shell,
    "every module has a docstring": every_module_says_what_it_is,
    "everything public has a docstring": what_is_public_says_what_it_does,
    "files stay small": files_stay_small,
}


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str) -> None:
    broken = [f"{one.path}:{line}: {what}" for one in modules() for line, what in RULES[rule](one)]
    assert not broken, f"{rule}:\n  " + "\n  ".join(broken)


def test_all_files_are_looked_at() -> None:
    paths = {one.path for one in modules()}
    assert {"build.py", "tests/test_house.py", *KNOW_GRPC, *KNOW_SQL, *STARTS_PROCESSES, *PRINTS} <= paths
    assert not [path for path in paths if path.endswith(GENERATED)]


BREACHES = [
    (agent_uses_only_mcp_shared, "agent/a.py", "from mcp.config import configuration"),
    (agent_uses_only_mcp_shared, "agent/a.py", "import mcp.output"),
    (agent_uses_only_mcp_shared, "agent/a.py", "def f():\n    from mcp.client.agent import AgentClient"),
    (mcp_never_uses_agent, "mcp/a.py", "from agent.names import x"),
    (mcp_never_uses_agent, "mcp/shared/a.py", "import agent"),
    (shared_stands_on_its_own, "mcp/shared/a.py", "from mcp.config.configuration import Config"),
    (programs_use_no_tools, "mcp/a.py", "from tools import images"),
    (commands_do_not_use_each_other, "mcp/commands/a.py", "from mcp.commands.ps import run"),
    (commands_do_not_use_each_other, "mcp/commands/a.py", "from mcp.commands import arguments, ps"),
    (only_proc_starts_processes, "agent/a.py", "import subprocess"),
    (only_proc_starts_processes, "agent/a.py", "from os import execv"),
    (only_proc_starts_processes, "agent/a.py", "import os\nos.system('x')"),
    (only_proc_starts_processes, "mcp/a.py", "import os\nos.fork()"),
    (only_proc_starts_processes, "mcp/a.py", "import asyncio\nasyncio.create_subprocess_exec('x')"),
    (only_four_files_know_grpc, "agent/auth/backends.py", "import grpc.aio"),
    (only_four_files_know_grpc, "mcp/client/fleet.py", "from proto.mcp.v1 import mcp_pb2_grpc as pb_grpc"),
    (only_the_registry_knows_sql, "agent/auth/backends.py", "import sqlite3"),
    (only_the_registry_knows_sql, "agent/auth/backends.py", "x = 'SELECT a\\n FROM b'"),
    (only_output_prints, "mcp/a.py", "print('x')"),
    (only_output_prints, "mcp/commands/a.py", "import sys\nsys.stderr.write('x')"),
    (no_shell, "tools/a.py", "import subprocess\nsubprocess.run('x', shell=True)"),
    (no_shell, "build.py", "import os\nos.popen('x')"),
    (every_module_says_what_it_is, "tests/a.py", "x = 1"),
    (what_is_public_says_what_it_does, "mcp/a.py", "class A:\n    '''.'''\n    def b(self): pass"),
    (files_stay_small, "mcp/a.py", "x = 1\n" * 401),
]


@pytest.mark.parametrize(("rule", "path", "source"), BREACHES)
def test_a_breach_is_found(rule: Rule, path: str, source: str) -> None:
    assert len(list(rule(module(path, source)))) == 1


SOUND = (
    '"""."""\nimport json, os, re\nfrom mcp.shared.errors import McpError\n_x = "select one from many"\nos.close(0)\n'
)


@pytest.mark.parametrize("path", ["mcp/a.py", "agent/a.py", "mcp/shared/a.py", "mcp/commands/a.py", "tools/a.py"])
@pytest.mark.parametrize("rule", RULES.values())
def test_what_is_sound_is_no_breach(rule: Rule, path: str) -> None:
    assert list(rule(module(path, SOUND))) == []


# --- the checkers ---


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", "mypy --strict"])
def test_checker(command: str) -> None:
    argv = [sys.executable, "-m", *command.split()]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"`python -m {command}` complains:\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    ("path", "source", "code"),
    [
        ("agent/a.py", "asyncio.create_task(f())", 1),
        ("mcp/a.py", "asyncio.ensure_future(f())", 1),
        ("agent/a.py", "asyncio.TaskGroup()", 0),
        ("agent/tasks.py", "asyncio.create_task(f())", 0),
    ],
)
def test_only_agent_tasks_creates_tasks(path: str, source: str, code: int) -> None:
    argv = [sys.executable, "-m", "ruff", "check", "--select=TID251", f"--stdin-filename={path}", "-"]
    text = f"import asyncio\n{source}\n"
    done = subprocess.run(argv, input=text, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "TID251" in done.stdout) == (code, bool(code)), done.stdout


# --- the wire: numbers are for ever ---

RPCS = [
    "Deploy",
    "UndeployService",
    "StopService",
    "StartService",
    "RestartService",
    "SyncDesiredState",
    "ListServices",
    "GetServiceStatus",
    "LiveCheck",
    "AdoptContainers",
    "PurgeComponent",
    "PushFile",
    "PullFile",
    "NodeStatus",
    "Logs",
]

# NAME or NAME:TYPE (string where none is said); * is a repeated field. The place in the list is the number.
FIELDS = {
    "RouteSpec": "name port:int32 mode hostname",
    "ComponentSpec": "name image network user restart ports* volumes* cmd* routes*:RouteSpec env*",
    "ServiceSpec": "name active:bool components*:ComponentSpec",
    "DeployRequest": "service:ServiceSpec component",
    "DeployResponse": "results*:ComponentResult",
    "ComponentResult": "name success:bool error",
    "StopServiceRequest": "name component",
    "StartServiceRequest": "name component",
    "RestartServiceRequest": "name component",
    "UndeployServiceRequest": "name",
    "StopServiceResponse": "results*:ComponentResult",
    "StartServiceResponse": "results*:ComponentResult",
    "RestartServiceResponse": "results*:ComponentResult",
    "UndeployServiceResponse": "results*:ComponentResult",
    "SyncDesiredStateRequest": "services*:ServiceSpec",
    "SyncDesiredStateResponse": "results*:ServiceSyncResult",
    "ServiceSyncResult": "name changed:bool summary",
    "ServiceInfo": "name active:bool components*:ComponentInfo",
    "ComponentInfo": "name image desired_state observed_state version started:Timestamp",
    "ListServicesRequest": "",
    "ListServicesResponse": "services*:ServiceInfo",
    "LiveCheckRequest": "",
    "LiveCheckResponse": "services*:ServiceInfo",
    "GetServiceStatusRequest": "name",
    "GetServiceStatusResponse": "services*:ServiceInfo drift*:DriftInfo recent_events*:EventInfo",
    "DriftInfo": "service component desired_state observed_state",
    "EventInfo": "service component prev_state new_state timestamp:Timestamp",
    "AdoptContainersRequest": "service",
    "AdoptContainersResponse": "results*:AdoptResult",
    "AdoptResult": "container component success:bool error",
    "PushFileRequest": "service path content:bytes mode:uint32",
    "PushFileResponse": "success:bool error",
    "PullFileRequest": "service path",
    "PullFileResponse": "content:bytes mode:uint32 error",
    "NodeStatusRequest": "",
    "NodeStatusResponse": "node_name runtime runtime_version service_count:uint32 component_count:uint32 "
    "disk_total_bytes:uint64 disk_free_bytes:uint64 memory_total_bytes:uint64 memory_free_bytes:uint64 "
    "cpu_usage_percent:double uptime_since:Timestamp agent_version",
    "PurgeRequest": "service component dry_run:bool",
    "PurgeResponse": "results*:PurgeResult",
    "PurgeResult": "service component purged:bool reason",
    "LogsRequest": "service component tail:int32 follow:bool timestamps:bool since",
    "LogsResponse": "data:bytes",
}
ODD_NAMES = {"PurgeComponent": "Purge"}  # PurgeComponent takes a PurgeRequest


def test_rpcs_are_those_of_the_original_in_its_order() -> None:
    service = pb.DESCRIPTOR.services_by_name["McpAgentService"]
    assert service.full_name == "mcp.v1.McpAgentService"
    assert [method.name for method in service.methods][: len(RPCS)] == RPCS
    for method in service.methods[: len(RPCS)]:
        stem = ODD_NAMES.get(method.name, method.name)
        assert (method.input_type.name, method.output_type.name) == (f"{stem}Request", f"{stem}Response")
        assert (method.client_streaming, method.server_streaming) == (False, method.name == "Logs"), method.name


@pytest.mark.parametrize("message", FIELDS)
def test_fields_have_the_numbers_of_the_original(message: str) -> None:
    there = {field.number: written_as(field) for field in pb.DESCRIPTOR.message_types_by_name[message].fields}
    wanted = dict(enumerate(FIELDS[message].split(), 1))
    assert {number: there.get(number) for number in wanted} == wanted
    assert min(there.keys() - wanted.keys(), default=len(wanted) + 1) > len(wanted)


def written_as(field: FieldDescriptor) -> str:
    """A field as the table has it."""
    kinds = {
        value: name.removeprefix("TYPE_").lower() for name, value in vars(FieldDescriptor).items() if is_kind(name)
    }
    kind = field.message_type.name if field.message_type else kinds[field.type]
    return f"{field.name}{'*' if field.is_repeated else ''}{'' if kind == 'string' else f':{kind}'}"


def is_kind(name: str) -> bool:
    """Whether a constant of FieldDescriptor is a type."""
    return name.startswith("TYPE_")


def test_every_message_is_in_the_table() -> None:
    assert set(pb.DESCRIPTOR.message_types_by_name) >= set(FIELDS)


def test_the_stubs_are_what_the_proto_makes(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tools.protogen", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    made = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(made) == 3
    for path in made:
        committed = ROOT / path.relative_to(tmp_path)
        assert path.read_bytes() == committed.read_bytes(), f"{committed.name} is not what mcp.proto makes"
