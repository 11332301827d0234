"""The comparison of definitions with what there is."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from agent.podman.client import Container
from agent.services.plan import Change, Reality, differences, plan
from agent.store.registry import ComponentRow
from mcp.shared.names import LABEL_DEPLOY, LABEL_SERVICE, container_name
from mcp.shared.spec import ComponentSpec, ServiceSpec
from tests.unit import specs

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def deployed(services: list[ServiceSpec]) -> Reality:
    """What there is right after these were deployed."""
    rows, containers = [], []
    for number, service in enumerate(services, 1):
        for component in service.components:
            name = container_name(service.name, component.name)
            rows.append(ComponentRow(service.name, component.name, name, component, "running", NOW, "sha256:x", number))
            labels = {LABEL_SERVICE: service.name, LABEL_DEPLOY: str(number)}
            containers.append(Container("id", name, component.image, "running", 0, NOW, labels, component.image))
    ids = {component.image: component.image for service in services for component in service.components}
    return Reality(rows, containers, ids)


distinct = st.lists(specs.services, max_size=3, unique_by=lambda service: service.name).map(
    lambda services: [replace(service, active=True) for service in services]
)


@given(distinct)
def test_what_was_just_deployed_needs_nothing(services: list[ServiceSpec]) -> None:
    assert plan(services, deployed(services), partial=False) == []


@given(distinct)
def test_an_empty_node_needs_every_component_once(services: list[ServiceSpec]) -> None:
    changes = plan(services, Reality([], [], {}), partial=False)
    wanted = [(service.name, name) for service in services for name in service.component_names()]
    assert [(change.service, change.component) for change in changes] == wanted
    assert {change.action for change in changes} <= {"create"}


@given(distinct, distinct)
def test_nothing_is_ever_removed_and_every_change_has_a_reason(
    before: list[ServiceSpec], after: list[ServiceSpec]
) -> None:
    changes = plan(after, deployed(before), partial=False)
    assert {change.action for change in changes} <= {
        "create",
        "replace",
        "start",
        "stop",
        "register",
        "ignore",
        "blocked",
    }
    assert all(change.reasons for change in changes)
    known = {(service.name, name) for service in after for name in service.component_names()}
    ignored = {(change.service, change.component) for change in changes if change.action == "ignore"}
    assert not ignored & known
    assert not [change for change in plan(after, deployed(before), partial=True) if change.action == "ignore"]


@given(specs.components, specs.components)
def test_differences_never_show_a_value_of_a_variable(old: ComponentSpec, new: ComponentSpec) -> None:
    secret = "s3cr3t-value-of-a-variable"
    old, new = replace(old, env=(f"KEY={secret}1",)), replace(new, env=(f"KEY={secret}2", f"MORE={secret}"))
    said = " ".join(differences(old, new))
    assert "env: MORE added, KEY changed" in said
    assert secret not in said


def test_order_of_variables_is_a_difference_that_is_said() -> None:
    old, new = ComponentSpec("a", "x:1", env=("A=1", "B=2")), ComponentSpec("a", "x:1", env=("B=2", "A=1"))
    assert differences(old, new) == ["env: order changed"]


def test_an_inactive_service_that_was_never_deployed_needs_nothing() -> None:
    service = ServiceSpec("web", False, (ComponentSpec("api", "x:1"),))
    assert plan([service], Reality([], [], {}), partial=False) == []
    running = deployed([replace(service, active=True)])
    assert plan([service], running, partial=False) == [Change("web", "api", "stop", ("the service is not active",))]


def test_another_way_to_log_is_said() -> None:
    old = ComponentSpec("a", "x:1")
    assert differences(old, replace(old, log_max_size="10m")) == ["log_max_size: default -> 10m"]
    assert differences(old, replace(old, log_driver="journald")) == ["log_driver: k8s-file -> journald"]
