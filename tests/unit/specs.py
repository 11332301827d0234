"""Hypothesis strategies of valid specifications, and their TOML."""

import json
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from mcp.shared.fields import fields_of, problems
from mcp.shared.names import NAME_PATTERN
from mcp.shared.spec import ComponentSpec, HealthSpec, RouteSpec, ServiceSpec

names = st.from_regex(NAME_PATTERN, fullmatch=True)
ports = st.integers(1, 65535)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True).filter(lambda tag: tag != "latest")
images = st.builds("localhost/{}:{}".format, st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True), tags)
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
values = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=20)
# PORT and its like have rules of their own, which the tests of the rules go through one by one
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,15}", fullmatch=True).filter(lambda key: not key.startswith("PORT"))
paths = st.from_regex(r"(/[A-Za-z0-9_-]{1,8}){1,3}", fullmatch=True)

routes = st.builds(
    RouteSpec,
    name=names,
    port=ports,
    mode=st.sampled_from(["l4", "l7"]),
    hostname=st.sampled_from(["", "docs.example.net", "*.example.net"]),
)
durations = st.sampled_from(["", "90s", "1h30m", "1500ms"])
healths = st.builds(
    HealthSpec,
    cmd=st.lists(words, min_size=1, max_size=3).map(tuple),
    interval=durations,
    timeout=durations,
    retries=st.integers(0, 1000),
    start_period=durations,
)


def _without_conflicts(component: ComponentSpec) -> dict[str, Any]:
    """The fields that exclude others, without a value."""
    fields = ["ports", "routes"] if component.network == "host" else []
    fields += ["log_max_size"] if component.log_driver != "k8s-file" else []
    return {name: "" if name == "log_max_size" else () for name in fields}


components = st.builds(
    ComponentSpec,
    name=names,
    image=images,
    network=st.sampled_from(["", "mcpnet", "host"]),
    user=st.sampled_from(["", "0:0", "www-data"]),
    restart=st.sampled_from(["no", "always", "on-failure", "on-failure:3", "unless-stopped"]),
    ports=st.lists(st.builds("127.0.0.1:{}:{}/tcp".format, ports, ports), max_size=1).map(tuple),
    volumes=st.lists(st.builds("{}:{}:ro".format, paths, paths), max_size=2).map(tuple),
    cmd=st.lists(words, max_size=3).map(tuple),
    routes=st.lists(routes, max_size=3, unique_by=lambda route: route.name).map(tuple)
    | st.just((RouteSpec(port=8443),)),
    env=st.lists(st.builds("{}={}".format, keys, values), max_size=3).map(tuple),
    health=st.none() | healths,
    log_driver=st.sampled_from(["k8s-file", "journald", "none"]),
    log_max_size=st.sampled_from(["", "0", "1000000", "1m", "64m", "2g"]),
    stop_timeout=st.sampled_from(["", "0s", "30s", "1h"]),
    stop_signal=st.sampled_from(["", "SIGINT", "SIGRTMIN+3"]),
    heal=st.booleans(),
    http_proxy=st.booleans(),
).map(lambda component: replace(component, **_without_conflicts(component)))
services = st.builds(
    ServiceSpec,
    name=names,
    active=st.booleans(),
    components=st.lists(components, min_size=1, max_size=3, unique_by=lambda component: component.name).map(tuple),
).filter(lambda service: not list(problems(service)))


def as_toml(service: ServiceSpec, node: str = "rift") -> str:
    """The definition of a service: JSON's strings and lists of strings are TOML's as well."""
    lines = [f"name = {_value(service.name)}", f"node = {_value(node)}", f"active = {_value(service.active)}"]
    for component in service.components:
        lines += ["[[components]]", *_pairs(component)]
        if component.health is not None:
            lines += ["[components.health]", *_pairs(component.health)]
        for route in component.routes:
            lines += ["[[components.routes]]", *_pairs(route)]
    return "\n".join(lines) + "\n"


def _pairs(source: object) -> list[str]:
    plain = (field.name for field in fields_of(type(source)) if field.model is None)
    return [f"{name} = {_value(getattr(source, name))}" for name in plain]


def _value(value: object) -> str:
    # TOML wants DEL escaped, which JSON does not
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
