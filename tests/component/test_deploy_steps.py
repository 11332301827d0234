"""The steps of a deploy: printed by --dry-run, shown as they happen, and the same both times."""

import json
import re

from tests.component.conftest import Rig
from tests.component.definitions import component, route, service
from tests.component.fakes import FAIL, WEB, WEB2
from tests.terminals import on_terminal

FIRST = [
    f"check the image {WEB}",
    "reserve a host port",
    "create missing folders of the service",
    f"run {WEB}",
    "wait until web-api is healthy or stays up",
    "record it in the registry",
]
AGAIN = [
    f"check the image {WEB2}",
    "reserve a host port",
    "create missing folders of the service",
    "check that podman can create web-api",
    "stop web-api",
    "rename web-api to web-api.old",
    f"run {WEB2}",
    "wait until web-api is healthy or stays up",
    "record it in the registry",
    "remove web-api.old",
]


def numbered(titles: list[str]) -> list[str]:
    return [f"  {number}. {title}" for number, title in enumerate(titles, 1)]


def shown(titles: list[str], *, count: int = 0) -> list[str]:
    return [f"web/api: {number}/{count or len(titles)} {title}" for number, title in enumerate(titles, 1)]


def test_a_dry_run_prints_the_steps_and_takes_none(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", more=route())))
    dry = rig.agent.cli.run("deploy", "--dry-run", "web")
    assert (dry.code, dry.stderr) == (0, "")
    assert dry.stdout.splitlines() == ["create   web/api on rift (is not deployed)", *numbered(FIRST)]
    assert rig.fake.containers() == {}
    (row,) = json.loads(rig.agent.cli.run("deploy", "--dry-run", "--json", "web").stdout)
    assert (row["action"], row["steps"]) == ("create", FIRST)

    done = rig.agent.cli.run("deploy", "web")
    assert (done.code, done.stdout) == (0, "web/api: deployed on rift\n")
    assert done.errors == shown(FIRST)
    rig.agent.define("web", service("web", component("api", WEB2, route())))
    assert rig.agent.cli.run("deploy", "--dry-run", "web").stdout.splitlines()[1:] == numbered(AGAIN)
    assert rig.agent.cli.run("deploy", "web").errors == shown(AGAIN)

    dry = rig.agent.cli.run("deploy", "--dry-run", "web")
    assert (dry.code, dry.stdout) == (0, "nothing to do: nodes match the definitions\n")
    assert rig.agent.cli.run("deploy", "--dry-run", "--exit-code", "--force", "web").code == 2
    done = rig.agent.cli.run("deploy", "web")
    assert (done.code, done.stdout, done.stderr) == (0, "web/api: up to date on rift\n", "")


def test_what_fails_and_is_undone_is_shown(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api")))
    assert rig.agent.cli.run("deploy", "--quiet", "web").stderr == ""
    rig.agent.define("web", service("web", component("api", FAIL)))
    done = rig.agent.cli.run("deploy", "web")
    assert done.code == 1
    steps = [re.sub(r"^web/api: ./9 ", "", line) for line in done.errors if not line.startswith(("mcp: ", "    "))]
    assert steps == [
        f"check the image {FAIL}",
        "create missing folders of the service",
        "check that podman can create web-api",
        "stop web-api",
        "rename web-api to web-api.old",
        f"run {FAIL}",
        "wait until web-api is healthy or stays up",
        "failed: wait until web-api is healthy or stays up",
        f"undone: run {FAIL}",
        "undone: rename web-api to web-api.old",
        "undone: stop web-api",
    ]
    assert rig.fake.running() == {"web-api": WEB}


def test_only_one_component_is_planned(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api"), component("work")))
    dry = rig.agent.cli.run("deploy", "--dry-run", "web/work")
    assert [line for line in dry.stdout.splitlines() if not line.startswith(" ")] == [
        "create   web/work on rift (is not deployed)"
    ]


STOP = ["record its desired state: stopped", "stop web-{}"]
START = ["start web-{}", "record its desired state: running"]
REMOVE = ["stop and remove web-{}", "remove it from the registry"]


def test_stop_start_restart_and_undeploy_show_their_steps(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api"), component("work")))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0

    def steps(operation: str, target: str = "web") -> dict[str, list[str]]:
        """The steps that a command shows, by component; quietly it says nothing, and does the same once more."""
        done = rig.agent.cli.run(operation, target)
        assert done.code == 0
        quiet = rig.agent.cli.run(operation, "--quiet", target)
        assert quiet.stderr == "" or operation == "undeploy"
        return {
            name: [line.partition(" ")[2] for line in done.errors if line.startswith(f"web/{name}: ")]
            for name in ("api", "work")
        }

    def expected(titles: list[str], name: str) -> list[str]:
        return [f"{number}/{len(titles)} {title.format(name)}" for number, title in enumerate(titles, 1)]

    assert steps("stop") == {name: expected(STOP, name) for name in ("api", "work")}
    assert rig.fake.running() == {}
    assert steps("start") == {name: expected(START, name) for name in ("api", "work")}
    restart = [STOP[1], *START]
    assert steps("restart", "web/work") == {"api": [], "work": expected(restart, "work")}
    assert steps("undeploy") == {name: expected(REMOVE, name) for name in ("api", "work")}
    assert rig.fake.containers() == {}


def test_a_terminal_has_a_live_line_per_component(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api"), component("work")))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    shown = on_terminal([*rig.agent.cli.command, "stop", "web"], rig.agent.cli.environment())
    assert shown.code == 0
    assert "web/work  2/2 stop web-work" in shown.text
    assert "web/api   2/2 stop web-api" in shown.text
    last_screen = shown.text.rpartition("\x1b[J")[2].replace("\r", "")
    assert last_screen == "web/api: stopped on rift\nweb/work: stopped on rift\n"
