"""A job that ended with exit code 0 is done, whoever is asked; one that failed is drift."""

import json

import pytest

from tests.agents import Outcome
from tests.component.conftest import Rig
from tests.component.definitions import component, service
from tests.component.fakes import FAIL, WEB
from tests.waiting import wait_for

JOB = "example.net/job:v1"


def ok(done: Outcome) -> str:
    assert (done.code, done.stderr) == (0, "")
    return done.stdout


def deploy(rig: Rig, restart: str = "no", *, code: int = 0) -> Outcome:
    """Deploy a job that ends at once."""
    rig.fake.add_image(JOB, lifetime=0.0, code=code)
    rig.agent.define("job", service("job", component("api", JOB, f'restart = "{restart}"')))
    return rig.agent.cli.run("deploy", "-q", "job")


def states(rig: Rig, *command: str) -> list[str]:
    """The state of each component according to `ps` or `status`."""
    answer = json.loads(ok(rig.agent.cli.run(*command, "--json")))
    rows = answer if isinstance(answer, list) else answer["components"]
    return [row.get("state") or row["observed"] for row in rows]


def end(rig: Rig, code: int) -> None:
    """Let the container of the job end with an exit code, as its program would."""
    (container,) = rig.fake.state["containers"]
    rig.fake.change(containers=[{**container, "code": code, "lifetime": 0.0, "restart": "no"}])


@pytest.mark.parametrize("restart", ["no", "on-failure", "on-failure:3"])
def test_one_answer_everywhere(rig: Rig, restart: str) -> None:
    rig.agent.stop()
    rig.agent.home.write_config(settle="50ms", more='[monitor]\ninterval = "100ms"\n')
    rig.restart()
    done = deploy(rig, restart)
    assert (done.code, done.stdout) == (0, "job/api: deployed on rift\n")
    assert done.stderr == "job/api: ended with exit code 0\n"
    (before,) = rig.fake.lives().values()
    assert ok(rig.agent.cli.run("plan")) == "nothing to do: nodes match the definitions\n"
    assert ok(rig.agent.cli.run("sync")) == "job on rift: up to date\n"
    assert states(rig, "ps") == ["completed"]
    assert states(rig, "status") == ["completed"]
    page = ok(rig.agent.cli.run("status", "job")).splitlines()
    assert page[0] == "job on rift: 0 of 1 running, 1 completed, no drift"
    assert "    exit code: 0" in page
    assert "nothing to do" in ok(rig.agent.cli.run("agent", "recover", "rift"))
    wait_for(lambda: '"completed"' in rig.agent.cli.run("events", "-n", "1", "--json").stdout)
    rig.agent.stop()
    rig.restart()
    assert rig.fake.lives() == {"job-api": before}
    assert "msg=alert" not in rig.agent.log()


def test_start_runs_a_completed_job_again(rig: Rig) -> None:
    deploy(rig)
    (before,) = rig.fake.lives().values()
    assert ok(rig.agent.cli.run("start", "-q", "job")) == "job/api: started on rift\n"
    (after,) = rig.fake.lives().values()
    assert before[0] == after[0]
    assert before[1] < after[1]
    assert states(rig, "status") == ["completed"]


def test_a_job_that_failed_is_drift_and_is_started_again(rig: Rig) -> None:
    assert deploy(rig, code=3).code == 1
    rig.fake.add_image(JOB)
    rig.agent.define("job", service("job", component("api", JOB, 'restart = "no"')))
    ok(rig.agent.cli.run("deploy", "-q", "job"))
    end(rig, 3)
    assert states(rig, "status") == ["exited"]
    assert "drift in 1 of 1" in ok(rig.agent.cli.run("status", "job"))
    assert "(is exited with exit code 3)" in rig.agent.cli.run("plan").stdout
    assert " start " in ok(rig.agent.cli.run("agent", "recover", "rift", "--dry-run"))


def test_a_service_that_should_run_is_no_job(rig: Rig) -> None:
    rig.agent.define("job", service("job", component("api", WEB)))
    ok(rig.agent.cli.run("deploy", "-q", "job"))
    end(rig, 0)
    assert states(rig, "status") == ["exited"]
    assert "start    job/api" in rig.agent.cli.run("plan").stdout
    rig.agent.define("job", service("job", component("api", FAIL, 'restart = "always"')))
    assert rig.agent.cli.run("deploy", "-q", "job").code == 1
