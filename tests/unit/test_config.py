"""mcp.toml: where it is found, and what may be in it."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from mcp.config import configuration
from mcp.config.addresses import parse_address
from mcp.config.configuration import Config, Node
from mcp.shared.errors import InvalidFile, InvalidInput, McpError, NotFound
from mcp.shared.url import Endpoint, MciasConfig

WHOLE = """
[services]
dir = "~/definitions"
[build]
workspace = "~/src"
[mcias]
server_url = "https://mcias.example.net:8443"
ca_cert = "/etc/mcp/ca.pem"
service_name = "mcp"
[auth]
token_path = "secrets/token"
[[nodes]]
name = "rift"
address = "100.95.252.120:9444"
ssh = "deploy@rift"
arch = "amd64"
sudo = "doas"
[[nodes]]
name = "orion"
address = "[fd00::1]:9444"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own, and none of the caller's settings."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("MCP_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


def load(folder: Path, text: str) -> Config:
    """Load a configuration with this text."""
    (folder / "mcp.toml").write_text(text)
    return configuration.load(folder / "mcp.toml")


def problems_of(folder: Path, text: str) -> list[str]:
    """The problems of a configuration, without the file's name."""
    with pytest.raises(InvalidFile) as caught:
        load(folder, text)
    return [line.removeprefix(f"{folder}/mcp.toml: ") for line in str(caught.value).splitlines()]


def test_the_whole_example(tmp_path: Path, home: Path) -> None:
    config = load(tmp_path, WHOLE)
    assert config == Config(
        source=tmp_path / "mcp.toml",
        services_dir=home / "definitions",
        token_path=tmp_path / "secrets/token",
        ca_cert=Path("/etc/mcp/ca.pem"),
        nodes=(
            Node("rift", "100.95.252.120:9444", "deploy@rift", "amd64", "doas"),
            Node("orion", "[fd00::1]:9444"),
        ),
        mcias=MciasConfig(Endpoint("mcias.example.net", 8443), Path("/etc/mcp/ca.pem"), "mcp"),
    )
    assert config.node("orion").address == "[fd00::1]:9444"


def test_an_empty_file_has_defaults_beside_it(tmp_path: Path) -> None:
    config = load(tmp_path, "")
    assert config == Config(tmp_path / "mcp.toml", tmp_path / "services", tmp_path / "token", None, ())


def test_the_ca_of_auth_comes_before_the_one_of_mcias(tmp_path: Path) -> None:
    assert load(tmp_path, "[auth]\nca_cert = 'a.pem'\n[mcias]\nca_cert = 'b.pem'").ca_cert == tmp_path / "a.pem"


def test_mcias_has_its_own_ca(tmp_path: Path) -> None:
    text = "[auth]\nca_cert = 'a.pem'\n[mcias]\nserver_url = 'https://mcias'\n"
    assert load(tmp_path, text).mcias == MciasConfig(Endpoint("mcias", 443), None, "mcp")
    assert load(tmp_path, f"{text}ca_cert = 'b.pem'").mcias == MciasConfig(
        Endpoint("mcias", 443), tmp_path / "b.pem", "mcp"
    )
    assert load(tmp_path, "[mcias]\nserver_url = ''").mcias is None
    (problem,) = problems_of(tmp_path, text.replace("https", "http"))
    assert problem.startswith('mcias.server_url: "http://mcias": expected https://HOST')


def test_where_it_is_found(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration.config_path(None) == home / ".config/mcp/mcp.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # the XDG standard says: ignore relative ones
    assert configuration.config_path(None) == home / ".config/mcp/mcp.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert configuration.config_path(None) == tmp_path / "xdg/mcp/mcp.toml"
    monkeypatch.setenv("MCP_CONFIG", "")
    assert configuration.config_path(None) == tmp_path / "xdg/mcp/mcp.toml"
    monkeypatch.setenv("MCP_CONFIG", str(tmp_path / "variable.toml"))
    assert configuration.config_path(None) == tmp_path / "variable.toml"
    assert configuration.config_path(Path("option.toml")) == Path("option.toml")


def test_no_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidFile, match=r"none\.toml: no such file; create it with `mcp node add`, or with `mcp-agent dev`"
    ):
        configuration.load(tmp_path / "none.toml")
    with pytest.raises(InvalidInput, match="--config: a path cannot contain NUL"):
        configuration.load(Path("a\0b"))
    with pytest.raises(InvalidFile, match="cannot be read: Is a directory"):
        configuration.load(tmp_path)


MISTAKES = [
    ("[service]\ndir = 'a'", "service: unknown key; did you mean services?"),
    ("[services]\ndirs = 'a'", "services.dirs: unknown key; did you mean dir?"),
    ("services = 'a'", "services: expected a table, found a string"),
    ("[services]\ndir = 1", "services.dir: expected a string, found an integer"),
    ('[services]\ndir = "a\\u0000b"', r'services.dir: "a\x00b": a path cannot contain NUL'),
    ("[auth]\ntoken_path = '~nobody-is-called-this/t'", "auth.token_path: "),
    ("[build]\nworkspace = true", "build.workspace: expected a string, found true or false"),
    ("[mcias]\nurl = 'a'", "mcias.url: unknown key"),
    ("nodes = 1", "nodes: expected a list, found an integer"),
    ("[nodes]\nname = 'a'", "nodes: expected a list, found a table"),
    ("nodes = ['a']", "nodes[0]: expected a table, found a string"),
    ("[[nodes]]\naddress = 'a:1'", "nodes[0].name: is missing; expected a string"),
    ("[[nodes]]\nname = 'a'", "nodes[0].address: is missing; expected a string"),
    ("[[nodes]]\nname = '-a'\naddress = 'a:1'", 'nodes[0].name: "-a" must be lower-case'),
    ("[[nodes]]\nname = 'a'\naddress = 'a:1'\nssh = '-oProxyCommand=id'", 'nodes[0].ssh: "-oProxyCommand=id": not'),
    ("[[nodes]]\nname = 'a'\naddress = 'a:1'\nssh = 'a b'", 'nodes[0].ssh: "a b": not an ssh destination'),
    ("[[nodes]]\nname = 'a'\naddress = 'a:1'\narch = 'x86'", 'nodes[0].arch: "x86" is not amd64 or arm64'),
    ("[[nodes]]\nname = 'a'\naddress = 'a:1'\nsudo = 'su'", 'nodes[0].sudo: "su" is not sudo or doas'),
    ("[[nodes]]\nname = 'a'\naddress = 'a:1'\nport = 1", "nodes[0].port: unknown key"),
    (
        "[[nodes]]\nname = 'a'\naddress = 'a:1'\n[[nodes]]\nname = 'a'\naddress = 'b:1'",
        'nodes: 2 of them are called "a"',
    ),
]


@pytest.mark.parametrize(("text", "problem"), MISTAKES)
def test_each_mistake_is_one_problem_with_its_key(tmp_path: Path, text: str, problem: str) -> None:
    found = problems_of(tmp_path, text)
    assert len(found) == 1, found
    assert found[0].startswith(problem)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("a:1", ("a", 1, "")),
        ("10.0.0.1:9444", ("10.0.0.1", 9444, "")),
        ("[::1]:65535", ("::1", 65535, "")),
        ("rift.example.net:9444", ("rift.example.net", 9444, "")),
        ("A-b.c:0080", ("A-b.c", 80, "")),
        ("[fe80::1%eth0]:9444", ("fe80::1", 9444, "eth0")),
        ("[fe80::1%25eth0]:9444", ("fe80::1", 9444, "eth0")),
        ("fe80::1%eth0:9444", ("fe80::1", 9444, "eth0")),
        ("[FEBF::1:2%enp0s31f6.7]:1", ("FEBF::1:2", 1, "enp0s31f6.7")),
        ("[fe80::1%25]:9444", ("fe80::1", 9444, "25")),
    ],
)
def test_addresses(tmp_path: Path, address: str, parts: tuple[str, int, str]) -> None:
    assert load(tmp_path, f"[[nodes]]\nname = 'a'\naddress = '{address}'").nodes[0].address == address
    assert parse_address(address) == parts


@pytest.mark.parametrize(
    "address",
    [
        *("rift", ":9444", "rift:", "rift:0", "rift:65536", "rift:http", "::1:9444", "a b:1", "-a:1", "http://a:1"),
        *("fe80::1:9444", "[fe80::1%]:9444", "[2001:db8::1%eth0]:9444", "10.0.0.1%eth0:9444", "rift%eth0:9444"),
    ],
)
def test_what_is_no_address(tmp_path: Path, address: str) -> None:
    found = problems_of(tmp_path, f"[[nodes]]\nname = 'a'\naddress = '{address}'")
    assert found == [f'nodes[0].address: "{address}": expected HOST:PORT, as in 10.0.0.1:9444 or [fe80::1%eth0]:9444']


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    found = problems_of(tmp_path, "x = 1\n[services]\ny = 1\n[[nodes]]\nname = 'A'\nz = 1")
    assert [problem.partition(": ")[0] for problem in found] == [
        "services.y",
        "nodes[0].address",
        "nodes[0].z",
        "x",
        "nodes[0].name",
    ]


def test_an_unknown_node_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no node named orca; .*mcp\.toml has: rift, orion"):
        load(tmp_path, WHOLE).node("orca")
    with pytest.raises(NotFound, match=r"mcp\.toml has no \[\[nodes\]\] yet"):
        load(tmp_path, "").node("rift")
    with pytest.raises(InvalidInput, match='node: "-x" is not a valid name'):
        load(tmp_path, WHOLE).node("-x")


def test_the_ca(tmp_path: Path) -> None:
    config = load(tmp_path, "[auth]\nca_cert = 'ca.pem'")
    with pytest.raises(InvalidFile, match=r"ca_cert: .*/ca\.pem: cannot be read: No such file"):
        configuration.read_ca(config)
    (tmp_path / "ca.pem").write_text("hello")
    with pytest.raises(InvalidFile, match=r"ca_cert: .*/ca\.pem contains no PEM certificate"):
        configuration.read_ca(config)
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    assert configuration.read_ca(config) == b"-----BEGIN CERTIFICATE-----\n"


def test_without_a_ca_the_systems_authorities_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))  # OpenSSL's own variable
    assert configuration.read_ca(load(tmp_path, "")) == bundle.read_bytes()
    monkeypatch.setattr("ssl.get_default_verify_paths", lambda: SimpleNamespace(cafile=None))
    with pytest.raises(InvalidFile, match="ca_cert: is missing, and the system has no CA certificates"):
        configuration.read_ca(load(tmp_path, ""))


def test_every_mistake_is_an_expected_error(tmp_path: Path) -> None:
    for text in ("[[nodes]]\nname = 1", "\0", "nodes = [[]]", "[auth]\nca_cert = []", "services = 2026-01-31"):
        with pytest.raises(McpError):
            load(tmp_path, text)
