"""The end of a log, as podman really writes and prints it, and as it is kept when the container goes."""

import sqlite3
from pathlib import Path

from agent.logs.kept import as_records
from tests.agents import Agent
from tools.hostlib.private import Private

WORKER = "localhost/mcp-worker:1.0.0"
FAIL = "localhost/mcp-fail:1.0.0"


def test_what_podman_prints_becomes_the_records_that_it_wrote(rootless: Private) -> None:
    rootless.run(["podman", "run", "--name=f", "--log-driver=k8s-file", FAIL], check=False)
    path = rootless.run(["podman", "inspect", "-f", "{{.HostConfig.LogConfig.Path}}", "f"]).stdout.strip()
    printed = rootless.run(["podman", "logs", "--timestamps", "f"])
    records = as_records(printed.stdout.encode(), printed.stderr.encode())
    assert records.count(b"\n") == 2
    assert sorted(records.splitlines()) == sorted(Path(path).read_bytes().splitlines())


def kept(agent: Agent) -> tuple[str, int, str, bytes]:
    """Reason, exit code, driver and records of the one log that is kept."""
    (database,) = agent.home.folder.rglob("mcp.db")
    with sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True) as connection:
        (row,) = connection.execute("SELECT reason, exit_code, driver, data FROM kept_logs").fetchall()
    connection.close()
    reason, code, driver, data = row
    return reason, code, driver, data


def test_the_last_words_of_a_container_outlive_it(agent: Agent) -> None:
    text = f'name = "solo"\nnode = "dev"\n[[components]]\nname = "work"\nimage = "{WORKER}"\n'
    agent.define("solo", text)
    for options in ((), ("--force",)):
        done = agent.cli.run("deploy", "solo", *options)
        assert done.code == 0, done.stderr
    reason, code, driver, data = kept(agent)
    assert (reason, code, driver) == ("replaced", 0, "k8s-file")
    lines = data.splitlines()
    assert lines[0].endswith(b" stdout F worker: line 1")
    assert lines[-1].endswith(b" stdout F worker: stopping")
    agent.define("solo", text.replace(WORKER, FAIL) + 'restart = "no"\n')
    assert agent.cli.run("deploy", "solo").code == 1
    reason, code, driver, data = kept(agent)
    assert (reason, code, driver) == ("failed", 3, "k8s-file")
    assert b" stderr F fail: " in data
