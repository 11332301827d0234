"""mcp-agent.toml."""

from pathlib import Path

import pytest

from agent import config as configuration
from agent.config import AgentConfig, MonitorConfig
from mcp.shared.errors import InvalidFile
from mcp.shared.names import NAME_RULE
from mcp.shared.url import Endpoint, MciasConfig

WHOLE = """
[server]
grpc_addr = "100.95.252.120:9444"
tls_cert = "/srv/mcp/certs/cert.pem"
tls_key = "/srv/mcp/certs/key.pem"
[database]
path = "/srv/mcp/mcp.db"
[agent]
node_name = "rift"
container_runtime = "/usr/bin/podman"
runtime_timeout = "20s"
settle = "1m"
services_root = "/data/srv"
allow_mounts = ["/run/podman.sock", "/data"]
[auth]
backend = "local"
[log]
level = "debug"
"""
REQUIRED = WHOLE.partition("container_runtime")[0]


def load(folder: Path, text: str) -> AgentConfig:
    """Load a configuration with this text."""
    (folder / "a.toml").write_text(text)
    return configuration.load(folder / "a.toml")


def problems_of(folder: Path, text: str) -> list[str]:
    """The problems of a configuration, without the file's name."""
    with pytest.raises(InvalidFile) as caught:
        load(folder, text)
    return [line.removeprefix(f"{folder}/a.toml: ") for line in str(caught.value).splitlines()]


def test_a_bom_is_skipped(tmp_path: Path) -> None:
    assert load(tmp_path, f"\ufeff{WHOLE}").node_name == "rift"


def test_the_whole_example(tmp_path: Path) -> None:
    assert load(tmp_path, WHOLE) == AgentConfig(
        grpc_addr="100.95.252.120:9444",
        tls_cert=Path("/srv/mcp/certs/cert.pem"),
        tls_key=Path("/srv/mcp/certs/key.pem"),
        database=Path("/srv/mcp/mcp.db"),
        node_name="rift",
        container_runtime="/usr/bin/podman",
        runtime_timeout=20.0,
        settle=60.0,
        services_root=Path("/data/srv"),
        allow_mounts=(Path("/run/podman.sock"), Path("/data")),
        log_level="debug",
        source=tmp_path / "a.toml",
    )


def test_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, REQUIRED)
    assert (config.container_runtime, config.runtime_timeout, config.settle) == ("podman", 15.0, 5.0)
    assert (config.log_level, config.services_root) == ("info", Path("/srv"))


def test_boot_order(tmp_path: Path) -> None:
    agent = REQUIRED + 'boot_order = [["mcns", "mcias"], ["mc-proxy"]]\n'
    assert load(tmp_path, agent).boot_order == (("mcns", "mcias"), ("mc-proxy",))
    assert load(tmp_path, REQUIRED).boot_order == ()
    for value, problem in (
        ('["mcns"]', "agent.boot_order[0]: expected a list of strings"),
        ('[["mcns"], []]', "agent.boot_order[1]: is empty; a stage needs at least one service"),
        ('[["mcns"], ["a", "mcns"]]', 'agent.boot_order[1]: "mcns" is listed twice'),
        ('[["No Name"]]', f'agent.boot_order[0]: "No Name" {NAME_RULE}'),
        ('"mcns"', "agent.boot_order: expected a list, found a string"),
        ("[[1]]", "agent.boot_order[0]: expected a list of strings"),
    ):
        assert problems_of(tmp_path, f"{REQUIRED}boot_order = {value}\n") == [problem]


def test_the_length_of_the_history(tmp_path: Path) -> None:
    assert load(tmp_path, REQUIRED).keep_deploys == 100
    assert load(tmp_path, f"{REQUIRED}keep_deploys = 10\n").keep_deploys == 10
    problem = "agent.keep_deploys: 9: expected 10 or more"
    assert problems_of(tmp_path, f"{REQUIRED}keep_deploys = 9\n") == [problem]


def test_everything_that_is_required_is_missed_at_once(tmp_path: Path) -> None:
    assert problems_of(tmp_path, "") == [
        "server.grpc_addr: is missing; expected a string",
        "server.tls_cert: is missing; expected a string",
        "server.tls_key: is missing; expected a string",
        "database.path: is missing; expected a string",
        "agent.node_name: is missing; expected a string",
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"rift"', "5", "agent.node_name: expected a string, found an integer"),
        ('"rift"', '"Rift"', 'agent.node_name: "Rift": must be lower-case letters'),
        ('"/srv/mcp/mcp.db"', '"mcp.db"', 'database.path: "mcp.db": expected an absolute path'),
        ('"/srv/mcp/mcp.db"', '"/srv/\\u0000"', r'database.path: "/srv/\x00": expected an absolute path'),
        ('"/run/podman.sock"', '"run"', 'agent.allow_mounts[0]: "run": expected an absolute path'),
        ('"/data/srv"', '"srv"', 'agent.services_root: "srv": expected an absolute path'),
        ('"/srv/mcp/mcp.db"', "true", "database.path: expected a string, found true or false"),
        ('"/usr/bin/podman"', '"docker"', 'agent.container_runtime: "docker": expected "podman" or the absolute path'),
        ('"/usr/bin/podman"', '"./podman"', 'agent.container_runtime: "./podman": expected "podman" or'),
        ('"/usr/bin/podman"', '"podman --root /x"', 'agent.container_runtime: "podman --root /x": expected'),
        ('"20s"', '"20"', 'agent.runtime_timeout: "20": expected a duration such as'),
        ('"20s"', "20", "agent.runtime_timeout: expected a string, found an integer"),
        ('"1m"', '"99999999999d"', 'agent.settle: "99999999999d": the duration is too long'),
        ('"local"', '"ldap"', 'auth.backend: "ldap" is not one of local, mcias'),
        ('"local"', '"mcias"', "mcias.server_url: is missing; expected a string"),
        (
            "[log]",
            "[mcias]\nserver_url = 'https://a'\n[log]",
            'auth.backend: "local" conflicts with the section [mcias]; remove one of them',
        ),
        ('"debug"', '"loud"', 'log.level: "loud" is not one of debug, info, warning, error'),
        ("[log]", "[log]\nfile = 'x'", "log.file: unknown key"),
        ("[log]", "[logs]", "logs: unknown key; did you mean log?"),
        ("tls_key", "tls_kye", "server.tls_key: is missing"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert WHOLE.count(old) == 1
    found = problems_of(tmp_path, WHOLE.replace(old, new))
    assert found[0].startswith(problem)


@pytest.mark.parametrize("section", ["metacrypt", "mcns", "mcproxy"])
def test_what_is_not_there_yet_is_refused_and_not_ignored(tmp_path: Path, section: str) -> None:
    found = problems_of(tmp_path, f"{WHOLE}\n[{section}]\nserver_url = 'https://example.net'\n")
    assert found == [f"{section}: is not supported by this version; remove the section"]


MCIAS = """
[mcias]
server_url = "https://mcias.example.net:8443"
ca_cert = "/srv/mcp/certs/ca.pem"
service_name = "mcp-test"
"""


def test_mcias(tmp_path: Path) -> None:
    expected = MciasConfig(Endpoint("mcias.example.net", 8443), Path("/srv/mcp/certs/ca.pem"), "mcp-test")
    assert load(tmp_path, REQUIRED + MCIAS).mcias == expected
    assert load(tmp_path, WHOLE.replace('"local"', '"mcias"') + MCIAS).mcias == expected
    assert load(tmp_path, f"{REQUIRED}[mcias]\nserver_url = 'https://mcias'\nca_cert = ''\n").mcias == MciasConfig(
        Endpoint("mcias", 443), None, "mcp"
    )
    assert load(tmp_path, WHOLE).mcias is None
    assert load(tmp_path, REQUIRED).mcias is None


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("https://", "http://", 'server_url: "http://mcias.example.net:8443": expected https://HOST or'),
        ('"/srv/mcp/certs/ca.pem"', '"ca.pem"', 'ca_cert: "ca.pem": expected an absolute path'),
        ('"mcp-test"', "5", "service_name: expected a string, found an integer"),
        ("service_name", "service", "service: unknown key; did you mean service_name?"),
    ],
)
def test_mistakes_with_mcias(tmp_path: Path, old: str, new: str, problem: str) -> None:
    (found,) = problems_of(tmp_path, REQUIRED + MCIAS.replace(old, new))
    assert found.startswith(f"mcias.{problem}")


MONITOR = """
[monitor]
interval = "30s"
alert_command = ["/usr/local/bin/notify", "--all"]
cooldown = "1h"
flap_threshold = 4
flap_window = "20m"
retention = "7d"
"""


def test_the_monitor(tmp_path: Path) -> None:
    assert load(tmp_path, WHOLE).monitor == MonitorConfig(60, (), 900, 3, 600, 30 * 86400)
    assert load(tmp_path, WHOLE + MONITOR).monitor == MonitorConfig(
        interval=30,
        alert_command=("/usr/local/bin/notify", "--all"),
        cooldown=3600,
        flap_threshold=4,
        flap_window=1200,
        retention=7 * 86400,
    )


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"30s"', '"0s"', 'monitor.interval: "0s": expected 100ms or more'),
        ('"30s"', '"often"', 'monitor.interval: "often": expected a duration such as'),
        ('"30s"', '"10m"', "monitor.flap_window: is shorter than flap_threshold * interval; increase it, or reduce"),
        ("= 4", "= 0", "monitor.flap_threshold: 0: expected 1 or more"),
        ("= 4", '= "4"', "monitor.flap_threshold: expected an integer, found a string"),
        ('"/usr/local/bin/notify"', '"notify"', 'monitor.alert_command[0]: "notify": expected the absolute path of'),
        ('"--all"', '"\\u0000"', "monitor.alert_command[1]: contains a NUL character"),
        ('["/usr/local/bin/notify", "--all"]', '"/bin/x"', "monitor.alert_command: expected a list, found a string"),
        ("retention", "retentoin", "monitor.retentoin: unknown key; did you mean retention?"),
    ],
)
def test_mistakes_of_the_monitor(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert MONITOR.count(old) == 1
    (found,) = problems_of(tmp_path, WHOLE + MONITOR.replace(old, new))
    assert found.startswith(problem)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "0.0.0.0:9444", "[::1]:9444", "[::]:65535"])
def test_addresses(address: str) -> None:
    assert configuration.parse_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "9444",
        ":9444",
        "localhost:9444",
        "127.0.0.1",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "::1:9444",
        "256.0.0.1:1",
        "[127.0.0.1:1",
        "[1::2::3]:1",
        "127.0.0.1:1\n",
        "127.1:1",
    ],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="expected IP:PORT"):
        configuration.parse_address(address)
