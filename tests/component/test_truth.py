"""What is shown is what runs; a damaged or lost registry is said, and what it still has is served."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.agents import Outcome, agent_env, run_program
from tests.component.conftest import Rig
from tests.component.definitions import TWO, component, service
from tests.component.fakes import WEB, WEB2
from tests.waiting import wait_for

SECRET = "hunter2-and-more"
DAMAGED = "the registry's entry of web/api is damaged; deploy the service again, or undeploy the component"


def ok(done: Outcome) -> str:
    assert (done.code, done.stderr) == (0, "")
    return done.stdout


def rows(rig: Rig, *command: str) -> dict[str, dict[str, Any]]:
    """The components that a command prints, by name."""
    answer = json.loads(rig.agent.cli.run(*command, "--json").stdout)
    components = answer["components"] if isinstance(answer, dict) else answer
    return {row["component"]: row for row in components}


def monitored(rig: Rig) -> None:
    """Restart the agent with a monitor that looks often."""
    rig.agent.stop()
    rig.agent.home.write_config(settle="50ms", more='[monitor]\ninterval = "100ms"\n')
    rig.restart()


# --- what runs ---


def by_hand(rig: Rig, name: str, **facts: object) -> None:
    """Remove a container and run another one in its place, as with podman's own commands."""
    containers = rig.fake.state["containers"]
    rig.fake.change(containers=[{**each, **facts} if each["name"] == name else each for each in containers])


def test_another_version_run_by_hand_is_shown_and_is_drift(rig: Rig) -> None:
    rig.agent.define("web", TWO)
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    by_hand(rig, "web-api", id="b" * 64, image=WEB2, labels={})
    for command, state in (("ps", "state"), ("status", "observed")):
        row = rows(rig, command)["api"]
        assert (row[state], row["version"], row["image"]) == ("running", "2.0.0", WEB2)
        assert row["registered_image"] == WEB
        assert row["differences"] == [
            "its container was not created by MCP",
            "runs mcp-web:2.0.0, registered 1.0.0",
        ]
        assert rows(rig, command)["work"]["differences"] == []
    assert rows(rig, "status")["api"]["drift"] is True
    assert rows(rig, "list")["api"]["version"] == "1.0.0"
    page = ok(rig.agent.cli.run("status", "web"))
    assert "web on rift: 2 of 2 running, drift in 1 of 2" in page
    assert "  api: running; its container was not created by MCP; runs mcp-web:2.0.0, registered 1.0.0" in page
    assert "runs mcp-web:2.0.0, registered 1.0.0" in ok(rig.agent.cli.run("ps"))
    assert rig.agent.cli.run("status", "--check").code == 2
    plan = rig.agent.cli.run("plan").stdout
    assert "replace  web/api" in plan
    assert "runs mcp-web:2.0.0, registered 1.0.0" in plan
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert rows(rig, "ps")["api"]["differences"] == []
    assert rig.agent.cli.run("status", "--check").code == 0


def test_the_monitor_alerts_for_it(rig: Rig) -> None:
    monitored(rig)
    rig.agent.define("web", service("web"))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    by_hand(rig, "web-api", id="b" * 64, image=WEB2, labels={})
    wait_for(lambda: "registered 1.0.0" in rig.agent.log())
    assert "msg=alert" in rig.agent.log()


# --- a damaged row ---


def damage(database: Path, sql: str, *values: object) -> None:
    """Change a cell as a disk does: without the triggers, by which writers are known."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=60)) as db:
        db.execute("BEGIN IMMEDIATE")
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        assert db.execute(sql, values).rowcount == 1
        for _, made in triggers:
            db.execute(made)
        db.execute("COMMIT")


@pytest.mark.parametrize("spec", [b"\xff" + SECRET.encode(), b'{"name": "api", "image": "localhost/other:1"}'])
def test_one_damaged_row_is_unreadable_and_the_others_are_served(rig: Rig, spec: bytes) -> None:
    cli = rig.agent.cli
    rig.agent.define("web", service("web", component(more=f'env = ["PASSWORD={SECRET}"]'), component("work")))
    rig.agent.define("shop", service("shop"))
    for name in ("web", "shop"):
        ok(cli.run("deploy", "-q", name))
    damage(rig.agent.home.database, "UPDATE components SET spec = CAST(? AS TEXT) WHERE name = 'api' AND service = 'web'", spec)  # fmt: skip # noqa: E501
    rig.agent.kill()
    containers = [{**each, "state": "exited", "exit_code": 137} for each in rig.fake.state["containers"]]
    rig.fake.change(containers=containers)
    rig.restart()
    wait_for(lambda: {"web-work", "shop-api"} <= set(rig.fake.running()))
    assert "web-api" not in rig.fake.running()

    answer = json.loads(cli.run("ps", "--json").stdout)
    states = {f"{row['service']}/{row['component']}": row["state"] for row in answer}
    assert states == {"web/api": "unreadable", "web/work": "running", "shop/api": "running"}
    row = rows(rig, "status", "web")["api"]
    assert (row["desired"], row["observed"], row["drift"]) == ("unknown", "unreadable", True)
    assert "unreadable" in ok(cli.run("ps"))
    assert rows(rig, "list", "--node", "rift")["work"]["desired"] == "running"
    wait_for(lambda: "1 damaged row of the table components" in cli.run("status").stderr)
    assert cli.run("status", "--check").code == 2
    assert "its entry in the registry is damaged" in cli.run("plan").stdout
    for command in ("start", "stop", "restart"):
        done = cli.run(command, "web/api")
        assert (done.code, done.errors) == (1, [f"mcp: rift: {DAMAGED}"])
    assert cli.run("restart", "-q", "web").stdout == "web/work: restarted on rift\n"
    assert DAMAGED in cli.run("agent", "recover", "rift").stderr
    assert cli.run("logs", "web/api").code == 0
    assert SECRET not in rig.agent.log()

    ok(cli.run("deploy", "-q", "web"))
    assert rows(rig, "ps")["api"]["state"] == "running"
    assert "nothing to do" in cli.run("plan").stdout


def test_a_damaged_component_can_be_undeployed_and_purged(rig: Rig) -> None:
    rig.agent.define("web", TWO)
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    for name in ("api", "work"):
        damage(rig.agent.home.database, "UPDATE components SET spec = 'nonsense' WHERE name = ?", name)
    done = rig.agent.cli.run("undeploy", "-q", "web/api")
    assert (done.code, done.stdout) == (0, "web/api: undeployed on rift\n")
    assert set(rig.fake.running()) == {"web-work"}
    rig.fake.change(containers=[])
    (rig.agent.mcp_toml.parent / "services" / "web.toml").unlink()
    done = rig.agent.cli.run("purge", "web/work")
    assert done.code == 1, "podman lists nothing at all"
    assert rig.agent.cli.run("undeploy", "web").code == 0
    assert rows(rig, "status") == {}


# --- a registry that is gone ---


def test_a_removed_registry_is_noticed_read_and_can_be_put_back(rig: Rig) -> None:
    monitored(rig)
    cli, home = rig.agent.cli, rig.agent.home
    rig.agent.define("web", service("web"))
    ok(cli.run("deploy", "-q", "web"))
    for left in home.database.parent.glob("mcp.db*"):
        if left.suffix != ".lock":
            left.unlink()
    wait_for(lambda: "was removed while the agent runs" in cli.run("status").stderr)
    assert cli.run("status", "--check").code == 2
    assert rows(rig, "ps")["api"]["state"] == "running"
    for command in (["stop", "web"], ["deploy", "--force", "web"], ["undeploy", "web"]):
        done = cli.run(*command)
        assert done.code == 1
        assert "was removed while the agent runs, so nothing can be changed; stop the agent, put" in done.stderr
    assert rig.fake.running() == {"web-api": WEB}
    wait_for(lambda: "msg=alert" in rig.agent.log() and ".rescued-" in rig.agent.log())
    (copy,) = home.database.parent.glob("mcp.db.rescued-*")

    argv = [*home.command, "restore", "--config", str(home.config), str(copy)]
    assert "is in use by another mcp-agent" in run_program(argv, env=agent_env(home.folder), timeout=60).stderr
    rig.agent.stop()
    assert run_program(argv, env=agent_env(home.folder), timeout=60).stdout == "restored\n"
    rig.restart()
    assert rows(rig, "ps")["api"]["state"] == "running"
    assert cli.run("stop", "-q", "web").code == 0


def test_a_second_agent_is_refused_by_the_registry_itself(rig: Rig) -> None:
    home = rig.agent.home
    other = home.folder / "other"
    other.mkdir()
    (other / "mcp.db").hardlink_to(home.database)
    config = other / "mcp-agent.toml"
    config.write_text(home.config.read_text().replace(str(home.database), str(other / "mcp.db")))
    for file in home.config.parent.glob("*.pem"):
        shutil.copy(file, other)
    done = run_program([*home.command, "server", "--config", str(config)], env=agent_env(home.folder), timeout=60)
    assert done.code == 1
    assert done.errors == [f"mcp-agent: {other}/mcp.db is in use by another mcp-agent; stop it first"]
