"""What is kept of the logs of containers that a deploy replaced or undid."""

from agent.store.previous_logs import PreviousLog
from agent.store.registry import Registry
from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import FAIL, WEB, WEB2
from tests.component.test_interrupted import crash_at
from tests.waiting import wait_for


def kept(rig: Rig, name: str = "api") -> PreviousLog | None:
    """What the agent's registry has of a component of the service web."""
    registry = Registry(rig.agent.home.database)
    try:
        return registry.previous_logs.find("web", name)
    finally:
        registry.close()


def test_a_container_that_was_replaced(rig: Rig) -> None:
    rig.agent.define("web", service("web", component(image=WEB)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    assert kept(rig) is None
    old = rig.fake.containers()["web-api"]
    rig.agent.define("web", service("web", component(image=WEB2)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    log = kept(rig)
    assert log is not None
    assert (log.identifier, log.container, log.deploy, log.version) == (old["id"], "web-api", 1, "1.0.0")
    assert (log.driver, log.exit_code, log.reason) == ("k8s-file", 0, "replaced")
    lines = log.data.splitlines()
    assert lines[0].endswith(b" stdout F web: starting")
    assert lines[-1].endswith(b" stdout F web: stopping"), "it was stopped before"
    assert rig.agent.cli.run("undeploy", "web").code == 0
    assert kept(rig) is None


def test_a_container_that_failed(rig: Rig) -> None:
    rig.agent.define("web", service("web", component(image=WEB)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    rig.agent.define("web", service("web", component(image=FAIL, more='restart = "no"')))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 1
    assert rig.fake.running() == {"web-api": WEB}
    log = kept(rig)
    assert log is not None
    assert (log.container, log.deploy, log.version, log.exit_code, log.reason) == ("web-api", 2, "1.0.0", 3, "failed")
    assert b" stderr F fail: cannot read the configuration\n" in log.data


def test_a_first_deploy_that_failed(rig: Rig) -> None:
    rig.agent.define("web", service("web", component(image=FAIL, more='restart = "always"')))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 1
    assert rig.fake.containers() == {}
    log = kept(rig)
    assert log is not None
    assert (log.deploy, log.reason) == (1, "failed")
    assert b" stdout F fail: starting\n" in log.data


def test_a_container_that_an_interrupted_deploy_left_is_not_removed_without_its_log(rig: Rig) -> None:
    rig.agent.define("web", service("web", component(image=WEB)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    rig.agent.define("web", service("web", component(image=WEB2)))
    crash_at(rig, ["run"], "after", "deploy", "-q", "web")  # the new one runs, and nobody has said that it is good
    rig.restart()
    wait_for(lambda: rig.fake.running() == {"web-api": WEB})
    log = kept(rig)
    assert log is not None
    assert (log.deploy, log.reason, log.container) == (2, "failed", "web-api")
    assert log.data.splitlines()[-1].endswith(b" stdout F web: stopping"), "it was stopped before"

    old = rig.fake.containers()["web-api"]["id"]
    crash_at(rig, ["inspect", "--type=container", old], "before", "deploy", "-q", "web")  # the new one is kept already
    rig.restart()
    wait_for(lambda: rig.fake.running() == {"web-api": WEB2} and len(rig.fake.containers()) == 1)
    log = kept(rig)
    assert log is not None
    assert (log.identifier, log.deploy, log.reason) == (old, 1, "replaced")


def test_a_log_that_cannot_be_had_holds_no_deploy_up(rig: Rig) -> None:
    rig.agent.define("web", service("web", component(image=WEB)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    for how in ("fail", "garbage", "hang"):
        rig.fake.misbehave(how, ["inspect", rig.fake.containers()["web-api"]["id"]])
        done = rig.agent.cli.run("deploy", "-q", "web", "--force", timeout=60)
        assert done.code == 0, done.stderr
        assert rig.fake.running() == {"web-api": WEB}
        rig.fake.behave()
    assert kept(rig) is None
    assert rig.agent.log().count("cannot save a log tail") == 3


def test_one_that_logs_nothing(rig: Rig) -> None:
    rig.agent.define("web", service("web", component(image=WEB, more='log_driver = "none"')))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    assert rig.agent.cli.run("deploy", "-q", "web", "--force").code == 0
    log = kept(rig)
    assert log is not None
    assert (log.driver, log.data) == ("none", b"")
