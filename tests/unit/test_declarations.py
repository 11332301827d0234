"""The declarations of commands, and all that is made from them: help, documentation, manual pages."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator

import pytest

from agent import main as agent_main
from agent.admin import manual as agent_manual
from mcp import main
from mcp.commands.shared import about, catalogue, manual
from mcp.shared.command import Argument, Command, Kind
from mcp.shared.resources import ROOT

COMMANDS = (ROOT / "docs" / "commands.md").read_text()
# Only the standard library's smallest parts: `mcp --help` and completion import all commands.
HEAVY = {"asyncio", "dataclasses", "datetime", "google", "grpc", "inspect", "json", "logging", "pathlib", "tempfile"}


def leaves(commands: Iterable[Command], prefix: str = "") -> Iterator[tuple[str, Command]]:
    """Every command that can be run, with its whole name."""
    for command in commands:
        if command.commands:
            yield from leaves(command.commands, f"{prefix}{command.name} ")
        else:
            yield f"{prefix}{command.name}", command


ALL = dict(leaves(catalogue.load_all()))
AGENT = dict(leaves(agent_main.COMMANDS))
EVERY = [*ALL.items(), *((f"agent: {name}", command) for name, command in AGENT.items())]


def test_each_module_declares_the_command_of_its_name() -> None:
    assert [catalogue.load(name).name for name in catalogue.names()] == catalogue.names()
    assert {"deploy", "edit", "help", "list", "service"} <= set(catalogue.names())
    assert "shared" not in catalogue.names()


@pytest.mark.parametrize(("name", "command"), EVERY, ids=[name for name, _ in EVERY])
def test_a_declaration_is_sound(name: str, command: Command) -> None:
    assert re.fullmatch(r"[a-z].*[^.]", command.summary), name
    assert not command.description or command.description.endswith("."), name
    assert command.changes or not command.interrupted, f"{name}: nothing continues where nothing is changed"
    for argument in command.arguments:
        assert re.fullmatch(r"[^A-Z].*[^.]|(MCP|UID|RE)\b.*[^.]", argument.options["help"]), argument
        if not name.startswith("agent: "):
            kinds = [kind for kind in Kind if kind == argument.placeholder]
            assert not kinds or argument.options["metavar"] is kinds[0], f"{name}: {argument.placeholder} by a string"


def test_what_changes_services_says_what_ctrl_c_means() -> None:
    interrupted = {name for name, command in ALL.items() if command.interrupted}
    services = {name for name, command in ALL.items() if command.changes and command.group == "Services"}
    assert services == {"deploy", "undeploy", "sync", "rollback", "stop", "start", "restart"}
    assert interrupted == services | {"agent recover", "agent upgrade", "agent rollback", "node provision"}


def test_exit_status_2_is_an_answer_of_comparisons() -> None:
    options = {name: command.differences.option for name, command in ALL.items() if command.differences}
    comparing = dict.fromkeys(["deploy", "plan", "sync", "rollback"], "--exit-code")
    assert options == {**comparing, "status": "--check"}
    for name, option in options.items():
        assert option in [word for argument in ALL[name].arguments for word in argument.names]


@pytest.mark.parametrize("name", ALL)
def test_help_names_every_argument(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main([*name.split(), "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert text.startswith(f"usage: mcp {name} ")
    for argument in ALL[name].arguments:
        assert (argument.names[-1] if argument.is_option else argument.placeholder) in text
    assert ("If interrupted by Ctrl-C: " in text) == bool(ALL[name].interrupted)


def test_all_declarations_are_read_without_anything_heavy() -> None:
    code = "import sys; from mcp import main; main.parser_for([]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & HEAVY == set()


def test_a_command_imports_no_other() -> None:
    code = "import sys; from mcp import main; main.main(['version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = [name.removeprefix("mcp.commands.") for name in done.stdout.split() if name.startswith("mcp.commands.")]
    assert [name for name in loaded if not name.startswith("shared")] == ["version"]


# --- documentation ---


@pytest.mark.parametrize("name", ALL)
def test_every_command_is_documented(name: str) -> None:
    assert re.search(rf"^\| `mcp {name}[ `]", COMMANDS, re.M), f"docs/commands.md has no row for mcp {name}"


def test_every_documented_command_exists() -> None:
    rows = re.findall(r"^\| `mcp ((?:[a-z]+ ?)+)", COMMANDS, re.M)
    words = {row.strip() for row in rows}
    assert words == {*ALL}


def test_every_exit_code_is_documented() -> None:
    table = COMMANDS.partition("| exit code |")[2].partition("\n\n")[0]
    codes = [int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.M) for code in row.split(", ")]
    assert codes == list(about.EXIT_STATUS)


# --- manual pages ---


def lint(page: str) -> list[str]:
    """What mandoc has to say, but that no date is known and that lines are long."""
    argv = ["mandoc", "-T", "lint", "-W", "warning"]
    done = subprocess.run(argv, input=page, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if "missing date" not in line]


def plain(page: str) -> str:
    """A page as man shows it, on one line and without bold and italics."""
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    argv = ["mandoc", "-T", "utf8", "-O", "width=100"]
    done = subprocess.run(argv, input=page, env=env, capture_output=True, text=True, timeout=60, check=True)
    return " ".join(re.sub(".\b", "", done.stdout).split())


PAGES = [("mcp", manual.manual(), ALL), ("mcp-agent", agent_manual.page(agent_main.COMMANDS), AGENT)]


@pytest.mark.parametrize(("program", "page", "commands"), PAGES, ids=["mcp", "mcp-agent"])
def test_a_manual_page_has_every_command_and_option(program: str, page: str, commands: dict[str, Command]) -> None:
    assert lint(page) == []
    text = plain(page)
    for name, command in commands.items():
        assert f"{program} {name} " in text
        assert command.summary[1:] in text
        for argument in command.arguments:
            assert entry(argument) in text
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"):
        assert f" {title} " in text


def entry(argument: Argument) -> str:
    """An argument and its explanation as the page has them."""
    names = f"{', '.join(argument.names)} " if argument.is_option else ""
    value = f"{argument.placeholder} " if argument.placeholder else ""
    return " ".join(f"{names}{value}{argument.options['help']}".replace("…", "...").split())


def test_the_manual_pages_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["help", "--man"]) == 0
    assert capsys.readouterr().out == manual.manual()
    assert agent_main.main(["help", "--man"]) == 0
    assert capsys.readouterr().out.startswith('.TH "MCP\\-AGENT" "8" ')


def test_a_lint_finds_what_is_wrong() -> None:
    assert len(lint(manual.manual().replace(".TP\n", ".TQ2\n", 1))) > 0


def test_help_of_the_agents_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["help", "token", "add"], ["token", "add", "--help"]):
        with pytest.raises(SystemExit) as caught:
            agent_main.main(argv)
        assert caught.value.code == 0
        assert capsys.readouterr().out.startswith("usage: mcp-agent token add ")
    with pytest.raises(SystemExit):
        agent_main.main(["help"])
    text = capsys.readouterr().out
    assert all(f"\n    {command.name:<10}{command.summary}\n" in text for command in agent_main.COMMANDS)
