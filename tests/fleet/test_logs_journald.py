"""`mcp logs` from outside of a node, of containers that log to its journal: the built files, the unit, TLS."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fleet.install import UNIT, Installed, install
from tests.fleet.test_journald import ODD
from tests.waiting import wait_for
from tools.nodelib.fleet import Fleet

WORKER = "localhost/mcp-worker:1.0.0"
JOURNALD = "/etc/systemd/journald.conf.d/test.conf"
LINES = 20_000
# A pause after each five hundred: what happens meanwhile shall happen in the middle.
NUMBERED = (
    f"trap 'exit 0' TERM; n=0; while [ $n -lt {LINES} ]; do n=$((n+1)); echo line $n; "
    "[ $((n % 500)) -ne 0 ] || sleep 0.1; done; while :; do sleep 0.2; done"
)
FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.2; done"


def limit(site: Installed, setting: str) -> None:
    """Give journald another rate limit."""
    site.node.run(["mkdir", "-p", JOURNALD.rpartition("/")[0]])
    site.node.write(JOURNALD, f"[Journal]\n{setting}\n")
    site.systemctl("restart", "systemd-journald.service")


@pytest.fixture(scope="module", params=["twelve", "thirteen"])
def site(request: pytest.FixtureRequest, nodes: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A node with an agent, whose journald drops nothing."""
    made = install(nodes[str(request.param)], tmp_path_factory.mktemp("operator"))
    limit(made, "RateLimitBurst=0")
    made.systemctl("start", "mcp-agent.service")
    return made


def deploy(site: Installed, name: str, *scripts: str, drivers: tuple[str, ...] = ("journald",)) -> None:
    """A service with a component for each script: c0, c1 and so on."""
    components = "".join(
        f'[[components]]\nname = "c{number}"\nimage = "{WORKER}"\ncmd = ["sh", "-c", {json.dumps(script)}]\n'
        f'log_driver = "{driver}"\n'
        for number, (script, driver) in enumerate(zip(scripts, drivers, strict=True))
    )
    site.define(name, components)
    site.mcp("deploy", name)


def logs(site: Installed, *arguments: str) -> tuple[bytes, bytes]:
    """What `mcp logs` writes, to the byte."""
    done = subprocess.run(
        [*site.cli.command, "logs", *arguments], env=site.cli.environment(), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def podman_logs(site: Installed, container: str) -> tuple[bytes, bytes]:
    with site.node.popen(["podman", "logs", container], user="mcp") as process:
        return process.communicate(timeout=60)


class Follower:
    """A `mcp logs -f` whose output is read as it comes."""

    def __init__(self, site: Installed, *arguments: str) -> None:
        self.process = site.cli.popen("logs", "-f", *arguments)
        self.out: list[str] = []
        self.came: list[float] = []  # when each line of `out` was there
        self.err: list[str] = []
        for read in (self._read_out, self._read_err):
            threading.Thread(target=read, daemon=True).start()

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.came.append(time.time())
            self.out.append(line)

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        self.err.extend(self.process.stderr)

    def count(self, line: str) -> int:
        return self.out.count(line)


@contextmanager
def following(site: Installed, *arguments: str) -> Iterator[Follower]:
    follower = Follower(site, *arguments)
    try:
        yield follower
    finally:
        follower.process.kill()
        follower.process.wait()


def test_the_last_lines_of_a_failed_deploy_and_what_is_kept_come_in_order(site: Installed) -> None:
    script = "echo out 1; sleep 0.05; echo err 2 >&2; sleep 0.05; echo out 3; sleep 0.05; echo err 4 >&2; exit 3"
    more = f'cmd = ["sh", "-c", "{script}"]\nlog_driver = "journald"\nrestart = "no"\n'
    site.define("fails", f'[[components]]\nname = "c0"\nimage = "{WORKER}"\n{more}')
    done = site.cli.run("deploy", "-q", "fails", timeout=60)
    shown = [line.strip() for line in done.errors[2:]]
    assert (done.code, shown) == (1, ["stdout | out 1", "stderr | err 2", "stdout | out 3", "stderr | err 4"])
    kept = site.cli.run("logs", "fails", "--previous", "--json")
    messages = [json.loads(line)["message"] for line in kept.stdout.splitlines()]
    assert messages == ["out 1", "err 2", "out 3", "err 4"]


def test_it_is_byte_for_byte_what_podman_prints_and_has_windows(site: Installed) -> None:
    deploy(site, "odd", f"{ODD}\necho; exec sleep 100000")
    wait_for(lambda: podman_logs(site, "odd-c0")[0].endswith(b"out 199\nno end\n"), what="all is written")
    site.node.run(["journalctl", "--sync"])
    expected = podman_logs(site, "odd-c0")
    assert logs(site, "odd") == expected
    timed = logs(site, "-t", "odd")
    lines = timed[0].splitlines(keepends=True)
    for number in (1, len(lines) // 2, len(lines) - 1):
        moment = lines[number].split()[0]
        whole = [line for line in lines if line[:30] >= moment]
        assert logs(site, "-t", "--since", moment.decode(), "odd")[0] == b"".join(whole)
        assert logs(site, "-t", "--until", moment.decode(), "odd")[0] == b"".join(lines[: len(lines) - len(whole)])
    last = logs(site, "-n", "3", "odd")
    assert b"".join(last).count(b"\n") == 3
    assert all(stream.endswith(part) for stream, part in zip(expected, last, strict=True))
    assert logs(site, "--grep", "(out|error) 19[89]", "odd") == (b"out 198\nout 199\n", b"error 198\nerror 199\n")
    rows = [json.loads(line) for line in logs(site, "--json", "--exclude", "long", "odd")[0].splitlines()]
    for stream, name in zip(expected, ("stdout", "stderr"), strict=True):
        told = [line.decode(errors="replace") for line in stream.split(b"\n") if b"long" not in line]
        assert [row["message"] for row in rows if row["stream"] == name] == told[: None if told[-1] else -1]


def test_a_journal_and_a_file_are_merged_by_time(site: Installed) -> None:
    talk = "sleep {}; for n in 1 2 3 4 5; do echo {} $n; sleep 0.4; done; " + FOREVER
    scripts = talk.format(1, "journal"), talk.format(1.2, "file")
    deploy(site, "both", *scripts, drivers=("journald", "k8s-file"))
    wait_for(lambda: logs(site, "--no-prefix", "both")[0].count(b"\n") == 10, what="all lines are there")
    rows = [line.split(b" ", 1) for line in logs(site, "-t", "--no-prefix", "both")[0].splitlines()]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert sorted(row[1] for row in rows if row[1].startswith(b"j")) == [b"journal %d" % n for n in range(1, 6)]
    assert [row[1] for row in rows] != sorted(row[1] for row in rows), "they were written in turns"


def test_a_follower_loses_nothing_whatever_happens(site: Installed) -> None:
    deploy(site, "count", NUMBERED)
    with following(site, "count") as follower:
        middle, last = "line 5000\n", f"line {LINES}\n"
        wait_for(lambda: follower.count(middle) == 1, what="the first run comes")
        site.mcp("restart", "count")
        wait_for(lambda: follower.count(middle) == 2, what="the second run comes")
        site.mcp("deploy", "--force", "count")
        wait_for(lambda: follower.count(middle) == 3, what="the third run comes")
        pid = site.pid
        site.node.run(["kill", "-KILL", str(pid)])
        wait_for(
            lambda: follower.count(last) >= 1 and follower.out[-1] == last, what=lambda: f"all comes: {follower.err}"
        )
        time.sleep(1)
        assert site.pid not in (0, pid)
        seen = follower.out.copy()
    journal = site.node.run(["journalctl", "--output=cat", "CONTAINER_NAME=count-c0"]).stdout
    logged = [line + "\n" for line in journal.split("\n") if line.startswith("line ")]
    assert seen[-LINES:] == [f"line {number}\n" for number in range(1, LINES + 1)]
    assert seen == logged
    markers = "".join(follower.err)
    for word in ("restarted", "replaced by 1.0.0", "connection lost", "reconnected"):
        assert word in markers


def test_a_line_after_a_silence_comes_at_once(site: Installed) -> None:
    deploy(site, "tick", "while :; do sleep 2.3; echo tick; done")
    with following(site, "-t", "tick") as follower:
        wait_for(lambda: len(follower.out) >= 6, what="six lines come")
        told = [float(line[17:29]) for line in follower.out[:6]]  # the second at which journald got it
    late = sorted((came - second) % 60 for came, second in zip(follower.came, told, strict=False))
    assert late[2] < 0.4, late  # how long it really takes is for bench/journald.py to say


def test_previous_is_what_the_container_before_wrote(site: Installed) -> None:
    deploy(site, "old", "echo former; echo error >&2; " + FOREVER)
    wait_for(lambda: logs(site, "old") == (b"former\n", b"error\n"), what="it wrote its lines")
    site.mcp("deploy", "--force", "old")
    assert logs(site, "--previous", "old") == (b"former\n", b"error\n")


def test_what_journald_dropped_is_said(site: Installed) -> None:
    """The container writes without a pause over several intervals, and its last line is how many it wrote.

    After an interval of silence journald forgets what it dropped as soon as another unit logs: see
    journal_ratelimit_vacuum in its journald-rate-limit.c.
    """
    limit(site, "RateLimitBurst=100\nRateLimitIntervalSec=1s")
    try:
        now = "$(date +%s)"
        some = "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo loud $n; done; n=$((n+500))"
        loud = f"n=0; end=$(({now}+4)); until [ {now} -gt $end ]; do {some}; done; sleep 2; echo wrote $n; "
        deploy(site, "loud", loud + FOREVER)
        wait_for(lambda: b"wrote" in logs(site, "loud")[0], what="it wrote its last line")
        out, err = logs(site, "loud")
        assert 100 <= out.count(b"\n") < int(out.split()[-1])
        assert b"journald, because of its rate limit: Suppressed" in err
        assert err.count(b"lines may be missing") >= 1
    finally:
        limit(site, "RateLimitBurst=0")


def test_without_the_group_it_says_what_to_do(site: Installed) -> None:
    deploy(site, "solo", "echo hello; " + FOREVER)
    site.node.run(["gpasswd", "--delete", "mcp", "systemd-journal"])
    site.node.run(["mkdir", "-p", f"{UNIT}.d"])
    site.node.write(f"{UNIT}.d/test.conf", "[Service]\nSupplementaryGroups=\n")
    site.systemctl("daemon-reload")
    site.systemctl("restart", "mcp-agent.service")
    try:
        for options in ([], ["-f"]):
            done = site.cli.run("logs", *options, "solo")
            assert (done.code, done.stdout, len(done.errors)) == (1, "", 1), done
            assert "user mcp is not in the group systemd-journal; as root, run `usermod -aG" in done.stderr
    finally:
        site.node.run(["rm", "-r", f"{UNIT}.d"])
        site.node.run(["usermod", "-aG", "systemd-journal", "mcp"])
        site.systemctl("daemon-reload")
        site.systemctl("restart", "mcp-agent.service")
    assert logs(site, "solo") == (b"hello\n", b"")
