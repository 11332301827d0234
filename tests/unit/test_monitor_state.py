"""What is, beside what should be."""

from datetime import UTC, datetime

import pytest

from agent.monitor.state import Observed, observe, observed_state
from agent.podman.output import Container
from agent.store.registry import ComponentRow
from mcp.shared.spec import ComponentSpec
from mcp.shared.states import DesiredState, ObservedState

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def container(name: str, state: str = "running", image: str = "localhost/web:1", **labels: str) -> Container:
    """A container; labels are those of MCP, by their last word."""
    return Container("id", name, image, state, 0, NOW, {f"mcp.{key}": value for key, value in labels.items()})


def row(service: str, name: str, desired: str = "running", tag: str = "1") -> ComponentRow:
    """A component of the registry."""
    made = service if service == name else f"{service}-{name}"
    return ComponentRow(service, name, made, ComponentSpec(name, f"localhost/web:{tag}"), DesiredState(desired), NOW)


@pytest.mark.parametrize(
    ("state", "desired", "observed"),
    [
        ("running", "running", "running"),
        ("running", "stopped", "running"),
        ("exited", "running", "exited"),
        ("exited", "stopped", "stopped"),
        ("stopped", "running", "exited"),
        ("created", "stopped", "stopped"),
        ("created", "running", "exited"),
        ("configured", "running", "exited"),
        ("initialized", "running", "exited"),
        ("exited", "ignore", "exited"),
        ("restarting", "running", "restarting"),
        ("paused", "running", "degraded"),
        ("stopping", "stopped", "degraded"),
        ("removing", "running", "degraded"),
        ("improper", "running", "unknown"),
        ("", "running", "unknown"),
    ],
)
def test_states(state: str, desired: str, observed: str) -> None:
    assert observed_state(container("web", state), DesiredState(desired)) == observed


def test_a_container_that_is_gone_is_removed() -> None:
    assert observed_state(None, DesiredState.RUNNING) == "removed"
    assert observed_state(None, DesiredState.STOPPED) == "removed"


def test_the_registry_is_joined_with_podman() -> None:
    rows = [row("web", "web"), row("web", "api", "stopped"), row("web", "db", tag="2")]
    containers = [container("web"), container("web-api", "exited"), container("unrelated")]
    assert observe(rows, containers) == [
        Observed("web", "web", "localhost/web:1", DesiredState.RUNNING, ObservedState.RUNNING, NOW),
        Observed("web", "api", "localhost/web:1", DesiredState.STOPPED, ObservedState.STOPPED, None),
        Observed("web", "db", "localhost/web:2", DesiredState.RUNNING, ObservedState.REMOVED, None),
    ]
    assert observe(rows, containers)[2].version == "2"


def test_what_mcp_made_and_the_registry_does_not_know_is_shown_as_ignore() -> None:
    containers = [
        container("old-api", image="localhost/old:7", service="old", component="api"),
        container("odd", "exited", service="old"),
        container("web.old", "exited", service="web", component="web"),
        container("gone.old", "exited", service="gone", component="gone"),
        container("somebody-else-s"),
    ]
    seen = observe([row("web", "web")], containers)
    assert [(one.service, one.component, one.desired, one.state, one.version) for one in seen] == [
        ("web", "web", "running", "removed", "1"),
        ("old", "api", "ignore", "running", "7"),
        ("old", "odd", "ignore", "exited", "1"),
        ("gone", "gone", "ignore", "exited", "1"),
    ]


def test_nothing() -> None:
    assert observe([], []) == []
