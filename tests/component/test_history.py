"""Every deploy is a row of history, and one that worked can be gone back to."""

import json
import re
import sqlite3

import pytest

from tests.agents import Outcome
from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import FAIL, IMAGES, WEB, WEB2
from tests.component.test_move import NEW, Pair, pair
from tests.component.wire import connected, request_for

__all__ = ["pair"]


def ok(done: Outcome) -> str:
    assert (done.code, done.stderr) == (0, "")
    return done.stdout


def deploy(rig: Rig, image: str) -> Outcome:
    rig.agent.define("web", service("web", component("api", image, 'restart = "no"')))
    return rig.agent.cli.run("deploy", "-q", "web")


def test_who_deployed_what_when_and_how_it_went(rig: Rig) -> None:
    ok(deploy(rig, WEB))
    assert deploy(rig, FAIL).code == 1
    rows = json.loads(ok(rig.agent.cli.run("history", "web", "--json")))
    assert [(row["number"], row["user"], row["result"], row["images"]) for row in rows] == [
        (2, "kyle", "failed", {"api": FAIL}),
        (1, "kyle", "done", {"api": WEB}),
    ]
    assert "exit code 3" in rows[0]["error"]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", rows[1]["digests"]["api"])
    table = ok(rig.agent.cli.run("history", "web", "-n", "1")).splitlines()
    assert len(table) == 2
    assert table[0].split() == ["NUMBER", "WHEN", "USER", "RESULT", "COMPONENT", "VERSIONS", "ERROR"]
    assert table[1].split()[:6:3] == ["2", "kyle"]
    assert ok(rig.agent.cli.run("history", "nothing", "--node", "rift", "--json")) == "[]\n"


def test_history_holds_no_values_of_variables(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", more='env = ["KEY=hunter2"]')))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert "hunter2" not in ok(rig.agent.cli.run("history", "web", "--json"))
    assert "hunter2" not in rig.agent.log()


def test_one_deploy_is_shown_whole(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", more='env = ["KEY=hunter2"]'), component("work", FAIL)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 1
    (listed,) = json.loads(ok(rig.agent.cli.run("history", "web", "--json")))
    assert len(listed["error"]) > 60
    lines = ok(rig.agent.cli.run("history", "web", "show", "1")).splitlines()
    assert lines[0] == "deploy:    1 of web on rift"
    assert "result:    failed" in lines
    assert f"error:     {listed['error']}" in lines
    assert 'env = ["KEY=***"]' in lines
    assert f'image = "{FAIL}"' in lines
    shown = json.loads(ok(rig.agent.cli.run("history", "web", "show", "1", "--json")))
    assert {**shown, "definition": None} == listed
    assert shown["definition"].splitlines() == lines[lines.index('name = "web"') :]
    done = rig.agent.cli.run("history", "web", "show", "7")
    assert (done.code, done.errors) == (1, ["mcp: web has no deploy 7; see mcp history web"])
    assert ok(rig.agent.cli.run("history", "show", "1")).splitlines() == lines


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("web", "show"), 2, "show needs the number of a deploy; as in mcp history web show 3"),
        (("web", "3"), 2, 'unexpected argument "3"; use mcp history web show N'),
        (("web", "shwo", "3"), 2, 'unexpected argument "shwo"; use mcp history web show N'),
        (("web", "show", "0"), 1, "web has no deploy 0; see mcp history web"),
        (("show", "0"), 1, "no service has a deploy 0; see mcp history SERVICE"),
        (("show", "7"), 1, "no service has a deploy 7; see mcp history SERVICE"),
    ],
)
def test_deploys_that_cannot_be_shown(rig: Rig, words: tuple[str, ...], code: int, line: str) -> None:
    done = rig.agent.cli.run("history", *words)
    assert (done.code, done.stdout, done.errors) == (code, "", [f"mcp: {line}"])


def test_a_number_that_several_nodes_have_needs_the_service(pair: Pair) -> None:
    pair.define("other", service("other"), NEW)
    ok(pair.cli.run("deploy", "-q", "other"))
    done = pair.cli.run("history", "show", "1")
    assert (done.code, done.errors) == (
        2,
        ["mcp: there is a deploy 1 of web on rift and other on rift2; use mcp history SERVICE show 1"],
    )
    for words in (("other", "show", "1"), ("show", "1", "--node", NEW)):
        assert ok(pair.cli.run("history", *words)).splitlines()[0] == "deploy:    1 of other on rift2"


def test_a_deploy_that_breaks_a_rule_of_today_can_be_shown_and_exported(rig: Rig) -> None:
    ok(deploy(rig, WEB))
    ok(deploy(rig, WEB2))
    rig.agent.stop()
    with sqlite3.connect(rig.agent.home.database) as database:
        database.execute("UPDATE deploys SET definition = replace(definition, 'localhost/', '')")
        database.execute("UPDATE components SET spec = replace(spec, 'localhost/', '')")
    database.close()
    rig.restart()
    problem = 'components[0].image: "mcp-web:1.0.0" names no registry; write localhost/mcp-web:1.0.0 for an image of'
    done = rig.agent.cli.run("rollback", "-q", "web")
    assert (done.code, done.stdout) == (1, "")
    (line,) = done.errors
    assert line.startswith(f"mcp: rift: deploy 1 of web breaks a rule of today: {problem}")
    assert line.endswith("; correct its definition, see mcp history web show 1, and deploy that")
    assert 'image = "mcp-web:1.0.0"' in ok(rig.agent.cli.run("history", "web", "show", "1")).splitlines()
    done = rig.agent.cli.run("service", "export", "web", "-o", "-")
    assert done.code == 1
    assert f'image = "{WEB2.removeprefix("localhost/")}"' in done.stdout.splitlines()
    (line,) = done.errors
    assert line.startswith("mcp: web: components[0].image: ")
    assert line.endswith("; correct the definition before its next deploy")


def test_a_rollback_changes_what_nobody_sees(rig: Rig) -> None:
    """The values of variables stay on the node: two deploys that differ in nothing else are different deploys."""
    definition = rig.agent.services / "web.toml"
    for value in ("first", "second"):
        rig.agent.define("web", service("web", component("api", more=f'env = ["KEY={value}"]')))
        ok(rig.agent.cli.run("deploy", "-q", "web"))
    plan = rig.agent.cli.run("rollback", "--dry-run", "web")
    assert (plan.code, plan.stderr) == (0, "web.toml differs: `mcp sync` undoes the rollback unless you change it\n")
    assert plan.stdout == "replace  web/api on rift (env: KEY changed)\n"
    assert rig.agent.cli.run("rollback", "-q", "web").stdout == "web/api: rolled back to deploy 1 on rift\n"
    assert "KEY=first" in rig.agent.cli.run("service", "export", "web", "--with-env", "-o", "-").stdout
    definition.write_text(definition.read_text().replace("second", "first"))
    assert rig.agent.cli.run("rollback", "-q", "--to", "1", "web").stderr == ""
    with connected(rig.agent) as wire:
        entries = wire.call("History", request_for("History", service="web")).responses[0].entries
    assert {tuple(entry.definition.components[0].env) for entry in entries} == {("KEY",)}


def test_rollback_after_an_undeploy_goes_to_what_was_undeployed(rig: Rig) -> None:
    ok(deploy(rig, WEB))
    ok(deploy(rig, WEB2))
    assert deploy(rig, FAIL).code == 1
    ok(rig.agent.cli.run("undeploy", "-q", "web"))
    assert rig.agent.cli.run("rollback", "-q", "web").stdout == "web/api: rolled back to deploy 2 on rift\n"
    assert rig.fake.running() == {"web-api": WEB2}
    assert rig.agent.cli.run("rollback", "-q", "web").stdout == "web/api: rolled back to deploy 1 on rift\n"
    assert rig.fake.running() == {"web-api": WEB}


def test_rollback_counts_what_deploys_of_one_component_left_running(rig: Rig) -> None:
    both = [service("web", component("api", image), component("work", image)) for image in (WEB, WEB2)]
    rig.agent.define("web", both[0])
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", both[1])
    ok(rig.agent.cli.run("deploy", "-q", "web/api"))
    running = {"web-api": WEB2, "web-work": WEB}
    assert rig.fake.running() == running
    for undeployed in ("web/work", "web"):
        ok(rig.agent.cli.run("undeploy", "-q", undeployed))
        assert rig.agent.cli.run("rollback", "-q", "web").code == 0
        assert rig.fake.running() == running
    assert rig.agent.cli.run("rollback", "-q", "web").code == 0
    assert rig.fake.running() == {"web-api": WEB, "web-work": WEB}


def test_rollback_mends_what_a_deploy_that_failed_in_part_has_changed(rig: Rig) -> None:
    for images in ((WEB, WEB), (WEB2, WEB2), (WEB, FAIL)):
        rig.agent.define("web", service("web", component("api", images[0]), component("work", images[1])))
        rig.agent.cli.run("deploy", "-q", "web")
    assert rig.fake.running() == {"web-api": WEB, "web-work": WEB2}
    done = rig.agent.cli.run("rollback", "-q", "web")
    assert done.stdout == "web/api: rolled back to deploy 2 on rift\nweb/work: up to date on rift\n"
    assert rig.fake.running() == {"web-api": WEB2, "web-work": WEB2}


def test_rollback_can_prune(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api")))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", service("web", component("api"), component("work")))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    kept = rig.agent.cli.run("rollback", "-q", "web", "--to", "1").stdout.splitlines()[-1]
    assert kept.startswith("web/work: kept on rift, although it was removed from the definition; remove it with")
    assert rig.agent.cli.run("rollback", "-q", "web", "--to", "1", "--prune").stdout.splitlines()[-1] == (
        "web/work: removed on rift"
    )


def test_rollback_goes_to_the_last_one_that_worked_and_differs(rig: Rig) -> None:
    ok(deploy(rig, WEB))
    ok(deploy(rig, WEB2))
    assert deploy(rig, FAIL).code == 1
    dry = rig.agent.cli.run("rollback", "-q", "web", "--dry-run")
    assert (dry.code, dry.stdout) == (0, f"replace  web/api on rift (image: {WEB2} -> {WEB})\n")
    assert rig.fake.running() == {"web-api": WEB2}

    done = rig.agent.cli.run("rollback", "-q", "web")
    assert (done.code, done.stdout) == (0, "web/api: rolled back to deploy 1 on rift\n")
    (note,) = done.errors
    assert "web.toml differs: `mcp sync` undoes the rollback" in note
    assert rig.fake.running() == {"web-api": WEB}

    ok(deploy(rig, WEB2))  # its definition agrees with what is gone back to: nothing to note
    assert ok(rig.agent.cli.run("rollback", "-q", "web", "--to", "2")) == "web/api: up to date on rift\n"


def test_a_default_that_is_written_out_is_no_deploy_to_return_to(rig: Rig) -> None:
    ok(deploy(rig, WEB))
    ok(deploy(rig, WEB2))
    rig.agent.define("web", ok(rig.agent.cli.run("service", "show", "web")))
    assert ok(rig.agent.cli.run("deploy", "-q", "web")) == "web/api: up to date on rift\n"
    dry = rig.agent.cli.run("rollback", "web", "--dry-run").stdout
    assert dry == f"replace  web/api on rift (image: {WEB2} -> {WEB})\n"
    assert ok(rig.agent.cli.run("rollback", "-q", "web", "--to", "2")) == "web/api: up to date on rift\n"


def test_what_cannot_be_rolled_back_to(rig: Rig) -> None:
    ok(deploy(rig, WEB))
    assert deploy(rig, FAIL).code == 1
    for args, words in (
        ((), "web has no earlier successful deploy"),
        (("--to", "7"), "web has no deploy 7; see mcp history web"),
        (("--to", "2"), "deploy 2 of web is failed; choose a deploy with result done"),
    ):
        done = rig.agent.cli.run("rollback", "-q", "web", *args)
        assert (done.code, done.stdout) == (1, "")
        (line,) = done.errors
        assert words in line
    assert rig.fake.running() == {"web-api": WEB}


def test_an_image_for_another_processor_is_refused_before_anything_stops(rig: Rig) -> None:
    ok(deploy(rig, WEB))
    rig.fake.add_image("example.net/app:v9", architecture="s390x")
    rig.fake.forget_calls()
    done = deploy(rig, "example.net/app:v9")
    assert done.code == 1
    assert "the image example.net/app:v9 is for s390x, this node is " in done.stderr
    assert "stop" not in [argv[0] for argv in rig.fake.commands()]
    assert rig.fake.running() == {"web-api": WEB}


def test_a_health_check_decides_where_there_is_one(rig: Rig) -> None:
    rig.fake.add_image("example.net/well:v1", healthy=True)
    rig.fake.add_image("example.net/ill:v1", healthy=False, check_output="no such table\n")
    ok(deploy(rig, "example.net/well:v1"))
    health = '[components.health]\ncmd = ["check"]\ninterval = "100ms"\nretries = 2\n'
    rig.agent.define("web", service("web", component("api", "example.net/ill:v1", health)))
    done = rig.agent.cli.run("deploy", "-q", "web")
    assert done.code == 1
    assert (
        "the new container did not become healthy within 0.2 s: its check printed no such table; "
        "the old container runs again" in done.errors[0]
    )
    assert rig.fake.running() == {"web-api": "example.net/well:v1"}


def test_an_old_container_that_cannot_be_removed_does_not_undo_what_is_kept(rig: Rig) -> None:
    ok(deploy(rig, WEB))
    rig.fake.misbehave("fail", ["rm"], times=1, message="the storage is busy", after=["run"])
    ok(deploy(rig, WEB2))
    assert rig.fake.running() == {"web-api": WEB2}
    assert set(rig.fake.containers()) == {"web-api", "web-api.old"}
    ok(deploy(rig, WEB2))
    assert list(rig.fake.containers()) == ["web-api"]
    assert rig.fake.running() == {"web-api": WEB2}


def test_images_that_a_rollback_needs_are_not_called_unused(rig: Rig) -> None:
    lost = "0" * 64
    rig.fake.change(volumes=[lost, "named"])
    for image in (WEB, WEB2):
        rig.agent.define("web", service("web", component("api", image)))
        assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    with connected(rig.agent) as wire:
        (with_images,) = wire.call("NodeStatus", request_for("NodeStatus", images=True)).responses
        (without,) = wire.call("NodeStatus").responses
    unused = {name for image in with_images.unused_images for name in image.names}
    assert unused == set(IMAGES) - {WEB, WEB2}
    assert all(image.bytes for image in with_images.unused_images)
    assert not without.unused_images
    assert (list(with_images.unused_volumes), list(without.unused_volumes)) == ([lost], [])
    rig.fake.misbehave("fail", ["images"])
    with connected(rig.agent) as wire:
        (broken,) = wire.call("NodeStatus", request_for("NodeStatus", images=True)).responses
    assert (broken.node_name, list(broken.unused_images)) == ("rift", [])
