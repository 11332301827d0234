"""`mcp logs` from end to end: the built files, a real agent, real containers."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agents import Agent
from tests.component.processes import children, free_port
from tests.signals import touch
from tests.stage import folder_of, start_agent
from tests.waiting import wait_for
from tools.hostlib.private import Private

WORKER = "localhost/mcp-worker:1.0.0"
LINES = 100_000
# Nothing before /tmp/go is there, and slowly from line 30000 on until /tmp/on is: the log, rotated each 18000 lines or
# so, is not rotated before the agent watches it, nor twice while there is no agent, however long those take.
BURST = (
    "trap 'exit 0' TERM; n=0; until [ -e /tmp/go ]; do sleep 0.05; done; "
    "while [ $n -lt 100000 ]; do n=$((n+1)); echo line $n; [ $((n % 1000)) -ne 0 ] || sleep 0.05; "
    "[ $n -lt 30000 ] || [ -e /tmp/on ] || sleep 0.01; done; "
    "while :; do sleep 0.2; done"
)
CHATTER = "echo out one; echo err one >&2; printf 'no\\000end\\r \\377'; exec sleep 100000"


def define(agent: Agent, name: str, *scripts: str, more: str = "") -> None:
    """A service with a component for each script: c0, c1 and so on."""
    components = "".join(
        f'[[components]]\nname = "c{number}"\nimage = "{WORKER}"\ncmd = ["sh", "-c", {json.dumps(script)}]\n{more}\n'
        for number, script in enumerate(scripts)
    )
    agent.define(name, f'name = "{name}"\nnode = "dev"\n{components}')


def segments(podman: Private, container: str) -> list[Path]:
    """The files that are kept of a container's log; the first as soon as the agent watches it."""
    log = podman.run(["podman", "inspect", "-f", "{{.HostConfig.LogConfig.Path}}", container]).stdout.strip()
    return [*Path(log).parent.glob("ctr.log.mcp-*")]


def begin(podman: Private, container: str) -> None:
    """Have a BURST begin, once the agent watches its log."""
    wait_for(lambda: segments(podman, container), what=f"the log of {container} watched")
    touch(podman, container, "/tmp/go")


def hurry(podman: Private, container: str) -> None:
    """Have a BURST go on without pauses."""
    touch(podman, container, "/tmp/on")


class Follower:
    """A `mcp logs -f` whose output is read as it comes."""

    def __init__(self, agent: Agent, *args: str) -> None:
        self.process = agent.cli.popen("logs", "-f", *args)
        self.out: list[str] = []
        self.err: list[str] = []
        pairs = ((self.process.stdout, self.out), (self.process.stderr, self.err))
        self._threads = [threading.Thread(target=lambda s=s, t=t: t.extend(s), daemon=True) for s, t in pairs]
        for thread in self._threads:
            thread.start()

    def wait_out(self, text: str, seconds: float = 60.0) -> None:
        wait_for(lambda: any(text in line for line in list(self.out)), seconds, f"{text!r} on stdout")

    def wait_err(self, text: str, seconds: float = 60.0) -> None:
        wait_for(lambda: any(text in line for line in list(self.err)), seconds, f"{text!r} on stderr: {self.err}")

    def end(self) -> int:
        self.process.send_signal(2)
        return self.ended()

    def ended(self) -> int:
        """Its exit code, once it has ended and all that it wrote is here."""
        code = self.process.wait(60)
        for thread in self._threads:
            thread.join(60)
        return code


@contextmanager
def follower(agent: Agent, *args: str) -> Iterator[Follower]:
    following = Follower(agent, *args)
    try:
        yield following
    finally:
        if following.process.poll() is None:
            following.process.kill()
            following.process.wait()


def podman_logs(podman: Private, container: str) -> tuple[bytes, bytes]:
    done = subprocess.run(
        podman.argv(["podman", "logs", container]), env=dict(podman.env), capture_output=True, check=True
    )
    return done.stdout, done.stderr


def mcp_logs(agent: Agent, *args: str) -> tuple[bytes, bytes]:
    done = subprocess.run(
        [*agent.cli.command, "logs", *args],
        env=agent.cli.environment(),
        cwd=agent.cli.cwd,
        capture_output=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_what_comes_is_what_was_written_to_the_last_byte(agent: Agent, rootless: Private) -> None:
    define(agent, "chat", CHATTER)
    assert agent.cli.run("deploy", "-q", "chat").code == 0
    assert mcp_logs(agent, "chat") == podman_logs(rootless, "chat-c0")
    assert mcp_logs(agent, "chat")[0].endswith(b"no\0end\r \xff")
    assert mcp_logs(agent, "chat")[1] == b"err one\n"
    timed = mcp_logs(agent, "-t", "chat")[0].splitlines()
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z out one", timed[0])


def test_components_and_services_are_merged_and_told_apart(agent: Agent) -> None:
    define(agent, "pair", "echo first; sleep 1; echo third; exec sleep 1000", "sleep 0.5; echo second; exec sleep 1000")
    define(agent, "solo", "sleep 1.5; echo last; exec sleep 1000")
    assert agent.cli.run("deploy", "-q", "pair").code == 0
    assert agent.cli.run("deploy", "-q", "solo").code == 0
    wait_for(lambda: "last" in agent.cli.run("logs", "solo").stdout)
    out = agent.cli.run("logs", "pair").stdout.splitlines()
    assert out[0].split(" | ")[0].strip() == "c0"
    assert sorted(line.split("| ")[1] for line in out) == ["first", "second", "third"]
    assert agent.cli.run("logs", "pair/c1").stdout == "second\n"
    both = agent.cli.run("logs", "pair", "solo").stdout.splitlines()
    assert [line.split("| ")[1] for line in both][-1] == "last"
    assert {line.split("|")[0].strip() for line in both} == {"pair/c0", "pair/c1", "solo/c0"}
    assert agent.cli.run("logs", "--all").stdout.splitlines() == both
    rows = [json.loads(line) for line in agent.cli.run("logs", "--json", "pair").stdout.splitlines()]
    assert {row["message"] for row in rows} == {"first", "second", "third"}
    assert {(row["node"], row["service"], row["stream"]) for row in rows} == {("dev", "pair", "stdout")}


def test_windows_and_filters(agent: Agent) -> None:
    define(
        agent, "count", "for i in 1 2 3 4 5 6 7 8 9 10; do echo number $i; done; sleep 2; echo late; exec sleep 1000"
    )
    assert agent.cli.run("deploy", "-q", "count").code == 0
    wait_for(lambda: "late" in agent.cli.run("logs", "count").stdout)
    assert agent.cli.run("logs", "-n", "2", "count").stdout == "number 10\nlate\n"
    assert agent.cli.run("logs", "-n", "0", "count").stdout == ""
    assert agent.cli.run("logs", "--grep", "number [1-3]$", "count").stdout == "number 1\nnumber 2\nnumber 3\n"
    assert agent.cli.run("logs", "--exclude", "NUMBER", "-i", "count").stdout == "late\n"
    assert agent.cli.run("logs", "--grep", "number", "-n", "1", "count").stdout == "number 10\n"
    for words in ("1h", "boot", "deploy", "@0", "2020-01-01", "2020-01-01T00:00:00+05:00"):
        assert len(agent.cli.run("logs", "--since", words, "count").stdout.splitlines()) == 11, words
    assert agent.cli.run("logs", "--until", "2020-01-01", "count").stdout == ""
    timed = agent.cli.run("logs", "-t", "count").stdout.splitlines()
    last = timed[-1].split()[0]
    assert agent.cli.run("logs", "--since", last, "count").stdout == "late\n"
    assert len(agent.cli.run("logs", "--until", last, "count").stdout.splitlines()) == 10
    done = agent.cli.run("logs", "--grep", "(x+x+)+y", "count")
    assert done.code == 0  # nothing here makes it slow
    done = agent.cli.run("logs", "--grep", "(", "count")
    assert (done.code, len(done.errors)) == (2, 1)


def test_what_is_not_there_is_an_error_that_says_what_is(agent: Agent, rootless: Private) -> None:
    define(agent, "web", CHATTER, CHATTER)
    assert agent.cli.run("deploy", "-q", "web").code == 0
    for args, word in (
        (["nosuch"], "web"),
        (["web/nosuch"], "c0, c1"),
        (["--previous", "web"], "no previous container"),
    ):
        done = agent.cli.run("logs", *args)
        assert (done.code, done.stdout, len(done.errors)) == (1, "", 1), done
        assert word in done.stderr
    rootless.run(["podman", "rm", "-f", "-t", "0", "web-c1"])
    for args in (["web"], ["-f", "web"]):
        done = agent.cli.run("logs", *args)
        errors = [line for line in done.errors if line.startswith("mcp: ")]
        assert (done.code, len(errors)) == (1, 1), done
        assert "no container named web-c1" in errors[0]


def test_the_previous_container_also_of_a_first_deploy_that_failed(agent: Agent) -> None:
    define(agent, "web", CHATTER, CHATTER)
    assert agent.cli.run("deploy", "-q", "web").code == 0
    assert agent.cli.run("deploy", "-q", "--force", "web/c0").code == 0
    done = agent.cli.run("logs", "--previous", "web")
    assert done.stdout.startswith("c0 | out one\n")
    assert done.stderr.splitlines() == ["--- web/c1: has no previous container ---", "c0 | err one"]
    define(agent, "bad", "echo last words; exit 3", more='restart = "no"')
    assert agent.cli.run("deploy", "-q", "bad").code == 1
    done = agent.cli.run("logs", "bad")
    assert (done.code, len(done.errors)) == (1, 1)
    assert "bad is not deployed on this node; the log of its failed deploy is saved" in done.stderr
    assert agent.cli.run("logs", "bad", "-p").stdout == "last words\n"
    done = agent.cli.run("logs", "--all", "-p")
    assert "last words" in done.stdout
    assert done.stderr == "web/c0 | err one\n"


def test_a_follower_is_told_with_which_code_each_run_of_a_crash_loop_ended(agent: Agent, rootless: Private) -> None:
    script = (
        "n=$(cat /tmp/n 2>/dev/null || echo 3); echo $((n+1)) > /tmp/n; "
        "until [ $n -ne 3 -o -e /tmp/go ]; do sleep 0.1; done; sleep 0.5; exit $n"  # the first run outlives the deploy
    )
    define(agent, "loop", script, more='restart = "always"')
    assert agent.cli.run("deploy", "-q", "loop").code == 0
    with follower(agent, "loop") as following:
        following.wait_err("attached")
        touch(rootless, "loop-c0", "/tmp/go")
        following.wait_err("code 7", 120)
        assert following.end() == 130
    said = [line.strip("- \n") for line in following.err if "attached" not in line]
    codes = [int(line.rpartition(" ")[2]) for line in said if "with code" in line]
    unseen = "loop/c0: exited and restarted"  # on a busy machine a run can end before anybody looks
    assert len(codes) + said.count(unseen) >= 3
    assert codes == sorted(set(codes))
    assert unseen in said or codes == [*range(codes[0], codes[-1] + 1)]
    seen = [line for line in said if line != unseen]
    again = "loop/c0: restarted"
    assert seen[: 2 * len(codes)] == [text for code in codes for text in (f"loop/c0: exited with code {code}", again)]


def test_following_ends_with_the_window(agent: Agent) -> None:
    define(agent, "tick", "while :; do echo tick; sleep 0.2; done", "echo done")
    assert agent.cli.run("deploy", "-q", "tick/c0").code == 0
    assert agent.cli.run("logs", "-f", "--until", "1s", "tick/c0").code == 0
    until = time.time() + 6  # it has attached by then
    done = agent.cli.run("logs", "-f", "--until", f"@{until}", "tick/c0", timeout=60)
    assert (done.code, done.stderr) == (0, "--- tick/c0: attached to tick-c0, 1.0.0 ---\n")
    assert time.time() > until
    assert len(done.stdout.splitlines()) > 5


def test_one_component_without_a_log_holds_nobody_up(agent: Agent, rootless: Private) -> None:
    for name, driver in (("old-api", "none"), ("old-web", "json-file")):
        script = "echo hi; exec sleep 1000"
        rootless.run(["podman", "run", "-d", "--name", name, "--log-driver", driver, WORKER, "sh", "-c", script])
    assert agent.cli.run("adopt", "old").code == 0
    for args in (["old", "--node", "dev"], ["--all"]):
        done = agent.cli.run("logs", *args)
        assert (done.code, done.stdout.split("| ")[1], len(done.errors)) == (0, "hi\n", 1)
        assert "old/api: old-api has no log" in done.stderr
    done = agent.cli.run("logs", "old/api", "--node", "dev")
    assert (done.code, done.stdout, len(done.errors)) == (1, "", 1)
    done = agent.cli.run("logs", "--all", "--since", "deploy")
    assert (done.code, done.stdout, len(done.errors)) == (0, "", 2)


def test_a_follower_that_leaves_leaves_nothing_behind(agent: Agent) -> None:
    define(agent, "chat", CHATTER, CHATTER)
    assert agent.cli.run("deploy", "-q", "chat").code == 0
    pid = agent.process.pid
    files, processes = agent.open_files(), children(pid)
    with follower(agent, "--grep", "o", "chat") as following:
        following.wait_out("out one")
        assert agent.open_files() > files
        following.process.kill()
        following.process.wait()
    wait_for(lambda: agent.open_files() <= files and children(pid) <= processes, what="nothing left")


def test_a_follower_loses_nothing_in_a_redeploy_a_rotation_and_a_crash_of_the_agent(rootless: Private) -> None:
    with folder_of(rootless) as folder:
        agent = start_agent(rootless, folder, port=free_port())
        try:
            survive(agent, rootless, folder)
        finally:
            agent.kill()


def survive(agent: Agent, rootless: Private, folder: Path) -> None:
    define(agent, "burst", BURST, more='log_max_size = "1m"\nrestart = "no"')
    assert agent.cli.run("deploy", "-q", "burst").code == 0
    with follower(agent, "burst") as following:
        begin(rootless, "burst-c0")
        following.wait_out("line 20000\n")
        redeployed = subprocess.Popen(
            [*agent.cli.command, "deploy", "--force", "burst"],
            env=agent.cli.environment(),
            cwd=agent.cli.cwd,
            stdout=subprocess.DEVNULL,
        )
        following.wait_err("replaced by 1.0.0")
        begin(rootless, "burst-c0")
        assert redeployed.wait(180) == 0
        wait_for(lambda: following.out.count("line 1\n") == 2)
        agent.kill()
        time.sleep(0.2)
        again = start_agent(rootless, folder, port=agent.port)
        try:
            following.wait_err("reconnected")
            hurry(rootless, "burst-c0")
            last = f"line {LINES}\n"
            wait_for(lambda: following.out.count("line 1\n") == 2 and following.out[-1] == last, 180, "the last line")
            assert following.end() == 130
        finally:
            agent.process = again.process
    numbers = [int(line.split()[1]) for line in following.out if line.startswith("line ")]
    first = numbers.index(1, 1)
    assert numbers[:first] == [*range(1, first + 1)]
    assert first >= 20000
    assert numbers[first:] == [*range(1, LINES + 1)]
    assert len(numbers) == len(following.out)
    assert len(segments(rootless, "burst-c0")) > 1, "the log was rotated"


def test_a_follower_of_several_components_loses_nothing_in_a_crash_of_the_agent(rootless: Private) -> None:
    with folder_of(rootless) as folder:
        agent = start_agent(rootless, folder, port=free_port())
        try:
            define(agent, "pair", BURST, BURST, more='log_max_size = "1m"')
            assert agent.cli.run("deploy", "pair").code == 0
            with follower(agent, "pair") as following:
                for container in ("pair-c0", "pair-c1"):
                    begin(rootless, container)
                following.wait_out("| line 20000\n")
                agent.kill()
                agent.process = start_agent(rootless, folder, port=agent.port).process
                following.wait_err("reconnected")
                for container in ("pair-c0", "pair-c1"):
                    hurry(rootless, container)
                last = f" | line {LINES}\n"
                wait_for(lambda: sum(line.endswith(last) for line in list(following.out)) == 2, 180, "both last lines")
                assert following.end() == 130
        finally:
            agent.kill()
    for name in ("c0", "c1"):
        own = [int(line.split()[-1]) for line in following.out if line.startswith(f"{name} | ")]
        assert own == [*range(1, LINES + 1)]
    assert len(following.out) == 2 * LINES


def test_markers_tell_what_becomes_of_a_container(agent: Agent) -> None:
    define(agent, "brief", "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done")
    assert agent.cli.run("deploy", "-q", "brief").code == 0
    with follower(agent, "brief") as following:
        following.wait_out("up")
        assert agent.cli.run("stop", "brief").code == 0
        following.wait_err("brief/c0: exited with code 7")
        assert agent.cli.run("start", "brief").code == 0
        following.wait_err("brief/c0: restarted")
        wait_for(lambda: following.out == ["up\n", "up\n"])
        assert agent.cli.run("undeploy", "brief").code == 0
        following.wait_err("brief/c0: removed")
        assert following.ended() == 0


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_without_reconnecting_a_lost_agent_is_an_error(agent: Agent, how: str) -> None:
    define(agent, "chat", CHATTER)
    assert agent.cli.run("deploy", "-q", "chat").code == 0
    with follower(agent, "--no-reconnect", "chat") as following:
        following.wait_out("out one")
        if how == "SIGKILL":
            agent.kill()
        else:
            agent.stop()
        assert following.ended() in (1, 4)
        assert len([line for line in following.err if line.startswith("mcp: ")]) == 1, following.err
