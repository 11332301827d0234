"""Adopting: containers made without MCP are registered as they are, and nothing happens to them."""

import json
import subprocess

import pytest

from mcp.definitions.definitions import parse
from tests.component.conftest import Rig
from tests.component.fakes import WEB, WORKER
from tests.component.processes import free_port

PORT = free_port()
ENV = "--env-file=/dev/stdin"
SHOP_WEB = [
    "--restart=always",
    f"--publish=127.0.0.1:{PORT}:8080",
    "--volume=/usr/share:/data:ro",
    "--env-file=/dev/stdin",
    WEB,
]
SHOP_WORK = ["--restart=on-failure", "--network=mcpnet", "--user=0:0", WORKER, "worker", "-v"]


def by_hand(rig: Rig, name: str, *words: str, env: str = "") -> None:
    """Run a container without MCP."""
    argv = [str(rig.fake.folder / "podman"), "run", "--detach", "--pull=never", "--log-driver=k8s-file"]
    subprocess.run([*argv, f"--name={name}", *words], input=env.encode(), check=True, capture_output=True, timeout=60)


@pytest.fixture
def shop(rig: Rig) -> Rig:
    """An agent beside whose containers others run."""
    rig.fake.change(networks=["mcpnet"])
    by_hand(rig, "shop-web", *SHOP_WEB, env="COLOUR=a b\nHOME=/root\n")
    by_hand(rig, "shop-work", *SHOP_WORK)
    return rig


def test_a_service_is_adopted_as_it_is(shop: Rig) -> None:
    before = shop.fake.lives()
    done = shop.agent.cli.run("adopt", "shop")
    assert (done.code, done.stdout) == (0, "shop/web: adopted on rift\nshop/work: adopted on rift\n")
    assert done.stderr == "write their definitions with `mcp service export --with-env --node rift`\n"
    rows = json.loads(shop.agent.cli.run("ps", "--json").stdout)
    assert [(row["component"], row["state"], row["desired"]) for row in rows] == [
        ("web", "running", "running"),
        ("work", "running", "running"),
    ]
    assert shop.agent.cli.run("adopt", "shop").stdout == done.stdout, "again is fine"
    assert shop.fake.lives() == before


def test_the_definition_makes_the_same_container_again(shop: Rig) -> None:
    done = shop.agent.cli.run("adopt", "shop", "--dry-run")
    exported = "shop: without the values of COLOUR: once it is adopted, `mcp service export --with-env` has them\n"
    assert (done.code, done.stderr) == (0, exported)
    web, work = parse(done.stdout.replace("COLOUR", "COLOUR=a b"), "stdout").service.components
    assert (web.image, web.restart, web.network, web.cmd) == (WEB, "always", "", ())
    assert (web.ports, web.volumes, web.env) == ((f"127.0.0.1:{PORT}:8080",), ("/usr/share:/data:ro",), ("COLOUR=a b",))
    assert (work.image, work.restart, work.network, work.user) == (WORKER, "on-failure", "mcpnet", "0:0")
    assert work.cmd == ("worker", "-v")
    assert shop.agent.cli.run("ps", "--json").stdout.strip() == "[]", "a dry run registers nothing"

    assert shop.agent.cli.run("adopt", "shop").code == 0
    before = shop.fake.lives()
    shop.agent.define("shop", shop.agent.cli.run("service", "export", "shop", "--with-env", "-o", "-").stdout)
    assert shop.agent.cli.run("deploy", "-q", "shop").code == 0
    assert shop.fake.lives() == before, "it is up to date"
    shop.fake.change(containers=[])
    assert shop.agent.cli.run("agent", "recover", "rift").code == 0
    again = shop.fake.containers()["shop-web"]
    assert (again["ports"], again["env"], again["restart"]) == ([f"127.0.0.1:{PORT}:8080"], ["COLOUR=a b"], "always")


def test_all_that_runs_outside_is_adopted_or_refused_with_a_reason(shop: Rig) -> None:
    shop.fake.add_image("localhost/x:latest")
    by_hand(shop, "moving", "localhost/x:latest")
    by_hand(shop, "Bad_Name", WEB)
    by_hand(shop, "lone-thing", WEB)
    by_hand(shop, "ended", "--restart=no", "localhost/mcp-fail:1.0.0")
    shop.agent.define("site", f'name = "site"\nnode = "rift"\n[[components]]\nname = "site"\nimage = "{WEB}"\n')
    assert shop.agent.cli.run("deploy", "-q", "site").code == 0
    before = shop.fake.lives()
    for options in (("--dry-run",), ()):
        done = shop.agent.cli.run("adopt", "--all", "--json", *options)
        rows = {row["container"]: row for row in json.loads(done.stdout)}
        assert done.code == 1
        assert set(rows) == {"shop-web", "shop-work", "moving", "Bad_Name", "lone-thing"}
        assert "is tagged latest" in rows["moving"]["error"]
        assert " localhost/NAME:VERSION` and create the container from that name" in rows["moving"]["error"]
        assert "invalid name" in rows["Bad_Name"]["error"]
        places = {name: (row["service"], row["component"]) for name, row in rows.items() if not row["error"]}
        assert places == {
            "shop-web": ("shop", "web"),
            "shop-work": ("shop", "work"),
            "lone-thing": ("lone-thing", "lone-thing"),
        }
    services = {row["service"] for row in json.loads(shop.agent.cli.run("ps", "--json").stdout)}
    assert services == {"shop", "lone-thing", "site"}
    assert {each[:2] for each in before} == {each[:2] for each in shop.fake.lives()}
    done = shop.agent.cli.run("adopt", "--all")
    assert (done.code, done.stdout, len(done.errors)) == (1, "", 2)


def test_what_was_made_over_the_api_is_adopted_with_a_note(shop: Rig) -> None:
    shop.fake.change(containers=[each | {"create_command": None} for each in shop.fake.containers().values()])
    done = shop.agent.cli.run("adopt", "shop")
    assert (done.code, done.stdout) == (0, "shop/web: adopted on rift\nshop/work: adopted on rift\n")
    assert done.stderr.splitlines()[:2] == [
        f"rift: {name}: not made by podman run or podman create: options that podman does not report are not adopted"
        for name in ("shop-web", "shop-work")
    ]


def test_an_option_that_definitions_lack_is_named(shop: Rig) -> None:
    containers = shop.fake.containers()
    odd = containers["shop-web"]["create_command"]
    containers["shop-web"]["create_command"] = [*odd[:2], "--hostname=db", "--network-alias", "db", *odd[2:]]
    shop.fake.change(containers=list(containers.values()))
    done = shop.agent.cli.run("adopt", "shop")
    assert (done.code, done.stdout) == (1, "shop/work: adopted on rift\n")
    for option in ("--hostname", "--network-alias"):
        assert f"{option} cannot be expressed in a definition" in done.errors[0]


def test_containers_of_mcp_come_back_to_an_empty_registry(rig: Rig) -> None:
    rig.agent.define("a-b", f'name = "a-b"\nnode = "rift"\n[[components]]\nname = "c-d"\nimage = "{WEB}"\n')
    assert rig.agent.cli.run("deploy", "-q", "a-b").code == 0
    before = rig.fake.lives()
    rig.agent.stop()
    for path in (*rig.agent.home.folder.glob("mcp.db*"), rig.agent.home.token_file):
        path.unlink()
    assert rig.agent.home.token("add", "kyle", "--output", str(rig.agent.home.token_file)).code == 0
    rig.restart()
    done = rig.agent.cli.run("adopt", "--all")
    assert (done.code, done.stdout) == (0, "a-b/c-d: adopted on rift\n")
    done = rig.agent.cli.run("deploy", "-q", "a-b")
    assert done.code == 0
    assert rig.fake.lives() == before, "it is up to date"
    assert rig.agent.cli.run("deploy", "-q", "a-b", "--force").code == 0
    assert int(rig.fake.containers()["a-b-c-d"]["labels"]["mcp.deploy"]) > 1, "no number is given twice"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["adopt"], 2, "name a service, or give --all"),
        (["adopt", "shop", "--all"], 2, "name a service, or give --all"),
        (["adopt", "shop/web"], 2, "expected a service without /COMPONENT"),
        (["adopt", "nosuch"], 1, "no container is named nosuch or nosuch-…; there are: shop-web, shop-work"),
        (["adopt", "--all", "--node", "nope"], 1, "no node named nope"),
    ],
)
def test_mistakes(shop: Rig, command: list[str], code: int, words: str) -> None:
    done = shop.agent.cli.run(*command)
    assert (done.stdout, len(done.errors)) == ("", 1)
    assert words in done.stderr
    assert done.code == code


def test_nothing_runs_outside(rig: Rig) -> None:
    done = rig.agent.cli.run("adopt", "--all")
    assert (done.code, done.stdout, done.stderr) == (0, "", "rift: no unmanaged containers\n")


def test_what_podman_says_in_another_form_is_no_crash(shop: Rig) -> None:
    shop.fake.misbehave("garbage", ["inspect", "--type=container"])
    done = shop.agent.cli.run("adopt", "--all")
    assert (done.code, len(done.errors)) == (1, 1)
    assert "unexpected output of podman inspect: not" in done.stderr


def test_the_way_a_container_logs_is_adopted(rig: Rig) -> None:
    argv = [str(rig.fake.folder / "podman"), "run", "--detach", "--pull=never"]
    for name, options in (
        ("log-journal", ["--log-driver=journald"]),
        ("log-small", ["--log-driver=k8s-file", "--log-opt=max-size=5000000"]),
        ("log-endless", ["--log-driver=k8s-file"]),
    ):
        subprocess.run([*argv, *options, f"--name={name}", WEB], input=b"", check=True, capture_output=True, timeout=60)
    before = rig.fake.lives()
    exported = rig.agent.cli.run("adopt", "log", "--dry-run")
    assert exported.code == 0, exported.stderr
    assert rig.agent.cli.run("adopt", "log").code == 0
    components = parse(exported.stdout, "stdout").service.components
    found = {each.name: (each.log_driver, each.log_max_size) for each in components}
    assert found == {"journal": ("journald", ""), "small": ("k8s-file", "5m"), "endless": ("k8s-file", "0")}
    rig.agent.define("log", exported.stdout)
    assert rig.agent.cli.run("deploy", "-q", "log").code == 0
    assert rig.fake.lives() == before, "it is up to date"
    rig.agent.define("log", exported.stdout.replace('"5m"', '"6m"'))
    planned = rig.agent.cli.run("plan", "--json", "log").stdout
    assert json.loads(planned)[0]["reasons"] == ["log_max_size: 5m -> 6m"]
    assert rig.agent.cli.run("deploy", "-q", "log", "--force").code == 0
    runs = {word[7:]: argv for argv in rig.fake.commands() if argv[0] == "run" for word in argv if "--name=" in word}
    for name, options in (
        ("log-journal", ["--log-driver=journald"]),
        ("log-small", ["--log-driver=k8s-file", "--log-opt=max-size=6000000"]),
        ("log-endless", ["--log-driver=k8s-file"]),
    ):
        assert [word for word in runs[name] if word.startswith("--log")] == options
