"""What is left when podman fails at a bad moment: what MCP says afterwards is still true."""

from tests.component.conftest import Rig
from tests.component.definitions import component, route, service
from tests.component.fakes import FAIL, WEB, WEB2
from tests.component.test_interrupted import crash_at, ok, results, settled
from tests.waiting import wait_for


def test_an_old_container_that_cannot_be_removed_does_not_bring_the_old_version_back(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api")))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    old = rig.fake.containers()["web-api"]["id"]
    rig.fake.misbehave("fail", ["rm", old], message="device or resource busy")
    new = service("web", component("api", WEB2, route()))
    rig.agent.define("web", new)
    done = rig.agent.cli.run("deploy", "-q", "web")
    assert done.code == 0, done.stderr
    assert rig.fake.running() == {"web-api": WEB2}
    left = rig.agent.cli.run("plan")
    assert (left.code, left.stdout) == (0, "clean up web/api on rift (an interrupted deploy left web-api.old)\n")
    assert "device or resource busy" in rig.agent.log()

    ok(rig.agent.cli.run("stop", "-q", "web"))  # it cannot be removed yet
    assert rig.fake.running() == {}
    rig.fake.behave()
    ok(rig.agent.cli.run("start", "-q", "web"))
    assert rig.fake.running() == {"web-api": WEB2}
    assert list(rig.fake.containers()) == ["web-api"]
    assert settled(rig, new)


def test_an_undeploy_that_cannot_be_finished_at_the_start_is_finished_later(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api"), component("worker")))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    crash_at(rig, ["rm"], "after", "undeploy", "-q", "web")
    rig.fake.misbehave("fail", ["rm"], times=1, message="device or resource busy")
    rig.restart()
    wait_for(lambda: not rig.fake.containers(), 60, "the end of the undeploy")


def test_a_deploy_that_cannot_be_undone_at_the_start_is_undone_later(rig: Rig) -> None:
    old = service("web", component("api"))
    rig.agent.define("web", old)
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", service("web", component("api", WEB2)))
    crash_at(rig, ["run"], "after", "deploy", "-q", "web")
    rig.fake.misbehave("fail", ["ps"], times=3, message="the storage is not there yet")
    rig.restart()
    wait_for(lambda: results(rig)[0] == "interrupted", 60, "the end of the healing")
    assert settled(rig, old)
    assert rig.fake.running() == {"web-api": WEB}


def test_two_components_in_a_network_that_is_not_there_yet(rig: Rig) -> None:
    rig.fake.misbehave("sleep", ["network", "create"], seconds=0.3)
    more = 'network = "mcpnet"\n'
    rig.agent.define("web", service("web", component("api", more=more), component("worker", more=more)))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    assert rig.fake.state["networks"] == ["mcpnet"]


def test_a_new_container_that_cannot_be_removed_at_once_does_not_keep_the_old_one_from_coming_back(rig: Rig) -> None:
    """One that is started again and again can end in the very moment in which podman removes it."""
    rig.agent.define("web", service("web", component("api")))
    ok(rig.agent.cli.run("deploy", "-q", "web"))
    rig.agent.define("web", service("web", component("api", FAIL)))
    rig.fake.misbehave("fail", ["rm"], times=2, message="cannot be stopped", after=["run"])
    done = rig.agent.cli.run("deploy", "-q", "web")
    assert (done.code, done.errors[0].endswith("; the old container runs again")) == (1, True), done
    assert rig.fake.running() == {"web-api": WEB}
    assert list(rig.fake.containers()) == ["web-api"]
    assert rig.agent.log().count("cannot remove a container, retrying") == 2


def test_why_a_deploy_failed_is_said_also_where_its_last_lines_cannot_be_read(rig: Rig) -> None:
    rig.agent.stop()
    rig.agent.home.write_config(settle="50ms", runtime_timeout="2s")
    rig.restart()
    rig.agent.define("web", service("web", component("api", FAIL, 'restart = "no"')))
    rig.fake.misbehave("hang", ["logs"])
    done = rig.agent.cli.run("deploy", "-q", "web")
    assert done.errors == ["mcp: web/api: the new container ended with exit code 3 soon after its start"]
    assert done.code == 1
    assert "cannot read the last log lines" in rig.agent.log()
    assert rig.fake.containers() == {}
