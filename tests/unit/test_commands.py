"""Command lines: what they mean, and one line for each that means nothing."""

import argparse
import re
from datetime import UTC, datetime

import pytest

from mcp import main
from mcp.client.fleet import NodeAnswer
from mcp.commands.agent import _status_row
from mcp.commands.ps import _uptime
from mcp.commands.shared import arguments, catalogue, habits, nodes
from mcp.config.configuration import Node
from mcp.shared.command import Command
from mcp.shared.errors import EXIT_USAGE, Unauthenticated, Unreachable


def usage_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr for a command line that cannot be parsed."""
    with pytest.raises(SystemExit) as caught:
        main.main(argv)
    assert caught.value.code == EXIT_USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mcp: ")
    assert len(err.splitlines()) == 1
    return err.removeprefix("mcp: ").rstrip("\n")


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        ([], "the following arguments are required: COMMAND; see mcp --help"),
        (["dance"], 'unknown command "dance"; known: '),
        (["dploy"], 'unknown command "dploy"; did you mean deploy?; see mcp --help'),
        (["node", "lst"], 'unknown command "lst"; did you mean list?; see mcp node --help'),
        (["deploy"], "the following arguments are required: SERVICE[/COMPONENT]; see mcp deploy --help"),
        (["deploy", "a b"], 'argument SERVICE[/COMPONENT]: service: "a b" is not a valid name'),
        (["deploy", "a\nb"], "argument SERVICE[/COMPONENT]: service: "),
        (["deploy", "web/"], "argument SERVICE[/COMPONENT]: component: is missing"),
        (["deploy", "web", "extra"], "unexpected argument: extra; see mcp deploy --help"),
        (["deploy", "web", "x", "y"], "unexpected arguments: x y; see mcp deploy --help"),
        (["deploy", "--wat", "web"], 'unknown option "--wat"; see mcp deploy --help'),
        (["logs", "--folow", "web"], 'unknown option "--folow"; did you mean --follow?; see mcp logs --help'),
        (["ps", "--config=x"], "--config belongs before the command: mcp --config … ps; see mcp ps --help"),
        (["stop", "-web"], "the following arguments are required: SERVICE[/COMPONENT]"),
        (["history", "web/api"], "argument SERVICE: expected a service without /COMPONENT"),
        (["logs", "web", "--since", "yesterday"], 'argument --since: "yesterday": expected a duration'),
        (["logs", "web", "--since", "99999999999d"], 'argument --since: "99999999999d": the duration is too long'),
        (["logs", "web", "--since", "0001-01-01T00:00:00+23:00"], "argument --since: "),
        (["logs", "web", "-n", "-1"], "argument -n/--tail: "),
        (["logs", "web", "-n", "ten"], 'argument -n/--tail: "ten" is not a whole number'),
        (["logs", "--since", "-5m", "web"], 'argument --since: "-5m": omit the -: 5m means that long ago'),
        (["logs", "web", "-n", "٣"], "argument -n/--tail: "),
        (["logs", "web", "-n", "9999999999"], "argument -n/--tail: "),
        (["node"], "the following arguments are required: COMMAND; see mcp node --help"),
        (["ps", "web"], "unexpected argument: web"),
        (["--timeout", "0", "ps"], 'argument --timeout: "0" is not a number of seconds'),
        (["--timeout", "nan", "ps"], 'argument --timeout: "nan" is not a number of seconds'),
        (["ps", "--timeout", "3"], "--timeout belongs before the command: mcp --timeout … ps; see mcp ps --help"),
        # what people know from other programs
        (["-v"], 'unknown option "-v"; use mcp --version; see mcp --help'),
        (["-o", "json", "ps"], 'unknown option "-o"; use mcp ps --json; see mcp --help'),
        (["--output=json", "node", "list"], 'unknown option "--output"; use mcp node list --json; see mcp --help'),
        (["-ojson", "ps"], 'unknown option "-o"; use mcp ps --json; see mcp --help'),
        (["-o", "json"], 'unknown option "-o"; use mcp COMMAND --json; see mcp --help'),
        (["--json", "ps"], "--json belongs after the command: mcp ps --json; see mcp --help"),
        (["-o", "json", "login"], 'unknown option "-o"; see mcp --help'),
        (["--versoin"], 'unknown option "--versoin"; did you mean --version?; see mcp --help'),
        (["--token=secret", "ps"], 'unknown option "--token"; see mcp --help'),
        (["ps", "-o", "json"], 'unknown option "-o"; use --json; see mcp ps --help'),
        (["stop", "--namespace", "rift", "web"], 'unknown option "--namespace"; use --node; see mcp stop --help'),
        (["top"], 'unknown command "top"; use mcp ps or mcp status; see mcp --help'),
        (["exec", "web"], 'unknown command "exec"; use podman exec on the node, as the user mcp; see mcp --help'),
        (["node", "rm", "x"], 'unknown command "rm"; use mcp node remove; see mcp node --help'),
    ],
)
def test_wrong_command_lines(argv: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_error(argv, capsys).startswith(what)


def test_hints_for_other_programs_words_are_true() -> None:
    known = {path for command in catalogue.load_all() for path in paths(command)}
    for words, hint in habits.COMMANDS.items():
        assert words not in known, f"{words} is a command"
        for path in re.findall(r"\bmcp ((?:(?:node|agent|service) )?[a-z]+)", hint):
            assert path in known, f"{words}: {hint}"
    options = {name for command in catalogue.load_all() for part in command.arguments for name in part.names}
    assert set(habits.OPTIONS.values()) <= options


def paths(command: Command) -> set[str]:
    """The words that name a command and its subcommands."""
    return {command.name, *(f"{command.name} {inner.name}" for inner in command.commands)}


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in catalogue.names():
        with pytest.raises(SystemExit) as caught:
            main.main([command, "--help"])
        assert caught.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: mcp {command} ")


def test_help_lists_every_command_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["help"]):
        with pytest.raises(SystemExit) as caught:
            main.main(argv)
        assert caught.value.code == 0
        text = capsys.readouterr().out
        for command in catalogue.load_all():
            assert text.count(f"\n  {command.name:<12} {command.summary}\n") == 1, command.name


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["help", "node", "add"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: mcp node add ")
    assert "unknown command" in usage_error(["help", "dance"], capsys)


def test_no_command_on_a_terminal_gets_the_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main.main([]) == EXIT_USAGE
    assert capsys.readouterr().err.startswith("usage: mcp [--config FILE] [--timeout SECONDS] COMMAND")


def test_arguments_of_logs() -> None:
    args = main._parse(["logs", "web/api", "-n", "0", "-f", "-t", "--since", "1h30m", "--node", "rift"])
    assert (args.targets, args.tail, args.follow, args.timestamps) == ([("web", "api")], 0, True, True)
    assert (args.since, args.node, args.no_prefix) == ("1h30m", "rift", False)


def test_a_service_as_a_whole() -> None:
    assert arguments.service("web") == "web"
    with pytest.raises(argparse.ArgumentTypeError, match="expected a service without /COMPONENT"):
        arguments.service("web/api")


def test_the_exit_code_of_many_nodes() -> None:
    node = Node("rift", "a:1")
    good = NodeAnswer(node, "x", None)
    lost = NodeAnswer[str](node, None, Unreachable("x"))
    refused = NodeAnswer[str](node, None, Unauthenticated("x"))
    assert nodes.finish([]) == 0
    assert nodes.finish([good, good]) == 0
    assert nodes.finish([good, good], failed=True) == 1
    assert nodes.finish([good, lost]) == 4
    assert nodes.finish([refused, lost], failed=True) == 3


def test_uptime() -> None:
    assert _uptime(None) == ""
    assert _uptime(datetime.now(UTC).isoformat()) in ("0s", "1s")


@pytest.mark.parametrize(
    ("error", "reachable"), [(Unreachable("rift: h:1 does not respond"), False), (Unauthenticated("not valid"), True)]
)
def test_an_agent_that_refuses_us_is_reachable(error: Unreachable | Unauthenticated, reachable: bool) -> None:
    row = _status_row(NodeAnswer(Node("rift", "h:1"), None, error))
    assert (row["reachable"], row["version"], row["error"]) == (reachable, None, str(error))


NODE_CONTINUES = "changes that a node has begun continue there; see mcp status"
SWITCH_CONTINUES = "nodes that have begun the switch complete it, others keep their agent; see mcp agent status"


@pytest.mark.parametrize(
    ("argv", "note"),
    [
        (["logs", "-f", "sync"], ""),
        (["logs", "deploy/restart"], ""),
        (["service", "edit", "rollback"], ""),
        (["agent", "status", "rollback"], ""),
        (["--config", "deploy", "ps"], ""),
        (["ps"], ""),
        (["sync"], NODE_CONTINUES),
        (["sync", "--dry-run"], ""),
        (["deploy", "agent"], NODE_CONTINUES),
        (["rollback", "agent"], NODE_CONTINUES),
        (["rollback", "agent", "--dry-run"], ""),
        (["restart", "web"], NODE_CONTINUES),
        (["agent", "recover", "ada"], NODE_CONTINUES),
        (["agent", "recover", "ada", "--dry-run"], ""),
        (["--config", "a", "agent", "upgrade", "--wave", "1"], SWITCH_CONTINUES),
        (["agent", "rollback", "ada"], SWITCH_CONTINUES),
        (["node", "provision", "ada"], "run it again to continue"),
        (["node", "provision", "ada", "--dry-run"], ""),
    ],
)
def test_the_note_after_ctrl_c_is_that_of_the_command(
    argv: list[str], note: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "_run_command", interrupted)
    assert main.main(argv) == 130
    assert capsys.readouterr() == ("", f"mcp: interrupted; {note}\n" if note else "")


def test_ctrl_c_while_the_command_line_is_parsed_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(catalogue, "load", interrupted)
    assert main.main(["deploy", "web"]) == 130
    assert capsys.readouterr() == ("", "")
