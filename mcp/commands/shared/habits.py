"""Hints for words and options that people know from kubectl, podman, docker and systemctl."""

from collections.abc import Collection, Sequence

from mcp.commands.shared import catalogue
from mcp.shared.cli import did_you_mean
from mcp.shared.command import Command
from mcp.shared.errors import shown

COMMANDS = {  # words after `mcp` -> the commands to use, or advice
    "add": "mcp node add",
    "apply": "mcp deploy or mcp sync",
    "attach": "podman exec on the node, as the user mcp",
    "build": "podman build, and push the image to a registry",
    "cat": "mcp service show",
    "check": "mcp doctor, or mcp plan",
    "config": "mcp service show or mcp node list",
    "containers": "mcp ps",
    "cp": "mcp push or mcp pull",
    "create": "mcp service edit",
    "delete": "mcp undeploy",
    "describe": "mcp status SERVICE or mcp service show",
    "diff": "mcp plan",
    "disable": "mcp stop, or active = false in the definition",
    "down": "mcp undeploy",
    "enable": "mcp start, or active = true in the definition",
    "exec": "podman exec on the node, as the user mcp",
    "get": "mcp ps or mcp service show",
    "images": "podman images on the node, as the user mcp",
    "info": "mcp node list",
    "init": "mcp node provision",
    "inspect": "mcp status SERVICE or mcp service show",
    "install": "mcp node provision",
    "is-active": "mcp status",
    "journal": "mcp logs",
    "journalctl": "mcp logs",
    "kill": "mcp stop",
    "list-units": "mcp list",
    "log": "mcp logs",
    "ls": "mcp ps or mcp list",
    "new": "mcp service edit",
    "nodes": "mcp node list",
    "port": "mcp status SERVICE",
    "prune": "mcp purge",
    "reload": "mcp restart",
    "remove": "mcp undeploy",
    "rm": "mcp undeploy",
    "rollout": "mcp deploy, mcp history or mcp rollback",
    "run": "mcp deploy",
    "services": "mcp service list",
    "shell": "podman exec on the node, as the user mcp",
    "show": "mcp service show or mcp status SERVICE",
    "stats": "mcp ps or mcp node list",
    "tail": "mcp logs",
    "test": "mcp plan",
    "token": "mcp login, or mcp-agent token on the node",
    "top": "mcp ps or mcp status",
    "undo": "mcp rollback",
    "up": "mcp deploy",
    "update": "mcp deploy, or mcp agent upgrade",
    "upgrade": "mcp agent upgrade",
    "validate": "mcp service show, or mcp plan",
    "agent install": "mcp node provision",
    "agent list": "mcp agent status",
    "agent ls": "mcp agent status",
    "agent logs": "journalctl -u mcp-agent on the node",
    "agent ps": "mcp agent status",
    "agent restart": "systemctl restart mcp-agent on the node",
    "agent start": "systemctl start mcp-agent on the node",
    "agent stop": "systemctl stop mcp-agent on the node",
    "agent update": "mcp agent upgrade",
    "node delete": "mcp node remove",
    "node describe": "mcp doctor NODE",
    "node get": "mcp node list",
    "node inspect": "mcp doctor NODE",
    "node install": "mcp node provision",
    "node ls": "mcp node list",
    "node rm": "mcp node remove",
    "node show": "mcp node list or mcp doctor NODE",
    "node status": "mcp node list or mcp agent status",
    "node upgrade": "mcp agent upgrade",
    "service add": "mcp service edit",
    "service cat": "mcp service show",
    "service create": "mcp service edit",
    "service delete": "mcp undeploy, then remove its file",
    "service deploy": "mcp deploy",
    "service describe": "mcp service show or mcp status SERVICE",
    "service get": "mcp service show",
    "service inspect": "mcp service show or mcp status SERVICE",
    "service logs": "mcp logs",
    "service ls": "mcp service list",
    "service new": "mcp service edit",
    "service ps": "mcp ps",
    "service remove": "mcp undeploy, then remove its file",
    "service restart": "mcp restart",
    "service rm": "mcp undeploy, then remove its file",
    "service start": "mcp start",
    "service status": "mcp status SERVICE",
    "service stop": "mcp stop",
}
OPTIONS = {  # option -> the option to use, where the command has it
    "-o": "--json",
    "--output": "--json",
    "--format": "--json",
    "-n": "--node",
    "--namespace": "--node",
    "-H": "--node",
    "--host": "--node",
    "--context": "--node",
}
VERSION = ("-v", "-V", "-version")


def leading_problem(argv: Sequence[str], with_value: Collection[str]) -> str:
    """Return the problem of the first unknown option before the command; empty if there is none."""
    words = iter(argv)
    for word in words:
        if word in with_value:
            next(words, "")
        elif not word.startswith("-") or word in ("--", "-h", "--help", "--version"):
            return ""
        elif word.partition("=")[0] not in with_value:
            return _problem(word, list(words))
    return ""


def _problem(word: str, following: Sequence[str]) -> str:
    """Return the problem of an option before the command, with the right place or name for it."""
    option = word.partition("=")[0] if word.startswith("--") else word[:2]
    if option in VERSION or word in VERSION:
        return f"unknown option {shown(word)}; use mcp --version"
    name = next((candidate for candidate in following if candidate in catalogue.names()), "")
    command, path = _innermost(name, following) if name else (None, "COMMAND")
    known = [known for argument in command.arguments for known in argument.names] if command else ["--json", "--node"]
    if option in known and command:
        return f"{option} belongs after the command: mcp {path} {option}"
    if (instead := OPTIONS.get(option, option)) in known:
        return f"unknown option {shown(option)}; use mcp {path} {instead}"
    return f"unknown option {shown(option)}{did_you_mean(option, ['--config', '--timeout', '--version', '--help'])}"


def _innermost(name: str, following: Sequence[str]) -> tuple[Command, str]:
    """Return the command that the words after an option name, with its subcommand if one follows, and its path."""
    command, path = catalogue.load(name), name
    for word in following[following.index(name) + 1 :]:
        inner = next((inner for inner in command.commands if inner.name == word), None)
        if inner is None:
            break
        command, path = inner, f"{path} {word}"
    return command, path
