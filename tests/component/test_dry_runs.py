"""What a dry run announces is what the real run then does, component by component."""

import json
from typing import Any

from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import WEB2

Rows = list[dict[str, Any]]


def rows(rig: Rig, *args: str) -> Rows:
    """The JSON of a command that must not have failed."""
    done = rig.agent.cli.run(*args, "--json")
    assert done.code in (0, 2), done
    assert "mcp: " not in done.stderr
    listed: Rows = json.loads(done.stdout)
    return listed


def names(listed: Rows) -> list[str]:
    return [f"{row['service']}/{row['component']}" for row in listed]


def mixed(rig: Rig) -> None:
    """A service with a component to replace, one to start, one to create, and one that is up to date."""
    components = [component(name) for name in ("changed", "stopped", "gone", "same")]
    rig.agent.define("web", service("web", *components))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    assert rig.agent.cli.run("stop", "web/stopped").code == 0
    rig.fake.change(containers=[each for each in rig.fake.state["containers"] if each["name"] != "web-gone"])
    rig.agent.define("web", service("web", component("changed", WEB2), *components[1:]))


def test_deploy(rig: Rig) -> None:
    mixed(rig)
    announced = rows(rig, "deploy", "web", "--dry-run")
    assert [row["action"] for row in announced] == ["replace", "start", "create"]
    done = rows(rig, "deploy", "web")
    assert names(announced) == names([row for row in done if not row["unchanged"]])


def test_deploy_of_what_is_up_to_date(rig: Rig) -> None:
    mixed(rig)
    rows(rig, "deploy", "web")
    for options in ([], ["--force"]):
        announced = rows(rig, "deploy", "web/same", *options, "--dry-run")
        done = rows(rig, "deploy", "web/same", *options)
        assert names(announced) == names([row for row in done if not row["unchanged"]])


def test_sync(rig: Rig) -> None:
    mixed(rig)
    rig.agent.define("off", service("off"))
    rows(rig, "deploy", "off")
    rig.agent.define("off", service("off", more="active = false"))
    announced = rows(rig, "sync", "--dry-run")
    parts = [f"{row['service']}: {part}" for row in rows(rig, "sync") for part in row["summary"].split("; ")]
    words = {"create": "created", "replace": "replaced", "start": "started", "stop": "stopped"}
    assert sorted(parts) == sorted(
        f"{row['service']}: {row['component']}: {words[row['action']]} ({', '.join(row['reasons'])})"
        for row in announced
    )


def test_rollback(rig: Rig) -> None:
    mixed(rig)
    rows(rig, "deploy", "web")
    announced = rows(rig, "rollback", "web", "--dry-run")
    assert names(announced) == ["web/changed"]
    assert names([row for row in rows(rig, "rollback", "web") if not row["unchanged"]]) == ["web/changed"]


def test_recover(rig: Rig) -> None:
    mixed(rig)
    announced, done = (rows(rig, "agent", "recover", "rift", *options) for options in (["--dry-run"], []))
    assert [{**row, "done": True} for row in announced] == done
    assert [row["action"] for row in done] == ["none", "create", "none"]


def test_purge(rig: Rig) -> None:
    mixed(rig)
    (rig.agent.services / "web.toml").unlink()
    rig.agent.define("db", service("db"))
    announced, done = (rows(rig, "purge", *options) for options in (["--dry-run"], []))
    assert [{**row, "purged": row["eligible"]} for row in announced] == done
    assert [(row["component"], row["purged"]) for row in done] == [
        *(("changed", False), ("stopped", True), ("gone", True), ("same", False))
    ]
    tables = [rig.agent.cli.run("purge", *options).stdout.splitlines() for options in (["--dry-run"], [])]
    assert len(tables[0]) == len(tables[1])


def test_adopt(rig: Rig) -> None:
    mixed(rig)
    containers = rig.fake.state["containers"]
    rig.fake.change(
        containers=[{**each, "name": each["name"].replace("web", "shop"), "labels": {}} for each in containers]
    )
    announced, done = (rows(rig, "adopt", "shop", *options) for options in (["--dry-run"], []))
    assert [{**row, "adopted": True} for row in announced] == done
    assert names(done) == ["shop/changed", "shop/same", "shop/stopped"]
