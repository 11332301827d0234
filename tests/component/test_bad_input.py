"""Every mistake, through the real CLI: one line that says what and where, its exit code, and nothing changed."""

import json
import os
from pathlib import Path

import pytest

from agent.admin.pki import KeyPair
from tests.agents import Cli, Home, Outcome
from tests.component.conftest import Rig, copy_home
from tests.component.definitions import component, route, service
from tests.component.fakes import WEB, WEB2
from tests.waiting import wait_for

DONE, FAILED, USAGE, AUTH, UNREACHABLE = range(5)


def check(done: Outcome, code: int, *words: str, lines: int = 1) -> None:
    """The exit code, the number of lines (each begins `mcp: `), and what they say."""
    assert "Traceback" not in done.stdout + done.stderr
    assert (done.code, len(done.errors)) == (code, lines), done
    assert all(line.startswith("mcp: ") and line.isprintable() for line in done.errors)
    for word in words:
        assert word in done.stderr, done.stderr


def changes(rig: Rig) -> list[list[str]]:
    """What podman was asked to change."""
    asking = ("ps", "info", "images", "version", "inspect", "logs")
    return [argv for argv in rig.fake.commands() if argv[0] not in asking and argv[1:2] != ["inspect"]]


def requests(rig: Rig) -> list[list[str]]:
    """What podman was asked at all; the agent itself asks for its version, once, some time after its start."""
    return [argv for argv in rig.fake.commands() if argv[0] != "version"]


# --- definitions ---

DEFINITIONS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "nothing": ("", 3, ("node: is missing", "name: is missing", "components: is empty")),
    "not toml": ("name = ", 1, ("is not valid TOML: Invalid value",)),
    "nested too deep": (f"x = {'[' * 5000}", 1, ("is not valid TOML",)),
    "a number too long": (f"x = {'9' * 5000}", 1, ("is not valid TOML",)),
    "a wrong type": (service(more='active = "yes"'), 1, ("active: expected true or false, found a string",)),
    "a wrong type below": (
        service("web", component(more="ports = [8080]")),
        1,
        ("components[0].ports[0]: expected a string, found an integer",),
    ),
    "a wrong type of table": ('name = "web"\nnode = "rift"\ncomponents = ["api"]', 2, ("components[0]: expected",)),
    "an unknown key": (service(more="activ = true"), 1, ("activ: unknown key; did you mean active?",)),
    "an unknown key below": (
        service("web", component(more='imagee = "x"')),
        1,
        ("components[0].imagee: unknown key; did you mean image?",),
    ),
    "an unknown key with a line break": (service(more='"a\\nb" = 1'), 1, ("a\\nb: unknown key",)),
    "a duplicate component": (
        service("web", component(), component()),
        1,
        ('components: 2 of them are called "api"',),
    ),
    "no image": ('name = "web"\nnode = "rift"\n[[components]]\nname = "api"', 1, ("components[0].image: is missing",)),
    "a bad image": (service("web", component(image="UPPER/Case:v1")), 1, ("is not an image reference",)),
    "an image that is an option": (service("web", component(image="--privileged")), 1, ("is not an image reference",)),
    "an image with a space": (service("web", component(image="a b:v1")), 1, ('"a b:v1" is not an image reference',)),
    "an image without a tag": (service("web", component(image="example.net/a")), 1, ("has no tag; pin a version",)),
    "latest": (service("web", component(image="example.net/a:latest")), 1, ("is tagged latest",)),
    "a volume with ..": (
        service("web", component(more='volumes = ["/srv/web/../mcp:/x"]')),
        1,
        ("components[0].volumes[0]: ", "without .. in it"),
    ),
    "a name that begins with -": (service("-x"), 1, ('name: "-x" must be lower-case',)),
    "a name with a space": (service("web", component("a b")), 1, ('components[0].name: "a b" must be lower-case',)),
    "a name with a quote": (service("web", component("a'b")), 1, ("components[0].name: \"a'b\" must be",)),
    "a name with a line break": (service("web", component("a\\nb")), 1, ('components[0].name: "a\\nb" must be',)),
    "a name with NUL": (service("web", component("a\\u0000b")), 1, ('components[0].name: "a\\x00b" must be',)),
    "another name": (service("other"), 1, ('name: is "other", but the file is named web.toml',)),
    "a route without a port": (
        service("web", component(more='[[components.routes]]\nname = "x"')),
        1,
        ("components[0].routes[0].port: is missing",),
    ),
    "a port out of range": (service("web", component(more=route(port=70000))), 1, ("port: 70000 is outside",)),
    "routes that share a name": (
        service("web", component(more=route("a") + route("a", 80))),
        1,
        ('routes: 2 of them are called "a"',),
    ),
    "an env that is none": (service("web", component(more='env = ["s3cr3t value"]')), 1, ("is not KEY=VALUE",)),
    "an env with a line break": (service("web", component(more='env = ["KEY=s3cr3t\\nX=y"]')), 1, ("KEY: a value",)),
    "a short image name": (
        service("web", component(image="team/web:2.0")),
        1,
        ("names no registry; write localhost/team/web:2.0 ", "as docker.io/team/web:2.0"),
    ),
    "a host port twice": (
        service("web", component(more='ports = ["8080:80", "127.0.0.1:8080:81"]')),
        1,
        ("components[0].ports[1]: host port 8080/tcp is taken by ports[0] already",),
    ),
    "a host port of two components": (
        service("web", component(more='ports = ["8080:80"]'), component("b", more='ports = ["8080:80"]')),
        1,
        ("components[1].ports[0]: host port 8080/tcp is taken by component api already",),
    ),
    "a port without a network": (
        service("web", component(more='network = "host"\nports = ["8080:80"]')),
        1,
        ("components[0].ports: podman publishes no port with the network host",),
    ),
    "two volumes on one target": (
        service("web", component(more='volumes = ["a:/data", "b:/data/"]')),
        1,
        ("components[0].volumes[1]: ", "the target is that of volumes[0] already"),
    ),
    "a health check without time": (
        service("web", component(more='health = {cmd = ["true"], timeout = "0s"}')),
        1,
        ('components[0].health.timeout: "0s" is outside 1s to 1d',),
    ),
    "a health check of docker's": (
        service("web", component(more='health = {cmd = ["CMD-SHELL", "true"]}')),
        1,
        ("components[0].health.cmd: ", 'write ["sh", "-c", …]'),
    ),
    "two mistakes": (
        service("web", component(image="x:latest"), component("b", "y"), more="nope = 1"),
        3,
        ("nope: unknown key", "components[0].image: ", "components[1].image: "),
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", DEFINITIONS)
def test_a_definition_that_is_wrong(shared: Rig, mistake: str) -> None:
    text, lines, words = DEFINITIONS[mistake]
    path = shared.agent.define("web", text)
    before = requests(shared)
    done = shared.agent.cli.run("deploy", "-q", "web")
    check(done, USAGE, *words, lines=lines)
    assert all(line.startswith(f"mcp: {path}: ") for line in done.errors)
    assert "s3cr3t" not in done.stderr
    assert requests(shared) == before


@pytest.mark.parametrize(
    ("command", "code"),
    [
        *(((*words, *names), USAGE) for words in (("plan",), ("sync",)) for names in ((), ("web",))),
        (("deploy", "-q", "web"), USAGE),
        (("plan", "--exit-code", "web"), FAILED),  # there 2 is for changes
    ],
)
def test_a_port_of_another_service_of_the_node(shared: Rig, command: tuple[str, ...], code: int) -> None:
    other = shared.agent.define("db", service("db", component(more='ports = ["8080:80"]')))
    path = shared.agent.define("web", service("web", component(more='ports = ["8080:80"]')))
    before = requests(shared)
    done = shared.agent.cli.run(*command)
    other.unlink()
    check(done, code, f"{path}: components[0].ports[0]: host port 8080/tcp is taken by db already, on rift")
    assert requests(shared) == before


def test_a_definition_that_cannot_be_read(shared: Rig) -> None:
    path = shared.agent.services / "web.toml"
    path.unlink(missing_ok=True)
    check(shared.agent.cli.run("deploy", "-q", "nope"), FAILED, "no definition for nope in ")
    path.mkdir()
    check(shared.agent.cli.run("deploy", "-q", "web"), USAGE, f"{path}: cannot be read: Is a directory")
    path.rmdir()
    path.write_bytes(b'name = "\xff"')
    check(shared.agent.cli.run("deploy", "-q", "web"), USAGE, f"{path}: is not UTF-8 text (byte 8)")


def test_a_node_that_is_not_there(shared: Rig) -> None:
    shared.agent.define("web", service(node="mars"))
    check(shared.agent.cli.run("deploy", "-q", "web"), FAILED, "no node named mars; ", "mcp.toml has: rift")
    check(shared.agent.cli.run("ps", "--node", "mars"), FAILED, "no node named mars")
    check(shared.agent.cli.run("stop", "web", "--node", "-x"), USAGE)


def test_a_component_that_is_not_there_fails_as_every_name_that_is_not_there(shared: Rig) -> None:
    shared.agent.define("named", service("named"))
    check(shared.agent.cli.run("deploy", "named/nope"), FAILED, "named has no component nope; its definition has: ")
    assert shared.agent.cli.run("deploy", "-q", "named").code == DONE
    for command in ("stop", "start", "restart", "undeploy", "logs"):
        check(shared.agent.cli.run(command, "named/nope"), FAILED, "named has no component nope; it has: api")
    assert shared.agent.cli.run("undeploy", "named").code == DONE
    (shared.agent.services / "named.toml").unlink()
    shared.fake.forget_calls()


def test_rows_of_a_node_that_does_not_answer_have_the_keys_of_the_others(rig: Rig) -> None:
    rig.agent.define("web", service())
    assert rig.agent.cli.run("deploy", "-q", "web").code == DONE
    rig.agent.mcp_toml.write_text(
        rig.agent.mcp_toml.read_text() + '[[nodes]]\nname = "gone"\naddress = "127.0.0.1:1"\n'
    )
    for command in (["ps"], ["list"], ["status"], ["node", "list"], ["whoami"]):
        done = rig.agent.cli.run(*command, "--json")
        found = json.loads(done.stdout)
        rows = found["components"] if command == ["status"] else found
        assert (done.code, rows[-1]["node"]) == (UNREACHABLE, "gone"), command
        assert list(rows[-1]) == list(rows[0]), command
    (rift, gone) = json.loads(rig.agent.cli.run("node", "list", "--json").stdout)
    assert (rift["services"], gone["services"]) == (1, None)


# --- the command line ---

COMMAND_LINES: dict[tuple[str, ...], str] = {
    (): "the following arguments are required",
    ("dance",): 'unknown command "dance"; known: ',
    ("dploy",): 'unknown command "dploy"; did you mean deploy?; see mcp --help',
    ("help", "nope"): 'unknown command "nope"',
    ("deploy",): "the following arguments are required",
    ("deploy", ""): "service: is missing",
    ("deploy", "--", "-x"): 'service: "-x" is not a valid name',
    ("deploy", "-x"): "see mcp",
    ("deploy", "a b"): 'service: "a b" is not a valid name',
    ("deploy", "a'b"): 'service: "a\'b" is not a valid name',
    ("deploy", 'a"b'): "is not a valid name",
    ("deploy", "a\nb"): 'service: "a\\nb" is not a valid name',
    ("deploy", "\x1b[31m"): 'service: "\\x1b[31m" is not a valid name',
    ("deploy", "../web"): 'service: ".." is not a valid name',
    ("deploy", "web/"): "component: is missing",
    ("deploy", "web/../x"): 'component: "../x" is not a valid name',
    ("deploy", "W"): "is not a valid name",
    ("deploy", "a" * 64): "is not a valid name",
    ("deploy", "a" * 100_000): "is not a valid name",
    ("deploy", "web", "more"): "unexpected argument: more; see mcp deploy --help",
    ("deploy", "web", "--nope"): 'unknown option "--nope"; see mcp deploy --help',
    ("logs", "web", "--folow"): 'unknown option "--folow"; did you mean --follow?',
    ("logs", "web", "--fol"): 'unknown option "--fol"; did you mean --follow?',
    ("node", "list", "--config", "x"): "--config belongs before the command: mcp --config … node list",
    ("deploy", "web", "\x1b[31m"): "unexpected argument: \\x1b[31m",
    ("history", "web/api"): "expected a service without /COMPONENT",
    ("logs", "web", "-n", "x"): '"x" is not a whole number from 0 to 999999999',
    ("logs", "web", "-n", "-1"): "see mcp logs --help",
    ("logs", "web", "--since", "-2h"): "see mcp logs --help",
    ("logs", "web", "--since", "yesterday"): '"yesterday": expected a duration',
    ("logs", "web", "--since", "2026-13-01T00:00:00"): "there is no such date or time of day",
    ("logs", "web", "--since", "a\nb"): '"a\\nb": expected a duration',
    ("ps", "--node", "a b"): 'node: "a b" is not a valid name',
    ("node",): "the following arguments are required",
}


@pytest.mark.parametrize("argv", COMMAND_LINES, ids=lambda argv: " ".join(argv)[:30])
def test_a_command_line_that_is_wrong(shared: Rig, argv: tuple[str, ...]) -> None:
    shared.agent.define("web", service())
    before = requests(shared)
    check(shared.agent.cli.run(*argv), USAGE, COMMAND_LINES[argv])
    assert requests(shared) == before


def test_bytes_that_are_no_text(shared: Rig) -> None:
    for argv in (["deploy", os.fsdecode(b"\xff\xfe")], ["--config", os.fsdecode(b"/nope\xff"), "ps"]):
        done = shared.agent.cli.run(*argv)
        check(done, done.code, "\\udcff")
        assert done.code in (FAILED, USAGE)


# --- the CLI's configuration ---

CONFIGURATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "not toml": ("[[nodes]", ("is not valid TOML",)),
    "an unknown section": ("[node]\n", ("node: unknown key; did you mean nodes?",)),
    "an unknown key": ('[services]\ndirectory = "x"\n', ("services.directory: unknown key",)),
    "a wrong type": ("[services]\ndir = 1\n", ("services.dir: expected a string, found an integer",)),
    "no address": ('[[nodes]]\nname = "rift"\n', ("nodes[0].address: is missing",)),
    "no port": ('[[nodes]]\nname = "rift"\naddress = "10.0.0.1"\n', ("nodes[0].address: ", "expected HOST:PORT")),
    "an address with spaces": ('[[nodes]]\nname = "r"\naddress = "a b:1"\n', ("expected HOST:PORT",)),
    "a bad node name": ('[[nodes]]\nname = "-r"\naddress = "a:1"\n', ('nodes[0].name: "-r" must be',)),
    "a node twice": ('[[nodes]]\nname = "r"\naddress = "a:1"\n' * 2, ('nodes: 2 of them are called "r"',)),
    "an ssh option": ('[[nodes]]\nname = "r"\naddress = "a:1"\nssh = "-oProxyCommand=x"\n', ("an ssh destination",)),
    "an architecture": ('[[nodes]]\nname = "r"\naddress = "a:1"\narch = "mips"\n', ("is not amd64 or arm64",)),
    "a path with NUL": ('[auth]\ntoken_path = "a\\u0000b"\n', ("auth.token_path: ", "cannot contain NUL")),
}  # fmt: skip


@pytest.mark.parametrize("mistake", CONFIGURATIONS)
def test_a_configuration_that_is_wrong(tmp_path: Path, mistake: str) -> None:
    text, words = CONFIGURATIONS[mistake]
    (tmp_path / "mcp.toml").write_text(text)
    check(Cli(tmp_path / "mcp.toml").run("ps"), USAGE, *words)


def test_no_configuration(tmp_path: Path) -> None:
    check(Cli(tmp_path / "mcp.toml").run("ps"), USAGE, f"{tmp_path}/mcp.toml: no such file; ")
    check(Cli(tmp_path).run("ps"), USAGE, f"{tmp_path}: cannot be read: Is a directory")
    check(Cli(tmp_path / ("x" * 300)).run("ps"), FAILED, "File name too long")


def test_a_ca_that_is_none(shared: Rig, tmp_path: Path) -> None:
    config = shared.agent.mcp_toml.read_text()
    for content, words in ((None, ": cannot be read: No such file"), (b"hello", " contains no PEM certificate")):
        if content is not None:
            (tmp_path / "ca.pem").write_bytes(content)
        (tmp_path / "mcp.toml").write_text(
            config.replace(str(shared.agent.home.folder / "ca.pem"), f"{tmp_path}/ca.pem")
        )
        done = Cli(tmp_path / "mcp.toml", env={"MCP_TOKEN": shared.agent.token}).run("ps")
        check(done, USAGE, f"{tmp_path}/mcp.toml: ca_cert: {tmp_path}/ca.pem{words}")


def test_a_ca_that_is_damaged(shared: Rig, tmp_path: Path) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (tmp_path / "ca.pem").write_text(pem)
    (tmp_path / "mcp.toml").write_text(
        shared.agent.mcp_toml.read_text().replace(str(shared.agent.home.folder / "ca.pem"), f"{tmp_path}/ca.pem")
    )
    done = Cli(tmp_path / "mcp.toml", env={"MCP_TOKEN": shared.agent.token}).run("ps")
    check(done, done.code)
    assert done.code in (USAGE, UNREACHABLE)


# --- tokens ---


def test_a_token_that_is_missing(shared: Rig, tmp_path: Path) -> None:
    (tmp_path / "mcp.toml").write_text(shared.agent.mcp_toml.read_text())
    cli, path = Cli(tmp_path / "mcp.toml"), tmp_path / "token"
    check(cli.run("ps"), AUTH, f"no token in {path}; create a token with `mcp-agent token add`")
    path.touch(mode=0o600)
    check(cli.run("ps"), AUTH, f"{path} is empty")
    path.write_text(shared.agent.token)
    path.chmod(0o644)
    check(cli.run("ps"), FAILED, f"{path}: others can read it (mode 0644); run: chmod 600 {path}")
    path.chmod(0o600)
    assert cli.run("ps").code == DONE
    path.write_bytes(b"\xff")
    check(cli.run("ps"), FAILED, f"{path}: not a token file")
    path.unlink()
    path.mkdir()
    check(cli.run("ps"), FAILED, f"{path}: cannot be read: Is a directory")


def test_a_token_that_is_not_accepted(shared: Rig) -> None:
    home = shared.agent.home
    revoked, expired = home.new_token("revoked"), home.new_token("expired", "--expires", "1ms")
    guest = home.new_token("guest", "--role", "guest")
    assert home.token("revoke", "revoked").code == 0
    shared.agent.define("web", service())
    for token, words in (
        ("wrong", "rift: invalid token; put a valid token into MCP_TOKEN"),
        (revoked, "rift: invalid token; put a valid token into MCP_TOKEN"),
        (expired, "rift: the token of expired expired at 20"),
        (guest, "rift: guest has the role guest, which may not use MCP"),
        ("a b", "invalid token: empty, or contains"),
        ("a\nb", "invalid token: empty, or contains"),
        ("é", "invalid token: empty, or contains"),
    ):
        for argv in (["ps"], ["deploy", "web"], ["logs", "web"]):
            done = shared.agent.cli.run(*argv, env={"MCP_TOKEN": token})
            check(done, AUTH, words)
            assert token not in done.stderr or token in ("wrong", "guest", "a b", "é", "a\nb")
    assert changes(shared) == []


# --- podman ---


def test_podman_is_missing(rig: Rig) -> None:
    rig.agent.define("web", service())
    assert rig.agent.cli.run("deploy", "-q", "web").code == DONE
    rig.agent.stop()
    rig.agent.env = {**rig.agent.env, "PATH": _path_without_podman(rig)}
    rig.restart()
    words = "podman was not found on PATH; install podman on the node"
    check(rig.agent.cli.run("deploy", "-q", "web"), FAILED, f"mcp: rift: {words}")
    check(rig.agent.cli.run("stop", "web"), FAILED, words)
    check(rig.agent.cli.run("ps"), FAILED, words)
    check(rig.agent.cli.run("logs", "web"), FAILED, words)
    done = rig.agent.cli.run("node", "list")
    assert (done.code, words in done.stdout) == (DONE, True)
    assert 'msg="cannot use podman"' in rig.agent.log()
    assert rig.fake.running() == {"web-api": WEB}


def _path_without_podman(rig: Rig) -> str:
    folder = rig.agent.home.folder / "few"
    folder.mkdir()
    (folder / "setpriv").symlink_to("/usr/bin/setpriv")
    return str(folder)


def test_podman_hangs(rig: Rig) -> None:
    rig.agent.define("web", service())
    assert rig.agent.cli.run("deploy", "-q", "web").code == DONE
    before = rig.fake.lives()
    rig.agent.stop()
    rig.agent.home.write_config(settle="100ms", runtime_timeout="500ms")
    rig.restart()
    rig.fake.misbehave("hang")
    check(rig.agent.cli.run("ps"), FAILED, "rift: podman ps --all: did not end within 0.5 s")
    check(rig.agent.cli.run("deploy", "-q", "web"), FAILED, "mcp: rift: podman ", "did not end within 0.5 s")
    check(rig.agent.cli.run("logs", "web"), FAILED, "did not end within 0.5 s")
    wait_for(lambda: rig.fake.processes() == [])  # the agent asks by itself, too, every now and then
    assert rig.fake.lives() == before
    rig.fake.behave()
    rig.fake.misbehave("hang", ["ps"], stubborn=True)
    check(rig.agent.cli.run("ps"), FAILED, "did not end within 0.5 s")
    wait_for(lambda: rig.fake.processes() == [])  # the agent asks by itself, too, every now and then


@pytest.mark.parametrize("quiet", [["-q"], []])  # without, the steps are streamed
def test_the_agent_dies_in_the_middle_of_a_deploy(rig: Rig, quiet: list[str]) -> None:
    rig.agent.define("web", service())
    rig.fake.misbehave("hang", ["run"])
    cli = rig.agent.cli.popen("deploy", *quiet, "web")
    wait_for(lambda: "running" in rig.agent.cli.run("history", "web").stdout, what="a deploy under way")
    rig.agent.kill()
    _, said = cli.communicate(timeout=30)
    assert cli.returncode == UNREACHABLE
    assert [line for line in said.splitlines() if line.startswith("mcp: ")] == [
        f"mcp: rift: connection to {rig.agent.address} lost before a response; "
        "the change may have been applied: see mcp status"
    ]


def test_podman_hangs_in_the_middle_of_a_deploy(rig: Rig) -> None:
    rig.agent.stop()
    rig.agent.home.write_config(settle="100ms", runtime_timeout="2s")
    rig.restart()
    rig.agent.define("web", service())
    assert rig.agent.cli.run("deploy", "-q", "web").code == DONE
    rig.agent.define("web", service("web", component("api", WEB2)))
    for argv, times, after in ((["rename"], 1, []), (["run"], 1, []), (["inspect", "--type=container"], 2, ["run"])):
        rig.fake.misbehave("hang", argv, times=times, after=after)  # one of the two looks is for the logs
        check(
            rig.agent.cli.run("deploy", "-q", "web"), FAILED, f"podman {argv[0]}", "did not end within ", "runs again"
        )
        assert rig.fake.running() == {"web-api": WEB}


@pytest.mark.parametrize("how", ["garbage", "endless", "an object", "a list of numbers", "nothing"])
def test_podman_prints_nonsense(rig: Rig, how: str) -> None:
    rig.agent.define("web", service())
    assert rig.agent.cli.run("deploy", "-q", "web").code == DONE
    texts = {"an object": "{}", "a list of numbers": "[1, 2]", "nothing": ""}
    for argv in (["ps"], ["inspect"], ["version"]):
        if how in texts:
            rig.fake.misbehave("print", argv, message=texts[how], code=0)
        else:
            rig.fake.misbehave(how, argv)
    words = "printed more than 32 MiB" if how == "endless" else "podman"
    check(rig.agent.cli.run("ps"), FAILED, "mcp: rift: ", words)
    check(rig.agent.cli.run("deploy", "-q", "web"), FAILED, "mcp: rift: ", words)
    assert rig.agent.cli.run("node", "list").code == DONE
    assert rig.fake.running() == {"web-api": WEB}
    rig.fake.behave()
    assert rig.agent.cli.run("deploy", "-q", "web").code == DONE
    assert rig.fake.running() == {"web-api": WEB}


def test_podmans_own_words_stay_one_line(rig: Rig) -> None:
    rig.agent.define("web", service())
    rig.fake.misbehave("fail", ["run"], message="first\nsecond \x1b[31mred\aover", code=126)
    check(
        rig.agent.cli.run("deploy", "-q", "web"), FAILED, "web/api: podman run --detach: second \\x1b[31mred\\x07over"
    )


def test_nothing_of_an_unauthenticated_try_is_left(shared: Rig, template: Home, ca: KeyPair, tmp_path: Path) -> None:
    """Another agent's token, for the same CA: refused, and podman is never asked."""
    other = copy_home(template, tmp_path / "other")
    before = requests(shared)
    token = other.new_token("elsewhere")
    shared.agent.define("web", service())
    check(shared.agent.cli.run("deploy", "-q", "web", env={"MCP_TOKEN": token}), AUTH, "invalid token")
    assert requests(shared) == before
