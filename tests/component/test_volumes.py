"""Volumes: anonymous ones are kept and named, folders of bind mounts are made, what is missing is refused in time."""

import json
import re
import sqlite3
from contextlib import closing

from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import WEB
from tests.component.test_interrupted import crash_at, ok
from tests.waiting import wait_for

DATA = "localhost/mcp-data:1.0.0"
DATA2 = "localhost/mcp-data:2.0.0"


def prepare(rig: Rig, more: str = "") -> None:
    """Two images that ask for volumes, and a definition of the first."""
    rig.fake.add_image(DATA, anonymous=["/var/lib/pg/data"])
    rig.fake.add_image(DATA2, anonymous=["/var/lib/pg/data"])
    rig.agent.define("web", service("web", component("api", DATA, more)))


def volume(rig: Rig, name: str = "web-api") -> str:
    """The volume that a container has at /var/lib/pg/data."""
    mounted: str = rig.fake.containers()[name]["mounts"]["/var/lib/pg/data"]
    return mounted


def is_in(hash_: str) -> str:
    return f'/var/lib/pg/data is in an anonymous volume; to name it, add "{hash_}:/var/lib/pg/data" to volumes'


def test_a_redeploy_keeps_an_anonymous_volume_and_says_where_data_lies(rig: Rig) -> None:
    prepare(rig)
    planned = rig.agent.cli.run("plan")
    named = "web-api-var-lib-pg-data:/var/lib/pg/data"
    will = f'/var/lib/pg/data will be in an anonymous volume; to name it, add "{named}" to volumes'
    assert planned.stdout == f"create   web/api on rift (is not deployed; {will})\n"
    done = rig.agent.cli.run("deploy", "-q", "web")
    first = volume(rig)
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert (done.code, done.errors) == (0, [f"web/api: {is_in(first)}"])

    rig.agent.define("web", service("web", component("api", DATA2, 'env = ["A=1"]')))
    (row,) = json.loads(rig.agent.cli.run("plan", "--json").stdout)
    assert (row["action"], row["notes"]) == ("replace", [is_in(first)])
    (row,) = json.loads(rig.agent.cli.run("deploy", "--json", "web").stdout)
    assert (row["success"], row["notes"]) == (True, [is_in(first)])
    assert volume(rig) == first
    assert rig.fake.state["volumes"] == [first]
    assert "--volumes" not in [word for call in rig.fake.commands() for word in call]

    rig.agent.define("web", service("web", component("api", DATA2, f'volumes = ["{first}:/var/lib/pg/data"]')))
    done = rig.agent.cli.run("deploy", "-q", "web")  # as the note said
    assert (done.code, done.errors) == (0, [])
    assert volume(rig) == first


def test_volumes_above_and_below_one_of_the_definition_are_kept(rig: Rig) -> None:
    for target in ("/var/lib/pg", "/var/lib/pg/data/wal"):
        prepare(rig, f'volumes = ["named:{target}"]')
        ok_with_notes = rig.agent.cli.run("deploy", "-q", "--force", "web")
        assert ok_with_notes.code == 0
        mounts = rig.fake.containers()["web-api"]["mounts"]
        assert mounts.keys() == {"/var/lib/pg/data", target}
        assert rig.agent.cli.run("deploy", "-q", "--force", "web").code == 0
        assert rig.fake.containers()["web-api"]["mounts"] == mounts


def test_a_failed_and_an_interrupted_redeploy_leave_the_volume_to_the_old_container(rig: Rig) -> None:
    prepare(rig)
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    first = volume(rig)
    rig.fake.add_image(DATA2, anonymous=["/var/lib/pg/data"], lifetime=0.0, code=3)
    rig.agent.define("web", service("web", component("api", DATA2)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 1
    assert (rig.fake.running(), volume(rig)) == ({"web-api": DATA}, first)
    rig.fake.add_image(DATA2, anonymous=["/var/lib/pg/data"])
    crash_at(rig, ["run"], "after", "deploy", "-q", "web")
    assert volume(rig) == volume(rig, "web-api.old") == first
    rig.restart()
    wait_for(lambda: rig.fake.running() == {"web-api": DATA})
    assert volume(rig) == first
    assert rig.fake.state["volumes"] == [first]


def test_undeploy_keeps_volumes_unless_it_is_asked_to_remove_them(rig: Rig) -> None:
    prepare(rig)
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    first = volume(rig)
    done = rig.agent.cli.run("undeploy", "-q", "web")
    assert done.stdout == "web/api: undeployed on rift\n"
    assert done.errors == [f"web/api: /var/lib/pg/data is kept in the anonymous volume {first}"]
    assert rig.fake.state["volumes"] == [first]
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    assert volume(rig) == first
    done = rig.agent.cli.run("undeploy", "-q", "--volumes", "web")
    assert (done.stdout, done.stderr) == ("web/api: undeployed on rift\n", "")
    assert rig.fake.state["volumes"] == []


def test_prune_says_which_volumes_it_keeps_and_they_can_be_removed_later(rig: Rig) -> None:
    prepare(rig)
    for command in (("deploy", "-q", "--prune"), ("sync", "--prune")):
        rig.agent.define("web", service("web", component("api", DATA), component("work", WEB)))
        assert rig.agent.cli.run("deploy", "-q", "web").code == 0
        first = volume(rig)
        rig.agent.define("web", service("web", component("work", WEB)))
        done = rig.agent.cli.run(*command, "web")
        assert done.code == 0
        assert f"api: /var/lib/pg/data is kept in the anonymous volume {first}" in done.stdout + done.stderr
        assert rig.fake.state["volumes"] == [first]
    done = rig.agent.cli.run("undeploy", "-q", "--volumes", "web/api")
    assert (done.stdout, done.stderr) == ("web/api: undeployed on rift\n", "")
    assert (rig.fake.state["volumes"], rig.fake.running()) == ([], {"web-work": WEB})


def test_an_interrupted_undeploy_with_volumes_removes_them_afterwards(rig: Rig) -> None:
    prepare(rig)
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    crash_at(rig, ["rm"], "after", "undeploy", "-q", "--volumes", "web")
    rig.restart()
    wait_for(lambda: not rig.fake.state["volumes"], 60, "the end of the undeploy")
    assert rig.fake.containers() == {}


def test_a_lost_container_has_its_volume_again(rig: Rig) -> None:
    prepare(rig)
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    first = volume(rig)
    rig.fake.change(containers=[])
    ok(rig.agent.cli.run("agent", "recover", "rift"))
    assert volume(rig) == first


def test_adopt_says_where_data_lies(rig: Rig) -> None:
    prepare(rig)
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    first = volume(rig)
    rig.agent.stop()
    with closing(sqlite3.connect(rig.agent.home.database)) as connection, connection:
        connection.execute("DELETE FROM components")
        connection.execute("DELETE FROM anonymous_volumes")
    rig.restart()
    (row,) = json.loads(rig.agent.cli.run("adopt", "web", "--json", "--dry-run").stdout)
    assert row["notes"] == [is_in(first)]
    done = rig.agent.cli.run("adopt", "web")
    assert (done.code, done.errors[0]) == (0, f"rift: web-api: {is_in(first)}")
    rig.fake.change(containers=[])
    ok(rig.agent.cli.run("start", "-q", "web"))
    assert volume(rig) == first


# --- before anything stops ---


def refused(rig: Rig, text: str) -> str:
    """Deploy a definition that is refused while the container runs on; return the one line about it."""
    before = rig.fake.lives()
    rig.fake.forget_calls()
    rig.agent.define("web", text)
    done = rig.agent.cli.run("deploy", "-q", "web")
    assert (done.code, len(done.errors)) == (1, 1), done
    assert rig.fake.lives() == before
    assert not [call for call in rig.fake.commands() if call[0] in ("stop", "rename", "run")]
    return done.errors[0].removeprefix("mcp: web/api: ")


def deployed(rig: Rig) -> None:
    rig.agent.define("web", service("web"))
    ok(rig.agent.cli.run("deploy", "-q", "web"))


def test_the_folders_of_a_service_are_made(rig: Rig) -> None:
    srv = rig.agent.home.srv
    rig.agent.define(
        "web", service("web", component("api", more=f'volumes = ["{srv}/web/a/b:/b", "{srv}/web/c.d:/c"]'))
    )
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    modes = {
        path: path.stat().st_mode & 0o777 for path in (srv / "web", srv / "web/a", srv / "web/a/b", srv / "web/c.d")
    }
    assert list(modes.values()) == [0o700, 0o755, 0o755, 0o755]


def test_missing_sources_are_refused_before_anything_stops(rig: Rig) -> None:
    deployed(rig)
    srv = rig.agent.home.srv

    def mounting(source: str) -> str:
        return refused(rig, service("web", component("api", more=f'volumes = ["{source}:/x"]')))

    user = "install -d -o root -g root"
    said = mounting("/nowhere/data")
    assert said == f"/nowhere/data does not exist on this node; create it there as root: {user} /nowhere/data"
    said = mounting(f"{srv}/web/app.toml")
    assert said == (
        f"{srv}/web/app.toml does not exist on this node; copy a file there with `mcp push`, "
        f"or create a folder as root: {user} {srv}/web/app.toml"
    )
    (srv / "out").symlink_to("/tmp")
    (srv / "web/link").symlink_to(srv / "nowhere")
    assert "web/link: is a symbolic link, which is not followed" in mounting(f"{srv}/web/link/x")
    assert "does not exist on this node" in mounting(f"{srv}/other/data")
    assert not (srv / "other").exists()


def test_what_podman_refuses_is_found_before_anything_stops(rig: Rig) -> None:
    deployed(rig)
    rig.fake.misbehave("fail", ["create"], message="invalid signal: SIGFOO")
    said = refused(rig, service("web", component("api", more='env = ["A=1"]')))
    assert said == (
        "podman cannot create the new container: invalid signal: SIGFOO; correct the definition; nothing was changed"
    )
    assert list(rig.fake.containers()) == ["web-api"]


def test_an_unknown_user_is_found_before_anything_stops(rig: Rig) -> None:
    deployed(rig)
    said = refused(rig, service("web", component("api", more='user = "nobodyx"')))
    assert said == 'the image has no "nobodyx" in its /etc/passwd; name one that it has, or use a number'
    said = refused(rig, service("web", component("api", more='user = "nobody:wheel"')))
    assert said == 'the image has no "wheel" in its /etc/group; name one that it has, or use a number'
    rig.agent.define("web", service("web", component("api", more='user = "nobody:nogroup"')))
    ok(rig.agent.cli.run("deploy", "-q", "web"))


def test_no_secret_and_no_trial_container_is_left(rig: Rig) -> None:
    deployed(rig)
    rig.agent.define("web", service("web", component("api", more='env = ["S3CRET=hunter2"]')))
    crash_at(rig, ["create"], "after", "deploy", "-q", "web")
    assert rig.fake.containers()["web-api.new"]["env"] == []
    rig.restart()
    wait_for(lambda: list(rig.fake.containers()) == ["web-api"], 60, "the removal of what the trial left")
    assert rig.fake.running() == {"web-api": WEB}
    ok(rig.agent.cli.run("deploy", "-q", "web"))
