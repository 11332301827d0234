"""The node's part of an upgrade, deploy/switch-agent.sh, with stand-ins for systemd: agents, registry and kills."""

import hashlib
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.store.registry import Registry
from agent.store.schema import MIGRATIONS
from mcp.shared.resources import ROOT
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState

# An agent of this tree, of another version, with more migrations; `serve` stands for the start by systemd.
AGENT = """\
#!{python} -I
import sys
sys.path[:0] = {path!r}
from agent.store import schema
schema.MIGRATIONS += ("CREATE TABLE novel (x INTEGER) STRICT",) * {migrations}
from pathlib import Path
words = sys.argv[1:]
if words == ["version"]:
    print("mcp-agent {version}")
elif words == ["serve"]:
    from agent.store.registry import Registry
    from mcp.shared.errors import McpError
    try:
        Registry(Path({database!r})).close()
    except McpError as error:
        sys.exit(str(error))
    sys.exit("no way to serve" if {crashes} else 0)
elif words[0] == "restore" and not {restores}:
    sys.exit('unknown command "restore"')
else:
    from agent.main import main
    sys.exit(main([words[0], "--config", {config!r}, *words[1:]]))
"""
SYSTEMCTL = """\
#!/bin/sh
show() {
    case $1 in
    --property=ExecStart) echo '{ path=/srv/mcp/mcp-agent ; argv[]=x }' ;;
    --property=ActiveState) case $3 in mcp-agent.service) cat $T/state ;; *) echo inactive ;; esac ;;
    --property=StatusText) cat $T/status ;;
    --property=LoadState) echo loaded ;;
    --property=MainPID) echo 1 ;;
    esac
}
begin() {
    if $T/home/mcp-agent serve 2>$T/journal; then
        echo active >$T/state
        $T/home/mcp-agent version | sed 's/mcp-agent/serving/' >$T/status
    else
        echo failed >$T/state
        exit 1
    fi
}
case $1 in
show) shift; show "$@" ;;
stop) echo inactive >$T/state ;;
start) test "$(cat $T/state)" = active || begin ;;
restart) begin ;;
esac
"""
FAKES = {
    "systemctl": SYSTEMCTL,
    "journalctl": '#!/bin/sh\ntest "$1" = --sync || cat $T/journal\n',
    "setpriv": '#!/bin/sh\nwhile test "$1" != --; do shift; done\nshift\nexec "$@"\n',
    "id": "#!/bin/sh\necho 850\n",
}
# Ends the script when it has called this often; the command itself is still carried out, or not any more.
MORTAL = """\
#!/bin/sh
n=$(cat $T/calls); echo $((n + 1)) >$T/calls
if test "$n" = "$(cat $T/dies)"; then kill -9 $(cat $T/pid); exit 1; fi
exec {command} "$@"
"""
CONFIG = """\
[server]
grpc_addr = "127.0.0.1:9444"
tls_cert = "{home}/cert.pem"
tls_key = "{home}/key.pem"
[database]
path = "{home}/mcp.db"
[agent]
node_name = "rift"
"""


@dataclass
class NodeFolder:
    """What the script sees of a node, below one folder."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def database(self) -> Path:
        return self.home / "mcp.db"

    def agent(
        self, name: str, version: str, *, migrations: int = 0, crashes: bool = False, restores: bool = True
    ) -> str:
        """Write an agent file, and return its checksum."""
        path = [str(ROOT), *(part for part in sys.path if part.endswith("site-packages"))]
        text = AGENT.format(
            python=sys.executable,
            path=path,
            database=str(self.database),
            config=str(self.home / "mcp-agent.toml"),
            version=version,
            migrations=migrations,
            crashes=crashes,
            restores=restores,
        )
        (self.home / name).write_text(text)
        (self.home / name).chmod(0o755)
        return hashlib.sha256(text.encode()).hexdigest()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the script in a mode."""
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        begin = 'echo $$ >"$1/pid"; shift; exec /bin/sh "$@"'
        argv = ["/bin/sh", "-c", begin, "sh", str(self.folder), str(self.folder / "switch.sh"), *words]
        return subprocess.run(argv, env={"PATH": path}, capture_output=True, text=True, timeout=120, check=False)

    def switch(self, sha256: str, version: str) -> dict[str, str]:
        """Switch to the staged file; return the result."""
        self.run("switch", "1", sha256, version, "10")
        return self.result()

    def run_agent(self, *words: str) -> str:
        """Run a command of the agent; return its output."""
        argv = [str(self.home / "mcp-agent"), *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout

    def result(self) -> dict[str, str]:
        lines = (self.folder / "switched/result").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def serving(self) -> str:
        """The version that systemd reports, or its state."""
        state = (self.folder / "state").read_text().strip()
        return (self.folder / "status").read_text().strip() if state == "active" else state

    def files(self) -> set[str]:
        return {path.name for path in self.home.iterdir() if path.name.startswith(("mcp-agent", ".mcp"))}

    def schema(self) -> int:
        with closing(sqlite3.connect(self.database)) as db:
            return int(db.execute("PRAGMA user_version").fetchone()[0])

    def services(self) -> list[str]:
        registry = Registry(self.database)
        try:
            return [row.service for row in registry.components.select()]
        finally:
            registry.close()

    def deploy(self, service: str) -> None:
        """Register a service as any agent would, whatever the schema."""
        with closing(sqlite3.connect(self.database)) as db, db:
            db.execute(
                "INSERT INTO components (service, container, name, position, spec, desired_state, deployed_at)"
                " SELECT ?1, ?1, name, position, spec, desired_state, deployed_at FROM components LIMIT 1",
                (service,),
            )


@pytest.fixture
def node(tmp_path: Path) -> NodeFolder:
    """A node whose agent 1.0.0 serves, with the service web in its registry."""
    for name in ("home", "bin", "units/multi-user.target.wants", "switched"):
        (tmp_path / name).mkdir(parents=True)
    for name, text in FAKES.items():
        (tmp_path / "bin" / name).write_text(text.replace("$T", str(tmp_path)))
        (tmp_path / "bin" / name).chmod(0o755)
    text = (ROOT / "deploy/switch-agent.sh").read_text()
    for old, new in (
        ("home=/srv/mcp\n", f"home={tmp_path}/home\n"),
        ("state=/var/lib/mcp-agent-switch\n", f"state={tmp_path}/switched\n"),
        ("/etc/systemd/system/", f"{tmp_path}/units/"),
        ("settle=2 ", "settle=0 "),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "switch.sh").write_text(text)
    made = NodeFolder(tmp_path)
    (made.home / "mcp-agent.toml").write_text(CONFIG.format(home=made.home))
    made.agent("mcp-agent", "1.0.0")
    registry = Registry(made.database)
    registry.components.put("web", 0, ComponentSpec("api", "localhost/x:1"), DesiredState.RUNNING)
    registry.close()
    (tmp_path / "state").write_text("active\n")
    (tmp_path / "status").write_text("serving 1.0.0\n")
    return made


OLD_SCHEMA, NEW_SCHEMA = len(MIGRATIONS), len(MIGRATIONS) + 1
KEPT = {"mcp-agent", "mcp-agent.toml"}


def test_an_agent_that_migrates_and_then_fails_leaves_the_old_one_with_its_registry(node: NodeFolder) -> None:
    sha256 = node.agent("mcp-agent.new", "2.0.0", migrations=1, crashes=True)
    result = node.switch(sha256, "2.0.0")
    assert (result["state"], result["registry"]) == ("rolled-back", "restored")
    assert result["why"] == "it did not start: no way to serve"
    assert node.serving() == "serving 1.0.0"
    assert (node.schema(), node.services()) == (OLD_SCHEMA, ["web"])
    assert node.files() == KEPT


def test_an_old_agent_that_cannot_put_its_registry_back_gets_it_from_the_new_one(node: NodeFolder) -> None:
    node.agent("mcp-agent", "1.0.0", restores=False)
    result = node.switch(node.agent("mcp-agent.new", "2.0.0", migrations=1, crashes=True), "2.0.0")
    assert (result["state"], result["registry"], node.serving()) == ("rolled-back", "restored", "serving 1.0.0")
    assert (node.schema(), node.services(), node.files()) == (OLD_SCHEMA, ["web"], KEPT)

    assert node.switch(node.agent("mcp-agent.new", "2.0.0", migrations=1), "2.0.0")["state"] == "upgraded"
    os.link(node.home / "mcp-agent.prev", node.home / "mcp-agent.new")
    result = node.switch(hashlib.sha256((node.home / "mcp-agent.new").read_bytes()).hexdigest(), "1.0.0")
    assert (result["state"], result["registry"], node.serving()) == ("upgraded", "restored", "serving 1.0.0")
    assert (node.schema(), node.services()) == (OLD_SCHEMA, ["web"])


def test_a_registry_that_cannot_be_put_back_is_kept_and_said(node: NodeFolder) -> None:
    node.agent("mcp-agent", "1.0.0", restores=False)
    sha256 = node.agent("mcp-agent.new", "2.0.0", migrations=1, crashes=True, restores=False)
    result = node.switch(sha256, "2.0.0")
    assert (result["state"], node.serving()) == ("no-agent", "failed")
    copy = node.home / "mcp-agent.before.db"
    assert re.fullmatch(
        r"it did not start: no way to serve; and the old agent does not start: .* was written by a newer mcp-agent .*; "
        r'its registry was not put back: unknown command "restore"; mend that, then: systemctl stop mcp-agent; '
        rf"mcp-agent restore {copy}; systemctl start mcp-agent",
        result["why"],
    )
    assert node.files() == {*KEPT, copy.name}
    node.agent("mcp-agent", "1.0.0")
    assert node.run_agent("restore", str(copy)) == "restored\n"
    assert (node.schema(), node.services()) == (OLD_SCHEMA, ["web"])

    # one that has migrated nothing needs no copy
    (node.folder / "state").write_text("inactive\n")
    node.agent("mcp-agent", "1.0.0", restores=False)
    result = node.switch(node.agent("mcp-agent.new", "2.0.0", crashes=True, restores=False), "2.0.0")
    assert (result["state"], result["why"]) == ("rolled-back", "it did not start: no way to serve")


def test_an_agent_that_fails_without_a_migration_leaves_the_registry_alone(node: NodeFolder) -> None:
    before = node.database.stat().st_ino
    result = node.switch(node.agent("mcp-agent.new", "2.0.0", crashes=True), "2.0.0")
    assert (result["state"], result["registry"], node.serving()) == ("rolled-back", "", "serving 1.0.0")
    assert node.database.stat().st_ino == before


def test_a_rollback_puts_back_the_registry_that_its_agent_left(node: NodeFolder) -> None:
    new = node.agent("mcp-agent.new", "2.0.0", migrations=1)
    old = hashlib.sha256((node.home / "mcp-agent").read_bytes()).hexdigest()
    assert node.switch(new, "2.0.0")["state"] == "upgraded"
    assert (node.serving(), node.schema()) == ("serving 2.0.0", NEW_SCHEMA)
    assert node.files() == {*KEPT, "mcp-agent.prev", "mcp-agent.prev.db"}
    assert (node.home / "mcp-agent.prev.db").stat().st_mode & 0o777 == 0o600

    node.deploy("later")
    os.link(node.home / "mcp-agent.prev", node.home / "mcp-agent.new")
    result = node.switch(old, "1.0.0")
    assert (result["state"], result["registry"], node.serving()) == ("upgraded", "restored", "serving 1.0.0")
    assert (node.schema(), node.services()) == (OLD_SCHEMA, ["web"])
    registry = Registry(node.database)
    assert registry.restores.last().notes is None  # type: ignore[union-attr]  # None fails the test as well
    registry.close()

    # and forth again: the newer agent can read what the older one has written, so nothing is lost
    node.deploy("last")
    os.link(node.home / "mcp-agent.prev", node.home / "mcp-agent.new")
    result = node.switch(new, "2.0.0")
    assert (result["state"], result["registry"], node.serving()) == ("upgraded", "", "serving 2.0.0")
    with closing(sqlite3.connect(node.database)) as db:
        assert [row[0] for row in db.execute("SELECT service FROM components ORDER BY service")] == ["last", "web"]


def test_a_rollback_that_fails_returns_to_the_newer_agent_with_its_registry(node: NodeFolder) -> None:
    assert node.switch(node.agent("mcp-agent.new", "2.0.0", migrations=1), "2.0.0")["state"] == "upgraded"
    node.deploy("later")
    sha256 = node.agent("mcp-agent.prev", "1.0.0", crashes=True)
    os.link(node.home / "mcp-agent.prev", node.home / "mcp-agent.new")
    result = node.switch(sha256, "1.0.0")
    assert (result["state"], result["registry"], node.serving()) == ("rolled-back", "restored", "serving 2.0.0")
    assert node.schema() == NEW_SCHEMA
    with closing(sqlite3.connect(node.database)) as db:
        assert [row[0] for row in db.execute("SELECT service FROM components ORDER BY service")] == ["later", "web"]


def test_a_registry_that_cannot_be_copied_stops_the_switch(node: NodeFolder) -> None:
    node.database.write_bytes(b"no database" * 1000)
    result = node.switch(node.agent("mcp-agent.new", "2.0.0"), "2.0.0")
    assert result["state"] == "failed"
    assert re.fullmatch(
        r"cannot copy the registry: mcp-agent: .*mcp\.db: is not a database, or is damaged; .*", result["why"]
    )
    assert node.files() == KEPT


def test_a_node_without_a_registry_is_upgraded(node: NodeFolder) -> None:
    node.database.unlink()
    assert node.switch(node.agent("mcp-agent.new", "2.0.0"), "2.0.0")["state"] == "upgraded"
    assert node.files() == {*KEPT, "mcp-agent.prev"}


@pytest.mark.parametrize("crashes", [True, False])
def test_a_switch_that_is_killed_anywhere_ends_with_an_agent_and_a_registry_that_fit(
    node: NodeFolder, crashes: bool
) -> None:
    for command in ("mv", "ln", "systemctl"):
        real = node.folder / "bin" / f"real-{command}"
        if (node.folder / "bin" / command).exists():
            (node.folder / "bin" / command).rename(real)
        else:
            real = Path("/usr/bin", command)
        mortal = MORTAL.replace("$T", str(node.folder)).format(command=real)
        (node.folder / "bin" / command).write_text(mortal)
        (node.folder / "bin" / command).chmod(0o755)
    calls, dies = node.folder / "calls", node.folder / "dies"
    for moment in range(100):
        for name in ("mcp-agent.prev", "mcp-agent.prev.db"):
            (node.home / name).unlink(missing_ok=True)
        dies.write_text("-1\n")
        calls.write_text("0\n")
        node.agent("mcp-agent", "1.0.0")
        if node.schema() != OLD_SCHEMA:
            node.database.unlink()
            registry = Registry(node.database)
            registry.components.put("web", 0, ComponentSpec("api", "localhost/x:1"), DesiredState.RUNNING)
            registry.close()
        (node.folder / "state").write_text("active\n")
        (node.folder / "status").write_text("serving 1.0.0\n")
        dies.write_text(f"{moment}\n")
        sha256 = node.agent("mcp-agent.new", "2.0.0", migrations=1, crashes=crashes)
        deadline = 1 if crashes else 60
        handed_over = f"id=1\nstate=handed-over\nsha256={sha256}\nto=2.0.0\ndeadline={deadline}\n"
        (node.folder / "switched/result").write_text(handed_over)
        died = node.run("switch", "1", sha256, "2.0.0", str(deadline)).returncode == -9
        dies.write_text("-1\n")
        if died:
            node.run("stopped")
            node.run("resume")
        state, serving = node.result()["state"], node.serving()
        assert state in ({"rolled-back"} if crashes else {"rolled-back", "upgraded"}), (
            moment,
            node.result(),
            node.files(),
        )
        assert serving == ("serving 2.0.0" if state == "upgraded" else "serving 1.0.0"), moment
        assert node.schema() == (NEW_SCHEMA if state == "upgraded" else OLD_SCHEMA), moment
        with closing(sqlite3.connect(node.database)) as db:
            assert db.execute("SELECT service FROM components").fetchall() == [("web",)], moment
        assert node.files() - {"mcp-agent.prev", "mcp-agent.prev.db"} == KEPT, moment
        if int(calls.read_text()) <= moment:
            break
    else:
        pytest.fail("the switch never ended")
