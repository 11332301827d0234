"""`mcp service edit` and `show`, `mcp node add|remove`: the CLI as a process, editors that are small scripts."""

import json
import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest

from tests.agents import Cli, Outcome
from tests.component.definitions import component, service

DONE, FAILED, USAGE = range(3)
CONFIG = '# my fleet\n[[nodes]]\nname = "rift"\naddress = "127.0.0.1:1"\n\n# paths\n[services]\ndir = "defs"\n'


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The CLI with one node, and one definition, web."""
    (tmp_path / "defs").mkdir()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "mcp.toml").write_text(CONFIG)
    (tmp_path / "defs" / "web.toml").write_text(service("web", more="# mine"))
    (tmp_path / "defs" / "web.toml").chmod(0o640)
    return Cli(tmp_path / "mcp.toml", env={"TMPDIR": str(tmp_path / "tmp")})


def editor(cli: Cli, script: str) -> dict[str, str]:
    """The environment with an editor that runs this shell script on the file $1."""
    path = cli.config.parent / "my editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"EDITOR": f"'{path}'"}


def web(cli: Cli) -> Path:
    """The definition of web."""
    return cli.config.parent / "defs" / "web.toml"


def copies(cli: Cli) -> list[Path]:
    """The copies that were left behind."""
    return list((cli.config.parent / "tmp").iterdir())


def check(done: Outcome, code: int, *words: str) -> None:
    """The exit code, and words of what was said; errors are lines that begin `mcp: `."""
    assert done.code == code, done
    assert all(line.startswith("mcp: ") for line in done.errors), done
    for word in words:
        assert word in done.stdout + done.stderr, done


# --- edit ---


def test_a_change_is_written_and_the_mode_kept(cli: Cli) -> None:
    done = cli.run("service", "edit", "web", env=editor(cli, 'sed -i "s/mine/yours/" "$1"'))
    check(done, DONE, f"web: written to {web(cli)}; deploy it with `mcp deploy web`")
    assert web(cli).read_text() == service("web", more="# yours")
    assert web(cli).stat().st_mode & 0o777 == 0o640
    assert copies(cli) == []


def test_visual_comes_before_editor_and_vi_last(cli: Cli) -> None:
    env = editor(cli, "exit 1")
    check(cli.run("service", "edit", "web", env={**env, "VISUAL": "true"}), DONE, "web: unchanged")
    vi = cli.config.parent / "vi"
    vi.symlink_to("/bin/true")
    check(cli.run("service", "edit", "web", env={"PATH": str(vi.parent), "EDITOR": " "}), DONE, "web: unchanged")
    assert copies(cli) == []


def test_mistakes_leave_the_original_and_the_copy(cli: Cli) -> None:
    before = web(cli).read_bytes()
    done = cli.run("service", "edit", "web", env=editor(cli, "printf 'nope = 1\\nactive = 3\\n' >> \"$1\""))
    (copy,) = copies(cli)
    check(done, USAGE, "unknown key", f"{copy}: {web(cli)} is unchanged; this copy has your version")
    assert web(cli).read_bytes() == before
    assert copy.read_bytes().startswith(before)
    assert copy.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("exit 3", FAILED, "failed (exit status 3); nothing was changed"),
        ('echo x >> "$1"; exit 3', FAILED, "nothing was changed; it left "),
        ("kill -9 $$", FAILED, "failed (exit status -9)"),
        ('rm "$1"', FAILED, "the editor removed "),
        ('sed -i "s/\\"web\\"/\\"other\\"/" "$1"', USAGE, 'name: is "other", but this is the definition of web'),
        ('printf "\\377" > "$1"', USAGE, "is not UTF-8 text"),
        (': > "$1"', USAGE, "name: is missing"),
    ],
)
def test_editors_that_go_wrong(cli: Cli, script: str, code: int, words: str) -> None:
    before = web(cli).read_bytes()
    check(cli.run("service", "edit", "web", env=editor(cli, script)), code, words)
    assert web(cli).read_bytes() == before


def test_an_interrupt_is_the_editors(cli: Cli) -> None:
    done = cli.run("service", "edit", "web", env=editor(cli, 'kill -INT $PPID; sed -i "s/mine/yours/" "$1"'))
    check(done, DONE, "web: written to")


def test_a_folder_that_cannot_be_made(cli: Cli) -> None:
    cli.config.write_text(CONFIG.replace('"defs"', '"/proc/nope"'))
    done = cli.run("service", "edit", "web", env=editor(cli, 'echo "# x" >> "$1"'))
    check(done, FAILED, "/proc/nope: cannot be created: ", f"your version is {copies(cli)[0]}")


def test_editors_that_do_not_start(cli: Cli) -> None:
    run = ("service", "edit", "web")
    check(cli.run(*run, env={"EDITOR": "no-such-editor -x"}), FAILED, "no-such-editor was not found", "set EDITOR")
    check(cli.run(*run, env={"EDITOR": "/etc/passwd"}), FAILED, "/etc/passwd cannot be started: Permission denied")
    check(cli.run(*run, env={"VISUAL": "vi 'x"}), FAILED, "VISUAL: unbalanced quotes")
    assert copies(cli) == []


def test_a_change_of_somebody_else_is_not_overwritten(cli: Cli) -> None:
    theirs = service("web", more="# theirs")
    done = cli.run(
        "service", "edit", "web", env=editor(cli, f"sed -i s/mine/yours/ \"$1\"; cat > '{web(cli)}' <<E\n{theirs}E")
    )
    (copy,) = copies(cli)
    check(done, FAILED, "was changed by another process meanwhile", str(copy))
    assert web(cli).read_text() == theirs
    assert "# yours" in copy.read_text()


def test_a_new_service_gets_a_template(cli: Cli) -> None:
    new = cli.config.parent / "defs" / "new.toml"
    check(
        cli.run("service", "edit", "new", env={"EDITOR": "true"}),
        DONE,
        "the template is unchanged; nothing was written",
    )
    assert not new.exists()
    check(cli.run("service", "edit", "new", env=editor(cli, 'echo "# done" >> "$1"')), DONE, "new: written to")
    assert new.stat().st_mode & 0o777 == 0o600
    assert "registry.example.net/new:v1.0.0" in cli.run("service", "show", "new").stdout
    everything = editor(cli, 'sed -Ei \'s/^# ([[a-z])/\\1/; s/^(A service)/# \\1/\' "$1"; cat "$1" >&2')
    done = cli.run("service", "edit", "full", env=everything)
    assert done.code == DONE, done
    shown = cli.run("service", "show", "full").stdout
    assert 'hostname = "docs.example.net"' in shown
    assert 'start_period = "20s"' in shown
    assert "active = false" in shown


def test_a_link_stays_a_link(cli: Cli) -> None:
    real = cli.config.parent / "real.toml"
    web(cli).rename(real)
    web(cli).symlink_to(real)
    check(cli.run("service", "edit", "web", env=editor(cli, 'sed -i "s/mine/yours/" "$1"')), DONE)
    assert web(cli).is_symlink()
    assert "# yours" in real.read_text()


def test_an_unknown_node_is_noted(cli: Cli) -> None:
    done = cli.run("service", "edit", "web", env=editor(cli, 'sed -i s/rift/mars/ "$1"'))
    check(done, DONE, "has no node mars; `mcp node add` adds one", "web: written to")


@pytest.mark.parametrize(
    ("answer", "code"), [("y\n", DONE), ("\n", DONE), ("n\n", FAILED), ("\x03", FAILED), ("\x04", FAILED)]
)
def test_on_a_terminal_one_may_edit_again(cli: Cli, answer: str, code: int) -> None:
    script = 'grep -q nope "$1" && sed -i "s/nope = 1/# better/" "$1" || echo "nope = 1" >> "$1"'
    master, slave = pty.openpty()
    env = cli.environment(editor(cli, script))
    argv = ["setsid", "--ctty", *cli.command, "service", "edit", "web"]  # so that ^C means something
    with subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=cli.cwd) as process:
        os.close(slave)
        said = read_until(master, "Edit again? [Y/n] ")
        os.write(master, answer.encode())
        # Python may miss a ^C between a prompt and the reading of its answer; people press it again
        while answer == "\x03" and _still_runs(process, 2.0):
            os.write(master, answer.encode())
        assert process.wait(60) == code
        said += read_until(master, "")
    os.close(master)
    assert "nope: unknown key" in said
    assert ("# better" in web(cli).read_text()) == (code == DONE)
    assert len(copies(cli)) == (0 if code == DONE else 1)
    assert ("nothing was changed; your version is" in said) == (code == FAILED)


def _still_runs(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def read_until(terminal: int, words: str) -> str:
    """What is written to the terminal until these words; to its end where there are none."""
    said, end = "", time.monotonic() + 60
    while time.monotonic() < end and not (words and words in said):
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            said += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # how Linux says that nobody has the other side open
            break
    return said


# --- show ---


def test_mcp_edit_is_service_edit(cli: Cli) -> None:
    done = cli.run("edit", "web", env=editor(cli, 'sed -i "s/mine/yours/" "$1"'))
    check(done, DONE, f"web: written to {web(cli)}")
    assert "# yours" in web(cli).read_text()
    check(cli.run("edit", "web/api"), USAGE, "see mcp edit --help")


def test_service_list(cli: Cli) -> None:
    two = service("two", component("api"), component("db"), node="orion", more="active = false")
    (web(cli).parent / "two.toml").write_text(two)
    table = (
        "SERVICE  NODE   ACTIVE  COMPONENTS\n"  #
        "two      orion  no      api,db\n"
        "web      rift   yes     api\n"
    )
    done = cli.run("service", "list")
    assert (done.code, done.stdout, done.stderr) == (DONE, table, "")
    first, second = json.loads(cli.run("service", "list", "--json").stdout)
    assert first == {"service": "two", "node": "orion", "active": False, "components": ["api", "db"]}
    assert second["components"] == ["api"]
    (web(cli).parent / "bad.toml").write_text("[")
    done = cli.run("service", "list")
    assert (done.code, done.stdout) == (USAGE, table)
    check(done, USAGE, "bad.toml")


def test_show(cli: Cli) -> None:
    done = cli.run("service", "show", "web")
    assert "# container: web-api\n" in done.stdout
    for line in (
        'restart = "unless-stopped"',
        'log_max_size = "32m"',
        'stop_timeout = "10s"',
        'network = ""  # podman\'s',
    ):
        assert f"{line}\n" in done.stdout
    assert json.loads(cli.run("service", "show", "web", "--json").stdout)["components"][0]["log_max_size"] == "32m"
    assert '"container": "web-api"' in cli.run("service", "show", "web", "--json").stdout
    check(cli.run("service", "show", "nope"), FAILED, "no definition for nope in", "defined services: web")
    check(cli.run("service", "show", "web/api"), USAGE, "expected a service without /COMPONENT")
    check(cli.run("service"), USAGE, "see mcp service --help")
    web(cli).write_text(service("web", component(image="x")))
    check(cli.run("service", "show", "web"), USAGE, "components[0].image")


# --- nodes ---


def test_nodes_are_added_and_removed(cli: Cli) -> None:
    cli.config.chmod(0o640)
    added = (
        '\n[[nodes]]\nname = "orion"\naddress = "[fd00::1]:9444"\nssh = "deploy@orion"\narch = "arm64"\nsudo = "doas"\n'
    )
    options = ("--ssh", "deploy@orion", "--arch", "arm64", "--sudo", "doas")
    check(cli.run("node", "add", "orion", "[fd00::1]:9444", *options), DONE, f"orion: added to {cli.config}")
    assert cli.config.read_text() == CONFIG.replace('1:1"\n', f'1:1"\n{added}')
    check(cli.run("node", "remove", "orion"), DONE, f"orion: removed from {cli.config}")
    assert cli.config.read_text() == CONFIG
    assert cli.config.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("add", "rift", "a:1"), FAILED, "node rift already exists; remove it with `mcp node remove rift`"),
        (("add", "b", "a"), USAGE, 'address: "a": expected HOST:PORT'),
        (("add", "b", "a:1\n[auth]"), USAGE, "address: "),
        (("add", "B", "a:1"), USAGE, 'node: "B" is not a valid name'),
        (("add", "b"), USAGE, "ADDRESS; see mcp node add --help"),
        (("add", "b", "a:1", "--ssh=-oProxyCommand=x"), USAGE, "ssh: "),
        (("add", "b", "a:1", "--arch", "s390"), USAGE, "argument --arch: invalid choice: 's390'"),
        (("remove", "mars"), FAILED, "no node named mars; "),
        (("remove", "rift"), FAILED, "rift is the node of web; undeploy or move them first, or use --force"),
        (("remove", ""), USAGE, "node: is missing"),
    ],
)
def test_mistakes_with_nodes(cli: Cli, argv: tuple[str, ...], code: int, words: str) -> None:
    check(cli.run("node", *argv), code, words)
    assert cli.config.read_text() == CONFIG


def test_a_node_with_services_can_be_forced_out(cli: Cli) -> None:
    web(cli).write_text("node = [")
    check(cli.run("node", "remove", "rift"), USAGE, f"{web(cli)}: is not valid TOML")
    check(cli.run("node", "remove", "rift", "--force"), DONE)
    assert cli.config.read_text() == '# my fleet\n\n# paths\n[services]\ndir = "defs"\n'


def test_two_at_once_both_count(cli: Cli) -> None:
    names = [f"n{number}" for number in range(6)]
    running = [cli.popen("node", "add", name, f"{name}:1") for name in names]
    assert [process.wait(30) for process in running] == [DONE] * len(names)
    for process in running:
        process.communicate()
    for name in names:
        assert f'name = "{name}"\n' in cli.config.read_text()


def test_mistakes_that_only_building_minds_are_told_by_show_and_edit_alone(cli: Cli) -> None:
    text = f"path = 5\n{service('web')}[build]\ntag = 'x'\n"
    web(cli).write_text(text)
    told = (f"mcp: {web(cli)}: path: expected a string, found an integer", "build.tag: unknown key")
    for done in (cli.run("service", "show", "web"), cli.run("service", "show", "web", "--json")):
        check(done, USAGE, *told)
        assert "localhost/mcp-web" in done.stdout
    check(
        cli.run("service", "edit", "web", env=editor(cli, 'echo "# x" >> "$1"')), USAGE, "path: expected", "build.tag: "
    )
    for command in (("deploy", "web"), ("ps",), ("logs", "web"), ("plan",), ("status", "web")):
        done = cli.run(*command, env={"MCP_TOKEN": "a-token"})
        assert "127.0.0.1:1" in done.stderr, done
        assert "expected a string" not in done.stderr, done
