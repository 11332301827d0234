"""`mcp service export`: definitions from a node's registry into files, none overwritten unasked."""

import dataclasses
from pathlib import Path

import pytest

from mcp.definitions import definitions, export
from mcp.shared.errors import NotReady
from mcp.shared.spec import ComponentSpec, ServiceSpec
from mcp.shared.wire import service_to_wire
from proto.mcp.v1 import mcp_pb2 as pb
from tests.agents import write_cli_config
from tests.component.conftest import Rig
from tests.component.definitions import component, route, service

DONE, FAILED, USAGE, AUTH, UNREACHABLE = range(5)
RICH = service(
    "web",
    component("api", more='env = ["A=\\"\\\\", "B=é\\t"]\ncmd = ["web", ""]\n') + route("rest") + route("grpc", 9),
    component("web"),
)


@pytest.fixture(scope="module", autouse=True)
def deployed(shared: Rig) -> Rig:
    """The agent with two services."""
    for name, text in (("web", RICH), ("solo", service("solo"))):
        shared.agent.define(name, text)
        done = shared.agent.cli.run("deploy", "-q", name)
        assert done.code == DONE, done
    return shared


def spec_in(path: Path) -> definitions.Definition:
    """The definition in a file."""
    return definitions.parse(path.read_text(), str(path))


def test_what_is_exported_means_what_was_deployed(deployed: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    done = deployed.agent.cli.run("service", "export", "--with-env", "--output", str(folder))
    assert (done.code, done.stdout) == (
        DONE,
        f"solo: written to {folder}/solo.toml\nweb: written to {folder}/web.toml\n",
    )
    for name in ("solo", "web"):
        assert spec_in(folder / f"{name}.toml") == spec_in(deployed.agent.services / f"{name}.toml")
        assert (folder / f"{name}.toml").stat().st_mode & 0o777 == 0o600
    again = deployed.agent.cli.run("service", "export", "--node", "rift", "-o", str(folder))
    assert (again.code, again.stdout) == (
        DONE,
        f"solo: unchanged in {folder}/solo.toml\nweb: unchanged in {folder}/web.toml\n",
    )


def test_values_of_variables_are_left_out_unless_asked_for(deployed: Rig, tmp_path: Path) -> None:
    before = deployed.agent.log().count("values of variables are read")
    done = deployed.agent.cli.run("service", "export", "web", "-o", str(tmp_path))
    assert (done.code, done.stdout) == (DONE, f"web: written to {tmp_path}/web.toml\n")
    assert done.stderr == "web: without the values of A, B: add them, or use --with-env\n"
    assert 'env = ["A", "B"]' in (tmp_path / "web.toml").read_text()
    (tmp_path / "web.toml").write_text(RICH)  # the same, with the values
    done = deployed.agent.cli.run("service", "export", "web", "-o", str(tmp_path))
    assert (done.code, done.stdout, done.stderr) == (DONE, f"web: unchanged in {tmp_path}/web.toml\n", "")
    assert deployed.agent.cli.run("service", "export", "web", "--with-env", "-o", "-").code == DONE
    assert deployed.agent.log().count('msg="values of variables are read" user=kyle') == before + 1


def test_a_definition_without_values_is_not_deployed(deployed: Rig) -> None:
    text = deployed.agent.cli.run("service", "export", "web", "-o", "-").stdout
    deployed.agent.define("web", text)
    try:
        done = deployed.agent.cli.run("deploy", "web")
    finally:
        deployed.agent.define("web", RICH)
    assert done.code == USAGE
    assert "components[0].env[0]: is not KEY=VALUE; a name alone stands for a value that was left out" in done.stderr


def test_by_default_into_the_services_folder(deployed: Rig) -> None:
    path = deployed.agent.services / "web.toml"
    before = path.read_bytes()
    done = deployed.agent.cli.run("service", "export", "web")
    assert (done.code, done.stdout) == (DONE, f"web: unchanged in {path}\n")
    assert path.read_bytes() == before


def test_a_file_that_differs_is_kept(deployed: Rig, tmp_path: Path) -> None:
    ours = service("solo", component(more='user = "5"'))
    for text in (ours, "not TOML"):
        path = tmp_path / "solo.toml"
        path.write_text(text)
        done = deployed.agent.cli.run("service", "export", "--with-env", "-o", str(tmp_path))
        assert (done.code, done.errors) == (
            FAILED,
            [f"mcp: {path}: exists and differs; use --force to replace it"],
        )
        assert "web: " in done.stdout
        assert path.read_text() == text
    assert deployed.agent.cli.run("service", "export", "solo", "-o", str(tmp_path), "--force").code == DONE
    assert spec_in(tmp_path / "solo.toml") == spec_in(deployed.agent.services / "solo.toml")


def test_to_stdout(deployed: Rig) -> None:
    done = deployed.agent.cli.run("service", "export", "solo", "-o", "-")
    assert (done.code, done.stderr) == (DONE, "")
    assert definitions.parse(done.stdout, "-") == spec_in(deployed.agent.services / "solo.toml")
    every = deployed.agent.cli.run("service", "export", "-o", "-")
    assert (every.code, len(every.errors)) == (USAGE, 1)
    assert "name a SERVICE, or give a folder" in every.stderr


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("nope",), FAILED, "no service nope is registered on any node"),
        (("nope", "--node", "rift"), FAILED, "no service nope is registered on rift"),
        (("--node", "mars"), FAILED, "no node named mars"),
        (("web/api",), USAGE, "expected a service without /COMPONENT"),
        (("web", "-o", "/proc/nope"), FAILED, "/proc/nope: cannot be created: "),
        (("web", "-o", "/etc/passwd"), FAILED, "/etc/passwd"),
    ],
)
def test_mistakes(deployed: Rig, argv: tuple[str, ...], code: int, words: str) -> None:
    done = deployed.agent.cli.run("service", "export", *argv)
    assert (done.code, done.stdout, len(done.errors)) == (code, "", 1), done
    assert words in done.stderr


def test_a_node_that_does_not_answer(deployed: Rig, tmp_path: Path) -> None:
    cli = dataclasses.replace(deployed.agent.cli, config=write_cli_config(deployed.agent.home, deployed.agent.address))
    text = cli.config.read_text()
    cli.config.write_text(f'{text}[[nodes]]\nname = "mars"\naddress = "127.0.0.1:1"\n')
    try:
        done = cli.run("service", "export", "web", "-o", str(tmp_path))
    finally:
        cli.config.write_text(text)
    assert (done.code, done.stdout) == (UNREACHABLE, f"web: written to {tmp_path}/web.toml\n")
    assert done.stderr.startswith("mcp: mars: ")


def registered(*names: str, info: pb.ServiceInfo | None = None) -> dict[str, list[pb.ServiceInfo]]:
    """The services of nodes of these names: `info`, or a service web."""
    spec = ServiceSpec("web", components=(ComponentSpec("api", "localhost/web:1.0"),))
    info = info or pb.ServiceInfo(name="web", definition=service_to_wire(spec))
    return {name: [info] for name in names}


def test_a_service_on_two_nodes_is_not_guessed() -> None:
    found = export.collect(registered("rift", "orion"), "web")
    assert [str(one.error) for one in found] == ["web: is registered on rift and orion; choose with --node"] * 2
    (one,) = export.collect(registered("rift"), "")
    assert one.definition is not None
    assert one.definition.node == "rift"


def test_what_is_no_definition_is_said() -> None:
    (old,) = export.collect(registered("rift", info=pb.ServiceInfo(name="web")), "")
    assert isinstance(old.error, NotReady)
