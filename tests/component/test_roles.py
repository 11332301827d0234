"""What the holder of each token may do, by the CLI: readers read, deployers change their services."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.agents import Cli, Outcome
from tests.component.conftest import Rig
from tests.component.definitions import TWO, component, service
from tests.component.fakes import WEB, WEB2

DONE, FAILED, AUTH = 0, 1, 3


def cli_of(rig: Rig, name: str, *options: str) -> Cli:
    """The CLI with a new token."""
    token = rig.agent.home.new_token(name, *options)
    return replace(rig.agent.cli, env={**rig.agent.cli.env, "MCP_TOKEN": token})


@pytest.fixture(scope="module")
def node(shared: Rig) -> Rig:
    """An agent with the services web and shop, and the definition of db."""
    for name, text in (("web", TWO), ("shop", service("shop", component("api", more='env = ["KEY=hunter2"]')))):
        shared.agent.define(name, text)
        assert shared.agent.cli.run("deploy", "-q", name).code == DONE
    shared.agent.define("db", service("db"))
    (shared.agent.home.srv / "web" / "secret").write_bytes(b"secret")
    return shared


@pytest.fixture(scope="module")
def reader(node: Rig) -> Cli:
    """The CLI of ann, who may only read."""
    return cli_of(node, "ann", "--role", "reader")


@pytest.fixture(scope="module")
def deployer(node: Rig) -> Cli:
    """The CLI of bob, a deployer of shop and more."""
    return cli_of(node, "bob", "--role", "deployer", "--services", "shop,more")


READS = [
    *("ps", "list", "status web", "status", "plan", "history web", "events web", "logs web", "whoami", "node list"),
    *("agent status", "rollback --dry-run --to 1 web", "adopt --all --dry-run", "agent recover --dry-run rift"),
    *("purge --dry-run", "service export web -o -"),
]
CHANGES = {
    "deploy web": "deploy needs the role deployer for web",
    "deploy -q web": "deploy needs the role deployer for web",
    "rollback --to 1 web": "rollback needs the role deployer for web",
    "undeploy web": "undeploy needs the role deployer for web",
    "stop web/api": "stop needs the role deployer for web",
    "start web": "start needs the role deployer for web",
    "restart web": "restart needs the role deployer for web",
    "sync web": "sync needs the role deployer for web",
    "sync": "sync of the whole node needs the role admin",
    "adopt --all": "adopt needs the role admin",
    "purge": "purge needs the role admin",
    "purge web": "purge needs the role deployer for web",
    "agent recover rift": "recover needs the role admin",
    f"push {__file__} web/x": "push needs the role deployer for web",
    "pull web/secret -": "pull needs the role deployer for web",
    "service export --with-env web -o -": "reading values of variables needs the role admin",
}


@pytest.mark.parametrize("line", READS)
def test_readers_and_deployers_read(reader: Cli, deployer: Cli, line: str) -> None:
    for cli in (reader, deployer):
        done = cli.run(*line.split())
        assert done.code == DONE, done
        assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize("line", CHANGES)
def test_what_they_may_not_is_refused_in_one_line(node: Rig, reader: Cli, deployer: Cli, line: str) -> None:
    before = node.fake.lives()
    for cli, may in (
        (reader, "ann may only read (role reader)"),
        (deployer, "bob may only deploy more, shop (role deployer)"),
    ):
        done = cli.run(*line.split())
        assert (done.code, done.stdout) == (AUTH, "")
        expected = f"mcp: rift: {may}: {CHANGES[line]}; see `mcp whoami`; use a token that has it"
        assert done.errors == [expected], done
    assert node.fake.lives() == before
    assert not (node.agent.home.srv / "web" / "x").exists()


def test_who_may_what_is_shown(node: Rig, reader: Cli, deployer: Cli) -> None:
    for cli, role, services in ((reader, "reader", []), (deployer, "deployer", ["more", "shop"])):
        (row,) = json.loads(cli.run("whoami", "--json").stdout)
        assert (row["role"], row["services"]) == (role, services)
    assert " deployer: more, shop " in deployer.run("whoami").stdout
    assert " admin " in node.agent.cli.run("whoami").stdout
    token = node.agent.home.new_token("zoe", "--role", "reader")
    env = {name: value for name, value in node.agent.cli.env.items() if name != "MCP_TOKEN"}
    stored = node.agent.home.token_file.read_text()
    try:
        done = replace(node.agent.cli, env=env).run("login", "--token-stdin", "--force", stdin=token)
    finally:
        node.agent.home.token_file.write_text(stored)
    assert done.stdout.startswith("logged in on rift as zoe (reader); token stored in ")


def test_a_deployer_works_on_its_own_services(rig: Rig, tmp_path: Path) -> None:
    cli = cli_of(rig, "bob", "--role", "deployer", "--services", "shop")
    for image in (WEB, WEB2):
        rig.agent.define("shop", service("shop", component("api", image, 'env = ["KEY=hunter2"]')))
        assert cli.run("deploy", "shop").code == DONE
    done = cli.run("rollback", "-q", "shop")
    assert (done.code, done.stdout) == (DONE, "shop/api: rolled back to deploy 1 on rift\n")
    assert rig.fake.running() == {"shop-api": WEB}
    assert cli.run("sync", "shop").code == DONE
    for words in ("stop shop", "start shop", "restart shop/api", f"push {__file__} shop/x", "undeploy shop"):
        assert cli.run(*words.split()).code == DONE, words
    assert cli.run("pull", "shop/x", str(tmp_path / "x")).code == DONE


def deploy(rig: Rig, cli: Cli, *volumes: str, name: str = "shop") -> Outcome:
    """Deploy a service with these volumes."""
    rig.agent.define(name, service(name, component("api", more=f"volumes = {json.dumps(volumes)}")))
    return cli.run("deploy", "-q", name)


def test_a_deployers_definition_reaches_nothing_of_others(rig: Rig) -> None:
    cli, srv = cli_of(rig, "bob", "--role", "deployer", "--services", "shop"), rig.agent.home.srv
    assert deploy(rig, rig.agent.cli, f"{srv}/web:/w", "data:/data", name="web").code == DONE
    (srv / "shop").mkdir()
    (srv / "shop" / "link").symlink_to("../web")
    for volume, what in {
        f"{srv}/web:/w": f"mounting {srv}/web",
        f"{srv}/shop/link:/w": f"mounting {srv}/shop/link",
        f"{srv}:/w": f"mounting {srv}",
        "/etc/hostname:/w:ro": "mounting /etc/hostname",
        "data:/w": "mounting the volume data",
        "web-api-data:/w": "mounting the volume web-api-data",
    }.items():
        done = deploy(rig, cli, volume)
        assert (done.code, done.stdout) == (AUTH, "")
        may = "mcp: rift: bob may only deploy shop (role deployer)"
        assert done.errors == [f"{may}: {what} needs the role admin; see `mcp whoami`; use a token that has it"]
    for volumes in ((f"{srv}/shop:/s", f"{srv}/shop/a:/a"), (f"{srv}/shop/a:/a:ro", f"{srv}/shop:/s")):
        what = f"mounting {srv}/shop/a beside a writable mount of {srv}/shop"
        assert what in deploy(rig, cli, *volumes).stderr
    assert deploy(rig, cli, f"{srv}/shop:/s:ro", f"{srv}/shop/a:/a", "shop-data:/d").code == DONE
    # what somebody with more rights has deployed stays
    assert deploy(rig, rig.agent.cli, "/usr/share:/w:ro").code == DONE
    assert deploy(rig, cli, "/usr/share:/elsewhere:ro").code == DONE
    assert deploy(rig, cli, "/usr/share:/w").code == AUTH
    assert cli.run("sync", "shop").code == AUTH


def test_nobodys_definition_reaches_the_agent(rig: Rig) -> None:
    home = rig.agent.home
    for source in (home.folder, home.srv, home.database, home.folder.parent, Path("/proc"), Path("/")):
        done = deploy(rig, rig.agent.cli, f"{source}:/m")
        assert (done.code, done.stdout, len(done.errors)) == (FAILED, "", 1)
        assert f"mcp: shop/api: the mount {source} " in done.stderr
        assert "to allow it, add it to allow_mounts in [agent] of the node's mcp-agent.toml" in done.stderr
        assert rig.agent.cli.run("plan", "shop").stdout.startswith("blocked  shop/api on rift (the mount ")
    assert rig.fake.running() == {}
    rig.agent.stop()
    home.write_config(settle="50ms", more=f'allow_mounts = ["{home.database}"]\n')
    rig.restart()
    assert deploy(rig, rig.agent.cli, f"{home.database}:/m").code == DONE


def test_a_service_from_before_the_rule_runs_on(rig: Rig) -> None:
    home = rig.agent.home
    rig.agent.stop()
    home.write_config(settle="50ms", more='allow_mounts = ["/"]\n')
    rig.restart()
    assert deploy(rig, rig.agent.cli, f"{home.folder}:/m").code == DONE
    rig.agent.stop()
    home.write_config(settle="50ms")
    rig.restart()
    assert rig.agent.cli.run("sync", "shop").code == DONE
    for words in ("restart shop", "stop shop", "start shop"):
        assert rig.agent.cli.run(*words.split()).code == DONE, words
    rig.fake.change(containers=[])
    assert rig.agent.cli.run("agent", "recover", "rift").code == DONE
    assert rig.fake.running() == {"shop-api": WEB}
