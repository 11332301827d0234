"""Service definitions: the example of the manual, and each mistake that can be made in one."""

from pathlib import Path

import pytest
from hypothesis import given

from mcp.config.configuration import Config
from mcp.definitions import definitions
from mcp.definitions.definitions import BuildSpec, Definition
from mcp.shared.errors import InvalidFile, InvalidInput, NotFound
from mcp.shared.spec import ComponentSpec, RouteSpec, ServiceSpec
from tests.unit import specs

WHOLE = """
name = "metacrypt"
node = "rift"
active = false
path = "crypto/metacrypt"
version = "v1.3.1"

[build.images]
metacrypt = "Dockerfile.api"
metacrypt-web = "Dockerfile.web"

[[components]]
name = "api"
image = "mcr.example.net:8443/metacrypt:v1.3.1"
volumes = ["/srv/metacrypt:/srv/metacrypt"]
cmd = ["server", "--config", "/srv/metacrypt/metacrypt.toml"]
env = ["LOG_LEVEL=info"]
network = "mcpnet"
user = "0:0"
restart = "always"
ports = ["127.0.0.1:18443:8443"]

[[components.routes]]
name = "rest"
port = 8443
mode = "l7"
hostname = "docs.example.net"

[[components]]
name = "web"
image = "localhost/web:1"
"""
DATA = Path(__file__).parent / "data/definitions"  # as operators have them
HEAD = 'name = "web"\nnode = "rift"\n'
COMPONENT = '[[components]]\nname = "web"\nimage = "localhost/web:1"\n'


def problems_of(text: str) -> list[str]:
    """The problems of a definition, without the file's name."""
    with pytest.raises(InvalidFile) as caught:
        definitions.parse(text, "web.toml")
    lines = str(caught.value).splitlines()
    assert all(line.startswith("web.toml: ") for line in lines)
    return [line.removeprefix("web.toml: ") for line in lines]


def config_in(folder: Path) -> Config:
    """A configuration whose definitions are in `folder`."""
    return Config(folder / "mcp.toml", folder, folder / "token", None, ())


def test_the_whole_example() -> None:
    api = ComponentSpec(
        name="api",
        image="mcr.example.net:8443/metacrypt:v1.3.1",
        volumes=("/srv/metacrypt:/srv/metacrypt",),
        cmd=("server", "--config", "/srv/metacrypt/metacrypt.toml"),
        env=("LOG_LEVEL=info",),
        network="mcpnet",
        user="0:0",
        restart="always",
        ports=("127.0.0.1:18443:8443",),
        routes=(RouteSpec("rest", 8443, "l7", "docs.example.net"),),
    )
    web = ComponentSpec(name="web", image="localhost/web:1", restart="unless-stopped")
    assert definitions.parse(WHOLE, "metacrypt.toml") == Definition(
        "rift",
        ServiceSpec("metacrypt", False, (api, web)),
        "crypto/metacrypt",
        "v1.3.1",
        BuildSpec((("metacrypt", "Dockerfile.api"), ("metacrypt-web", "Dockerfile.web"))),
    )


def test_defaults() -> None:
    definition = definitions.parse(HEAD + COMPONENT, "web.toml")
    assert definition.service == ServiceSpec("web", True, (ComponentSpec("web", "localhost/web:1"),))
    assert (definition.path, definition.version) == ("web", "")


MISTAKES = [
    # wrong types
    ("name = 1\nnode = 'rift'\n" + COMPONENT, "name: expected a string, found an integer"),
    (HEAD + "active = 'yes'\n" + COMPONENT, "active: expected true or false, found a string"),
    (HEAD + "active = 1\n" + COMPONENT, "active: expected true or false, found an integer"),
    (HEAD + "components = 'web'", "components: expected a list, found a string"),
    (HEAD + COMPONENT + "cmd = 'server'", "components[0].cmd: expected a list, found a string"),
    (HEAD + COMPONENT + "env = ['A=1', 2]", "components[0].env[1]: expected a string, found an integer"),
    (HEAD + COMPONENT + "env = { A = '1' }", "components[0].env: expected a list, found a table"),
    (HEAD + COMPONENT + "image = 2026-01-31", "is not valid TOML: Cannot overwrite a value"),
    (
        HEAD + COMPONENT + "[[components.routes]]\nport = '8443'",
        "components[0].routes[0].port: expected an integer, found a string",
    ),
    (
        HEAD + COMPONENT + "[[components.routes]]\nport = true",
        "components[0].routes[0].port: expected an integer, found true or false",
    ),
    (HEAD + COMPONENT + "[components.routes]\nport = 1", "components[0].routes: expected a list, found a table"),
    # unknown keys
    (HEAD + "nod = 'x'\n" + COMPONENT, "nod: unknown key; did you mean node?"),
    (HEAD + COMPONENT + "volume = ['/a:/b']", "components[0].volume: unknown key; did you mean volumes?"),
    (
        HEAD + COMPONENT + "[[components.routes]]\nport = 1\nhost = 'a'",
        "components[0].routes[0].host: unknown key; did you mean hostname?",
    ),
    # missing
    ("node = 'rift'\n" + COMPONENT, "name: is missing; expected a string"),
    ("name = 'web'\n" + COMPONENT, "node: is missing; expected a string"),
    (HEAD, "components: is empty; a service needs at least one component"),
    (HEAD + "[[components]]\nname = 'web'", "components[0].image: is missing; expected a string"),
    (HEAD + COMPONENT + "[[components.routes]]\nname = 'a'", "components[0].routes[0].port: is missing"),
    # rules
    (HEAD + COMPONENT + COMPONENT, 'components: 2 of them are called "web"'),
    (HEAD + "[[components]]\nname = 'a'\nimage = 'A:1'", 'components[0].image: "A:1" is not an image reference'),
    (HEAD + "[[components]]\nname = 'a'\nimage = 'a:latest'", 'components[0].image: "a:latest" is tagged latest'),
    (HEAD + "[[components]]\nname = 'a'\nimage = 'a'", 'components[0].image: "a" has no tag'),
    (HEAD + COMPONENT + "volumes = ['/srv/../etc:/a']", "components[0].volumes[0]: "),
    # names
    ("name = '-web'\nnode = 'rift'\n" + COMPONENT, 'name: "-web" must be lower-case letters'),
    ("name = 'web'\nnode = '-rift'\n" + COMPONENT, 'node: "-rift" must be lower-case letters'),
    (HEAD + "[[components]]\nname = 'a b'\nimage = 'localhost/a:1'", 'components[0].name: "a b" must be'),
    (HEAD + "[[components]]\nname = 'a\"b'\nimage = 'localhost/a:1'", 'components[0].name: "a"b" must be'),
    (HEAD + '[[components]]\nname = "a\\nb"\nimage = "localhost/a:1"', r'components[0].name: "a\nb" must be'),
    (HEAD + '[[components]]\nname = "a\\u0000b"\nimage = "localhost/a:1"', r'components[0].name: "a\x00b" must be'),
    (HEAD + '[[components]]\nname = ""\nimage = "localhost/a:1"', 'components[0].name: "" must be'),
    # not TOML
    ("name = ", "is not valid TOML: Invalid value"),
]


@pytest.mark.parametrize(("text", "problem"), MISTAKES)
def test_each_mistake_is_one_problem_with_its_key(text: str, problem: str) -> None:
    found = problems_of(text)
    assert len(found) == 1, found
    assert found[0].startswith(problem)


BUILD_MISTAKES = [
    ("path = 5\n" + COMPONENT, "path: expected a string, found an integer"),
    ("version = 1.3\n" + COMPONENT, "version: expected a string, found a number"),
    ("build = 1\n" + COMPONENT, "build: expected a table, found an integer"),
    (COMPONENT + "[build]\nimages = 'a'", "build.images: expected a table, found a string"),
    (COMPONENT + "[build.images]\nweb = 1", "build.images.web: expected a string, found an integer"),
    (COMPONENT + "[build]\nimage = 'a'", "build.image: unknown key; did you mean images?"),
]


@pytest.mark.parametrize(("text", "problem"), BUILD_MISTAKES)
def test_a_mistake_that_matters_for_building_only_is_told_by_who_asks(text: str, problem: str) -> None:
    definition = definitions.parse(HEAD + text, "web.toml")
    assert definition.service == definitions.parse(HEAD + COMPONENT, "web.toml").service
    assert (definition.node, definition.build_problems) == ("rift", (problem,))
    with pytest.raises(InvalidFile) as caught:
        definitions.check_build(definition, "web.toml")
    assert str(caught.value) == f"web.toml: {problem}"


@pytest.mark.parametrize("path", ["../mcq", "a/../../b", "/home/me/src/mcq", "mcq"])
def test_the_source_tree_may_lie_anywhere(path: str) -> None:
    definition = definitions.parse(f"{HEAD}path = '{path}'\n{COMPONENT}", "web.toml")
    assert (definition.path, definition.build_problems) == (path, ())


@pytest.mark.parametrize(
    ("service", "path", "images", "routes"),
    [
        ("mcq", "../mcq", {"mcq": "Dockerfile"}, [[RouteSpec("", 8443, "l7")]]),
        (
            "myservice",
            "myservice",
            {"myservice": "Dockerfile.api", "myservice-web": "Dockerfile.web"},
            [[RouteSpec("rest", 8443, "l4"), RouteSpec("grpc", 9443, "l4")], [RouteSpec("", 443, "l7")]],
        ),
        ("docs", "docs", {}, [[RouteSpec("", 443, "l7", "docs.example.net")]]),
    ],
)
def test_the_files_that_operators_have_work_unchanged(
    service: str, path: str, images: dict[str, str], routes: list[list[RouteSpec]]
) -> None:
    definition = definitions.load(config_in(DATA), service)
    definitions.check_build(definition, service)
    assert (definition.node, definition.service.active, definition.path) == ("rift", True, path)
    assert dict(definition.build.images) == images
    assert [list(component.routes) for component in definition.service.components] == routes


def test_every_mistake_is_told_at_once_and_only_once() -> None:
    text = """
    name = 7
    nod = "rift"
    active = "no"
    [[components]]
    name = "api"
    image = "api:latest"
    user = 0
    [[components.routes]]
    port = 99999
    [[components]]
    image = 5
    env = ["A"]
    """
    assert [problem.partition(": ")[0] for problem in problems_of(text)] == [
        "name",
        "node",
        "active",
        "components[0].user",
        "components[1].name",
        "components[1].image",
        "nod",
        "components[0].image",
        "components[0].routes[0].port",
        "components[1].env[0]",
    ]


def test_loading_a_definition(tmp_path: Path) -> None:
    (tmp_path / "web.toml").write_text(HEAD + COMPONENT)
    assert definitions.load(config_in(tmp_path), "web").node == "rift"


def test_a_bom_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "web.toml").write_text(HEAD + COMPONENT, encoding="utf-8-sig")
    assert definitions.load(config_in(tmp_path), "web").node == "rift"
    assert definitions.services_of(config_in(tmp_path), "rift") == ["web"]


def test_the_file_must_be_named_as_the_service(tmp_path: Path) -> None:
    (tmp_path / "api.toml").write_text(HEAD + COMPONENT)
    with pytest.raises(InvalidFile) as caught:
        definitions.load(config_in(tmp_path), "api")
    assert str(caught.value) == f'{tmp_path}/api.toml: name: is "web", but the file is named api.toml'


def test_a_service_without_definition_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no definition for web in .*; there are no definitions yet"):
        definitions.load(config_in(tmp_path / "none"), "web")
    for name in ("db.toml", "api.toml", "README", "Bad.toml", ".hidden.toml"):
        (tmp_path / name).touch()
    with pytest.raises(NotFound, match=r"; defined services: api, db$"):
        definitions.load(config_in(tmp_path), "web")


@pytest.mark.parametrize("name", ["", "..", "../web", "-web", "a b", "a\nb", "a\0b", "/etc/passwd"])
def test_a_bad_name_reads_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="service: "):
        definitions.load(config_in(tmp_path), name)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotFound, match="no definition for web"):
        definitions.load(config_in(tmp_path), "web")
    with pytest.raises(Exception, match="cannot be read: Not a directory"):
        definitions.service_names(config_in(tmp_path / "file"))


@given(specs.services)
def test_any_valid_service_survives_its_definition(service: ServiceSpec) -> None:
    definition = definitions.parse(specs.as_toml(service), "x.toml")
    assert definition.service == service
    assert definition.node == "rift"
