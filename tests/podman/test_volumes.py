"""Volumes on real rootless podman: what containers wrote is not lost, and what cannot be mounted is found early."""

import json

import pytest

from tests.agents import Agent, Outcome
from tests.podman.test_service import containers, inspect
from tools import images
from tools.hostlib.private import Private

IMAGE = images.Image("worker", "1.0.0-data", volumes=("/data", "/var/lib/pg/data"))


@pytest.fixture
def podman(rootless: Private) -> Private:
    """The run's podman, with an image that asks for volumes."""
    images.build_all(rootless, [IMAGE])
    return rootless


def define(agent: Agent, more: str = "") -> None:
    agent.define("db", f'name = "db"\nnode = "dev"\n[[components]]\nname = "db"\nimage = "{IMAGE.reference}"\n{more}\n')


def deploy(agent: Agent, more: str = "") -> list[str]:
    """Deploy the service; return the notes for the user."""
    define(agent, more)
    done = agent.cli.run("deploy", "--json", "db", timeout=120)
    assert done.code == 0, done
    (row,) = json.loads(done.stdout)
    notes: list[str] = row["notes"]
    return notes


def write(podman: Private, path: str) -> None:
    podman.run(["podman", "exec", "db", "sh", "-c", f"echo kept >{path}/file"])


def read(podman: Private, path: str) -> str:
    return podman.run(["podman", "exec", "db", "cat", f"{path}/file"]).stdout


def volume(podman: Private, target: str) -> str:
    mounts = inspect(podman, "db")["Mounts"]
    assert isinstance(mounts, list)
    (name,) = [mount["Name"] for mount in mounts if mount["Destination"] == target]
    return str(name)


def test_a_redeploy_keeps_what_was_written(agent: Agent, podman: Private) -> None:
    notes = deploy(agent)
    paths = ("/data", "/var/lib/pg/data")
    volumes = {path: volume(podman, path) for path in paths}
    assert notes == [
        f'{path} is in an anonymous volume; to name it, add "{volumes[path]}:{path}" to volumes' for path in paths
    ]
    for path in paths:
        write(podman, path)
    for more in ('env = ["A=1"]', f'volumes = ["{volumes["/data"]}:/data"]', 'volumes = ["named:/var/lib/pg"]', ""):
        deploy(agent, more)
        assert {path: volume(podman, path) for path in paths} == volumes
        assert [read(podman, path) for path in paths] == ["kept\n", "kept\n"]
    assert agent.cli.run("undeploy", "-q", "db", timeout=60).code == 0
    deploy(agent)
    assert [read(podman, path) for path in paths] == ["kept\n", "kept\n"]
    done = agent.cli.run("undeploy", "-q", "--volumes", "db", timeout=60)
    assert (done.code, done.stderr) == (0, "")
    left = podman.run(["podman", "volume", "ls", "--quiet"]).stdout.split()
    assert "named" in left
    assert not {*volumes.values()} & {*left}


def test_attempts_at_a_first_deploy_share_their_volumes(agent: Agent, podman: Private) -> None:
    define(agent, 'cmd = ["fail"]')
    for _ in range(2):
        assert agent.cli.run("deploy", "-q", "db", timeout=60).code == 1
    assert len(podman.run(["podman", "volume", "ls", "--quiet"]).stdout.split()) == 2
    assert agent.cli.run("undeploy", "-q", "db", timeout=60).code == 0
    assert agent.cli.run("undeploy", "-q", "--volumes", "db", timeout=60).code == 0
    assert podman.run(["podman", "volume", "ls", "--quiet"]).stdout == ""


def test_a_lost_container_has_its_volumes_again(agent: Agent, podman: Private) -> None:
    deploy(agent)
    write(podman, "/data")
    podman.run(["podman", "rm", "--force", "--time=0", "db"])
    assert agent.cli.run("start", "db", timeout=60).code == 0
    assert read(podman, "/data") == "kept\n"


def test_an_adopted_container_keeps_what_it_wrote(agent: Agent, podman: Private) -> None:
    worker = images.image("worker").reference
    podman.run(["podman", "run", "--detach", "--name=db", "--volume=/data", worker])
    write(podman, "/data")
    done = agent.cli.run("adopt", "db")
    assert done.errors[0] == (
        f'dev: db: /data is in an anonymous volume; to name it, add "{volume(podman, "/data")}:/data" to volumes'
    )
    deploy(agent)
    assert read(podman, "/data") == "kept\n"


def refused(done: Outcome) -> str:
    assert (done.code, len(done.errors)) == (1, 1), done
    return done.errors[0].removeprefix("mcp: db/db: ")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('user = "nobodyx"', 'the image has no "nobodyx" in its /etc/passwd; name one that it has, or use a number'),
        ('user = "0:wheel"', 'the image has no "wheel" in its /etc/group; name one that it has, or use a number'),
        ('volumes = ["/nowhere:/x"]', "/nowhere does not exist on this node; create it there as root: install -d -o "),
        ('ports = ["80:80"]', "host port 80 is privileged; choose a higher one, or set "),
    ],
)
def test_what_cannot_be_made_is_found_while_the_old_container_runs(
    agent: Agent, podman: Private, more: str, said: str
) -> None:
    deploy(agent)
    before = inspect(podman, "db")
    define(agent, more)
    assert refused(agent.cli.run("deploy", "-q", "db", timeout=60)).startswith(said)
    after = inspect(podman, "db")
    assert [after["Id"], after["State"]] == [before["Id"], before["State"]]
    assert containers(podman) == {"db"}
    assert len(podman.run(["podman", "volume", "ls", "--quiet"]).stdout.split()) == 2


def test_a_named_user_of_the_image_is_accepted(agent: Agent, podman: Private) -> None:
    deploy(agent)
    deploy(agent, 'user = "nobody:nogroup"')
    assert podman.run(["podman", "exec", "db", "id", "-un"]).stdout == "nobody\n"
