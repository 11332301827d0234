"""Definitions, registry and podman compared: plan says what sync does, and afterwards there is nothing to do."""

import json

import pytest

from tests.agents import Outcome
from tests.component.conftest import Rig
from tests.component.definitions import TWO, component, route, service
from tests.component.fakes import FAIL, WEB, WEB2

NOTHING = "nothing to do: nodes match the definitions\n"


def planned(rig: Rig, *args: str) -> list[tuple[str, str]]:
    """Component and action of each change, from the JSON; the exit codes must fit."""
    done = rig.agent.cli.run("plan", *args, "--json")
    changes = json.loads(done.stdout)
    assert done.code == 0, done
    pending = any(change["action"] not in ("keep", "ignore") for change in changes)
    assert rig.agent.cli.run("plan", *args, "--exit-code").code == (2 if pending else 0)
    return [(f"{change['service']}/{change['component']}", change["action"]) for change in changes]


def ok(done: Outcome) -> str:
    assert (done.code, done.stderr) == (0, "")
    return done.stdout


def test_nothing_is_to_do_where_nothing_is_defined(rig: Rig) -> None:
    assert ok(rig.agent.cli.run("plan")) == NOTHING


def test_what_was_just_deployed_needs_nothing(rig: Rig) -> None:
    rig.agent.define("web", TWO)
    assert planned(rig) == [("web/api", "create"), ("web/work", "create")]
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert ok(rig.agent.cli.run("plan")) == NOTHING
    assert ok(rig.agent.cli.run("plan", "web")) == NOTHING


def test_what_service_show_prints_deploys_the_same(rig: Rig) -> None:
    more = 'env = ["A=1"]\n[components.health]\ncmd = ["true"]\n'
    rig.agent.define("web", service("web", component("api", more=more), component("work")))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    before = rig.fake.lives()
    shown = rig.agent.cli.run("service", "show", "web").stdout
    assert 'interval = "30s"' in shown
    rig.agent.define("web", shown)
    plan = rig.agent.cli.run("plan", "--exit-code")
    assert (plan.code, plan.stdout) == (0, "nothing to do: nodes match the definitions\n")
    done = rig.agent.cli.run("deploy", "-q", "web")
    assert (done.code, done.stdout) == (0, "web/api: up to date on rift\nweb/work: up to date on rift\n")
    assert rig.fake.lives() == before
    exported = rig.agent.cli.run("service", "export", "web")
    assert exported.stdout == f"web: unchanged in {rig.agent.services}/web.toml\n"
    rig.agent.define("web", shown.replace('stop_timeout = "10s"', 'stop_timeout = "20s"', 1))
    assert rig.agent.cli.run("plan").stdout == "replace  web/api on rift (stop_timeout: 10s -> 20s)\n"


def test_a_plan_says_why_and_shows_no_secret(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", more='env = ["KEY=hunter2", "OLD=x"]')))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", service("web", component("api", WEB2, 'env = ["KEY=hunter3", "NEW=y"]')))
    done = rig.agent.cli.run("plan")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == (
        f"replace  web/api on rift (image: {WEB} -> {WEB2}; env: NEW added, OLD removed, KEY changed)\n"
    )


def test_sync_does_what_plan_says_and_twice_changes_nothing(rig: Rig) -> None:
    rig.agent.define("web", TWO)
    rig.agent.define("other", service("other"))
    dry = rig.agent.cli.run("sync", "--dry-run", "--exit-code")
    assert dry == Outcome((*dry.argv,), 2, rig.agent.cli.run("plan").stdout, "")
    assert rig.agent.cli.run("sync", "--dry-run").code == 0
    assert rig.fake.containers() == {}
    out = ok(rig.agent.cli.run("sync"))
    assert "other on rift: api: created (is not deployed)\n" in out
    assert "web on rift: api: created (is not deployed); work: created (is not deployed)\n" in out
    before = rig.fake.lives()
    assert set(before) == {"web-api", "web-work", "other-api"}
    assert ok(rig.agent.cli.run("plan")) == NOTHING
    rows = json.loads(ok(rig.agent.cli.run("sync", "--json")))
    assert [(row["service"], row["changed"], row["summary"]) for row in rows] == [
        ("other", False, "up to date"),
        ("web", False, "up to date"),
    ]
    assert rig.fake.lives() == before


def test_drift_of_every_kind_is_seen_and_mended(rig: Rig) -> None:
    rig.agent.define("web", TWO)
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    ok(rig.agent.cli.run("stop", "-q", "web/work"))
    assert planned(rig) == [("web/work", "start")]
    rig.fake.change(containers=[each for each in rig.fake.state["containers"] if each["name"] != "web-api"])
    assert planned(rig) == [("web/api", "create"), ("web/work", "start")]
    ok(rig.agent.cli.run("sync"))
    assert set(rig.fake.running()) == {"web-api", "web-work"}
    assert planned(rig) == []


def test_what_was_stopped_by_mcp_is_said_to_be_stopped(rig: Rig) -> None:
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    ok(rig.agent.cli.run("stop", "-q", "web"))
    assert "(was stopped)" in rig.agent.cli.run("plan").stdout  # as `ps` has it, and not `exited`


def test_a_tag_that_names_another_image_now(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", "example.net/app:v1")))
    rig.fake.add_image("example.net/app:v1")
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert ok(rig.agent.cli.run("deploy", "-q", "web")) == "web/api: up to date on rift\n"
    rig.fake.add_image("example.net/app:v1", code=9)
    assert planned(rig) == [("web/api", "replace")]
    assert ok(rig.agent.cli.run("deploy", "-q", "web")) == "web/api: deployed on rift\n"
    assert planned(rig) == []


def test_a_container_that_somebody_else_made_is_not_taken_for_ours(rig: Rig) -> None:
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    (container,) = rig.fake.state["containers"]
    rig.fake.change(containers=[{**container, "labels": {}, "id": "a" * 64}])
    assert planned(rig) == [("web/api", "replace")]
    ok(rig.agent.cli.run("sync"))
    assert planned(rig) == []


def test_a_service_without_a_definition_is_kept_and_shown_as_ignored(rig: Rig) -> None:
    rig.agent.define("web", TWO)
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    path = rig.agent.define("web", TWO)
    path.unlink()
    assert planned(rig) == [("web/api", "ignore"), ("web/work", "ignore")]
    remove = "remove it with `mcp undeploy --node rift web`"
    (line, _) = ok(rig.agent.cli.run("plan")).splitlines()
    assert line == f"ignore   web/api on rift (the service has no definition; left unchanged; {remove})"
    (line,) = ok(rig.agent.cli.run("sync")).splitlines()
    assert "work: ignored" in line
    assert line.endswith(f"; {remove}")
    assert set(rig.fake.running()) == {"web-api", "web-work"}
    rows = json.loads(ok(rig.agent.cli.run("ps", "--json")))
    assert {row["component"]: row["desired"] for row in rows} == {"api": "ignore", "work": "ignore"}
    assert planned(rig) == []
    for verb, done in (("stop", "stopped"), ("start", "started"), ("restart", "restarted"), ("undeploy", "undeployed")):
        assert ok(rig.agent.cli.run(verb, "-q", "web/work")) == f"web/work: {done} on rift\n"
    assert set(rig.fake.containers()) == {"web-api"}
    rig.agent.define("web", service("web", component("api")))
    assert planned(rig) == [("web/api", "register")]
    ok(rig.agent.cli.run("sync"))
    assert planned(rig) == []


KEPT = "although it was removed from the definition; remove it with"


def test_a_component_that_was_removed_from_the_definition_is_said_to_be_kept(rig: Rig) -> None:
    rig.agent.define("web", TWO)
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", service("web", component("api")))
    assert planned(rig, "web") == planned(rig) == [("web/work", "keep")]
    command = "`mcp undeploy --node rift web/work`"
    assert ok(rig.agent.cli.run("plan")) == (
        f"keep     web/work on rift (removed from the definition; remove it with `mcp sync --prune web` or {command})\n"
    )
    assert ok(rig.agent.cli.run("deploy", "-q", "web")).splitlines() == [
        "web/api: up to date on rift",
        f"web/work: kept on rift, {KEPT} {command}",
    ]
    assert ok(rig.agent.cli.run("sync")).splitlines() == [
        "web on rift: up to date",
        f"web on rift: work is kept, {KEPT} `mcp sync --prune web` or {command}",
    ]
    assert set(rig.fake.running()) == {"web-api", "web-work"}
    assert json.loads(ok(rig.agent.cli.run("status", "--json")))["components"][1]["desired"] == "running"
    assert ok(rig.agent.cli.run("logs", "web/work")) == "worker: starting\n"
    for verb, done in (("stop", "stopped"), ("start", "started"), ("restart", "restarted"), ("undeploy", "undeployed")):
        assert ok(rig.agent.cli.run(verb, "-q", "web/work")) == f"web/work: {done} on rift\n"
    assert set(rig.fake.containers()) == {"web-api"}
    assert planned(rig) == []


@pytest.mark.parametrize("command", [("deploy", "-q"), ("sync",)])
def test_prune_removes_what_was_removed_from_the_definition(rig: Rig, command: tuple[str, ...]) -> None:
    rig.agent.define("web", TWO)
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", service("web", component("api", WEB2)))
    assert planned(rig, "--prune") == [("web/api", "replace"), ("web/work", "remove")]
    assert set(rig.fake.running()) == {"web-api", "web-work"}
    rig.fake.forget_calls()
    ok(rig.agent.cli.run(*command, "--prune", "web"))
    assert rig.fake.running() == {"web-api": WEB2}
    verbs = [(argv[0], "web-work" in argv) for argv in rig.fake.commands()]
    assert [verb for verb, _ in verbs if verb in ("run", "rm")] == ["rm", "run", "rm", "rm"]
    assert planned(rig) == []
    rows = json.loads(ok(rig.agent.cli.run("ps", "--json")))
    assert [row["component"] for row in rows] == ["api"]


def test_prune_is_for_whole_services(rig: Rig) -> None:
    rig.agent.define("web", TWO)
    done = rig.agent.cli.run("deploy", "--prune", "web/api")
    assert (done.code, done.errors) == (2, ["mcp: --prune is for whole services; name web without a component"])


def test_a_service_that_is_not_active_is_stopped(rig: Rig) -> None:
    rig.agent.define("web", service())
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", service(more="active = false"))
    assert planned(rig) == [("web/api", "stop")]
    ok(rig.agent.cli.run("sync"))
    assert rig.fake.running() == {}
    assert planned(rig) == []


def test_sync_goes_on_after_a_service_that_fails(rig: Rig) -> None:
    rig.agent.define("bad", service("bad", component("api", FAIL, 'restart = "no"')))
    rig.agent.define("web", service("web", component("api", more=route())))
    done = rig.agent.cli.run("sync")
    assert done.code == 1
    assert "web on rift: api: created (is not deployed)" in done.stdout
    (line,) = done.errors
    assert line.startswith("mcp: bad on rift: api: the new container ended with exit code 3")
    assert planned(rig) == [("bad/api", "create")]


def test_no_error_of_plan_looks_like_changes(rig: Rig) -> None:
    rig.agent.define("web", 'name = "web"\nnode = "rift"\n')
    for args, code in (
        (("plan",), 2),
        (("sync", "--dry-run"), 2),
        (("plan", "nothing"), 1),
        (("plan", "--node", "nowhere"), 2),
        (("plan", "--nonsense"), 2),
    ):
        done = rig.agent.cli.run(*args)
        assert (done.code, done.stdout) == (code, "")
        assert all(line.startswith("mcp: ") for line in done.errors)
        assert rig.agent.cli.run(*args, "--exit-code") == Outcome((*args, "--exit-code"), 1, "", done.stderr)
    assert rig.agent.cli.run("sync").code == 2
    done = rig.agent.cli.run("sync", "--exit-code")
    assert (done.code, done.errors) == (1, ["mcp: --exit-code is only for --dry-run; add --dry-run"])
    rig.agent.define("web", TWO)
    rig.agent.mcp_toml.write_text(
        rig.agent.mcp_toml.read_text() + '[[nodes]]\nname = "orion"\naddress = "127.0.0.1:1"\n'
    )
    done = rig.agent.cli.run("plan", "web", "--node", "orion")
    assert (done.code, done.errors) == (2, ["mcp: web is defined for rift, not for orion; omit --node"])
    assert rig.agent.cli.run("sync", "web", "--node", "orion").code == 2
    assert rig.agent.cli.run("plan", env={"MCP_TOKEN": "wrong"}).code == 3
    assert rig.agent.cli.run("plan", "--exit-code", env={"MCP_TOKEN": "wrong"}).code == 1


def test_a_node_that_does_not_answer_is_an_error_of_plan(rig: Rig) -> None:
    rig.agent.mcp_toml.write_text(
        rig.agent.mcp_toml.read_text() + '[[nodes]]\nname = "gone"\naddress = "127.0.0.1:1"\n'
    )
    done = rig.agent.cli.run("plan")
    assert done.code == 4
    assert rig.agent.cli.run("plan", "--exit-code").code == 1
    assert len(done.errors) == 1
    assert "127.0.0.1:1 refuses the connection" in done.errors[0]
    assert rig.agent.cli.run("sync").code == 4


def test_an_image_that_is_pinned_by_its_digest(rig: Rig) -> None:
    rig.fake.add_image("example.net/app:v1")
    digest = rig.fake.digest("example.net/app:v1")
    rig.agent.define("web", service("web", component("api", f"example.net/app:v1@{digest}")))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert rig.fake.running() == {"web-api": f"example.net/app@{digest}"}
    assert [row["version"] for row in json.loads(ok(rig.agent.cli.run("list", "--json")))] == ["v1"]
    assert planned(rig) == []
    assert ok(rig.agent.cli.run("deploy", "-q", "web")) == "web/api: up to date on rift\n"
    rig.fake.add_image("example.net/app:v2")
    rig.agent.define("web", service("web", component("api", f"example.net/app@sha256:{'0' * 64}")))
    assert planned(rig) == [("web/api", "replace")]
    assert "and cannot be pulled" in rig.agent.cli.run("deploy", "-q", "web").stderr
    assert rig.fake.running() == {"web-api": f"example.net/app@{digest}"}
