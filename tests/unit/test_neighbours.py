"""Ports that services of one node take of each other, told from their definitions."""

from pathlib import Path

import pytest

from mcp.definitions import definitions, neighbours
from mcp.shared.errors import InvalidFile
from tests.unit.test_definitions import config_in

PORT = 'ports = ["8080:80"]'
ROUTE = '[[components.routes]]\nport = 443\nhostname = "docs.example.net"'


def define(folder: Path, name: str, more: str, node: str = "rift", active: str = "true") -> None:
    (folder / f"{name}.toml").write_text(
        f'name = "{name}"\nnode = "{node}"\nactive = {active}\n'
        f'[[components]]\nname = "api"\nimage = "localhost/web:1"\n{more}\n'
    )


def check(folder: Path, *names: str) -> None:
    config = config_in(folder)
    neighbours.check_ports(config, [definitions.load(config, name) for name in names])


def test_a_host_port_of_another_service_is_refused(tmp_path: Path) -> None:
    define(tmp_path, "db", 'ports = ["127.0.0.1:8080:80", "9090:90"]')
    define(tmp_path, "web", 'ports = ["80:80", "8080:80", "9090:90"]')
    with pytest.raises(InvalidFile) as caught:
        check(tmp_path, "web")
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/web.toml: components[0].ports[1]: host port 8080/tcp is taken by db already, on rift",
        f"{tmp_path}/web.toml: components[0].ports[2]: host port 9090/tcp is taken by db already, on rift",
    ]
    with pytest.raises(InvalidFile, match=r"db\.toml: components\[0\]\.ports\[0\]: host port 8080/tcp is taken by web"):
        check(tmp_path, "db")
    with pytest.raises(InvalidFile, match=r"web\.toml: "):
        check(tmp_path, "db", "web")


def test_a_route_of_another_service_is_refused(tmp_path: Path) -> None:
    define(tmp_path, "docs", ROUTE)
    define(tmp_path, "wiki", ROUTE)
    with pytest.raises(
        InvalidFile, match=r"port: port 443 of the proxy for docs\.example\.net is taken by wiki already"
    ):
        check(tmp_path, "docs")


def test_routes_without_a_host_name_are_told_apart_by_their_service(tmp_path: Path) -> None:
    define(tmp_path, "docs", "[[components.routes]]\nport = 443")
    define(tmp_path, "wiki", "[[components.routes]]\nport = 443")
    check(tmp_path, "docs", "wiki")


@pytest.mark.parametrize(("node", "active"), [("orion", "true"), ("rift", "false")])
def test_services_elsewhere_or_inactive_take_no_port(tmp_path: Path, node: str, active: str) -> None:
    define(tmp_path, "db", PORT, node, active)
    define(tmp_path, "web", PORT)
    check(tmp_path, "web")
    check(tmp_path, "db")
    check(tmp_path, "web", "db")


def test_mistakes_and_clashes_of_others_do_not_matter(tmp_path: Path) -> None:
    define(tmp_path, "bad", f'{PORT}\nuser = "-"')
    define(tmp_path, "one", 'ports = ["9090:90"]')
    define(tmp_path, "two", 'ports = ["9090:90"]')
    define(tmp_path, "web", PORT)
    check(tmp_path, "web")


def test_a_service_without_ports_reads_no_other_definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    define(tmp_path, "web", "")
    config = config_in(tmp_path)
    definition = definitions.load(config, "web")
    monkeypatch.setattr(neighbours, "service_names", None)
    assert list(neighbours.problems(config, [definition])) == []
