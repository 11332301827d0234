"""Definitions written as TOML: they read back the same, and look as a person would have written them."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp.definitions import definitions
from mcp.definitions.definitions import BuildSpec, Definition
from mcp.definitions.writer import write, write_full
from mcp.shared.fields import effective, problems
from mcp.shared.spec import ComponentSpec, HealthSpec, RouteSpec, ServiceSpec
from mcp.shared.toml import quoted
from tests.unit import specs

versions = st.sampled_from(["", "v1.2.3"])


@given(specs.services, specs.names, versions)
def test_what_was_written_reads_back_the_same(spec: ServiceSpec, node: str, version: str) -> None:
    images = (("web", "Dockerfile"), ("web.api v2", "docker/Dockerfile.api"))
    definition = Definition(node, spec, path="../source/tree", version=version, build=BuildSpec(images))
    assert definitions.parse(write(definition), "x.toml") == definition
    assert definitions.parse(write_full(definition), "x.toml") == definition


@given(st.text(st.characters(codec="utf-8")))
def test_every_string_reads_back_and_stays_on_one_line(text: str) -> None:
    assert tomllib.loads(f"key = {quoted(text)}") == {"key": text}
    assert quoted(text).isprintable()


@pytest.mark.parametrize(
    ("text", "written"),
    [("a", '"a"'), ('"', '"\\""'), ("\\", '"\\\\"'), ("é\t", '"é\\t"'), ("\x7f\x1b", '"\\u007f\\u001b"')],
)
def test_escapes(text: str, written: str) -> None:
    assert quoted(text) == written


def test_defaults_are_left_out() -> None:
    component = ComponentSpec("api", "localhost/web:1.0", routes=(RouteSpec(port=8443),))
    assert write(Definition("rift", ServiceSpec("web", components=(component,)), path="web")) == (
        'name = "web"\nnode = "rift"\n\n[[components]]\nname = "api"\nimage = "localhost/web:1.0"\n\n'
        "[[components.routes]]\nport = 8443\n"
    )


def test_the_full_form_has_every_key_and_the_container() -> None:
    component = ComponentSpec("api", "localhost/web:1.0", health=HealthSpec(("true",)), routes=(RouteSpec(port=1),))
    text = write_full(Definition("rift", ServiceSpec("web", components=(component,)), path="web"))
    assert "# container: web-api\n" in text
    data = tomllib.loads(text)["components"][0]
    assert data["restart"] == "unless-stopped"
    assert data["routes"] == [{"name": "", "port": 1, "mode": "l4", "hostname": ""}]
    assert data["health"] == {"cmd": ["true"], "interval": "", "timeout": "", "retries": 0, "start_period": ""}


def test_effective_defaults_are_shown() -> None:
    component = ComponentSpec("api", "localhost/web:1.0", health=HealthSpec(("true",), timeout="5s"))
    journald = ComponentSpec("db", "localhost/db:1.0", log_driver="journald", stop_timeout="1m", user="0")
    spec = effective(ServiceSpec("web", components=(component, journald)))
    text = write_full(Definition("rift", spec, path="web"))
    assert definitions.parse(text, "x.toml").service == spec
    api, db = tomllib.loads(text)["components"]
    assert (api["log_max_size"], api["stop_timeout"], api["network"]) == ("32m", "10s", "")
    assert api["health"] == {"cmd": ["true"], "interval": "30s", "timeout": "5s", "retries": 3, "start_period": "0s"}
    assert (db["log_max_size"], db["stop_timeout"], db["user"]) == ("", "1m", "0")
    for line in ('network = ""  # podman\'s', 'user = ""  # the image\'s', "cmd = []  # the image's"):
        assert f"{line}\n" in text
    assert "\n# components.health: the image's, if any\n" in text


@given(specs.services)
def test_effective_defaults_are_valid_and_their_own(spec: ServiceSpec) -> None:
    shown = effective(spec)
    assert list(problems(shown)) == []
    assert effective(shown) == shown


def test_a_long_list_has_one_value_a_line() -> None:
    component = ComponentSpec("api", "localhost/web:1.0", env=("A=" + "x" * 60, "B=" + "y" * 60))
    text = write(Definition("rift", ServiceSpec("web", active=False, components=(component,))))
    assert f'env = [\n    "A={"x" * 60}",\n    "B={"y" * 60}",\n]\n' in text
    assert "active = false\n" in text
