"""The comparison of definitions with what there is."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.podman.output import Container
from agent.services.plan import NodeState, plan, recover, resolve_replacement, restart, start
from agent.services.steps import ProvideSources, RemoveContainer
from agent.store.registry import ComponentRow, UnreadableRow
from mcp.shared.fields import effective
from mcp.shared.names import LABEL_DEPLOY, LABEL_SERVICE, container_name
from mcp.shared.spec import ComponentSpec, HealthSpec, RouteSpec, ServiceSpec
from mcp.shared.states import Action, DesiredState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def deployed(services: list[ServiceSpec]) -> NodeState:
    """What there is right after these were deployed."""
    rows, containers = [], []
    for number, service in enumerate(services, 1):
        for component in service.components:
            name = container_name(service.name, component.name)
            rows.append(
                ComponentRow(
                    service.name, component.name, name, component, DesiredState.RUNNING, NOW, "sha256:x", number
                )
            )
            labels = {LABEL_SERVICE: service.name, LABEL_DEPLOY: str(number)}
            containers.append(Container("id", name, component.image, "running", 0, NOW, labels, component.image))
    ids = {component.image: component.image for service in services for component in service.components}
    return NodeState(rows, containers, ids)


# Small on purpose: plan compares fields, and unit/specs.py, which draws any text for each, takes ten times as long.
components = st.builds(
    ComponentSpec,
    name=st.sampled_from(["api", "work", "db"]),
    image=st.sampled_from(["localhost/web:1", "localhost/web:2"]),
    network=st.sampled_from(["", "mcpnet"]),
    restart=st.sampled_from(["no", "unless-stopped"]),
    routes=st.sampled_from([(), (RouteSpec(port=8443),), (RouteSpec("rest", 8443), RouteSpec("web", 80))]),
    env=st.sampled_from([(), ("A=1",), ("A=2", "B=")]),
    health=st.sampled_from([None, HealthSpec(cmd=("true",))]),
)
services = st.builds(
    ServiceSpec,
    name=st.sampled_from(["web", "mail", "dns"]),
    components=st.lists(components, min_size=1, max_size=3, unique_by=lambda component: component.name).map(tuple),
)
distinct = st.lists(services, max_size=3, unique_by=lambda service: service.name)


@given(distinct)
def test_what_was_just_deployed_needs_nothing(services: list[ServiceSpec]) -> None:
    assert plan(services, deployed(services), partial=False) == []


@given(distinct)
def test_defaults_that_are_written_out_change_nothing(services: list[ServiceSpec]) -> None:
    full = [effective(service) for service in services]
    assert plan(full, deployed(services), partial=False) == []
    assert plan(services, deployed(full), partial=False) == []


@given(distinct)
def test_an_empty_node_needs_every_component_once(services: list[ServiceSpec]) -> None:
    changes = plan(services, NodeState([], [], {}), partial=False)
    wanted = [(service.name, name) for service in services for name in service.component_names()]
    assert [(change.service, change.component) for change in changes] == wanted
    assert {change.action for change in changes} <= {"create"}


@given(distinct, distinct)
def test_nothing_is_ever_removed_and_every_change_has_a_reason(
    before: list[ServiceSpec], after: list[ServiceSpec]
) -> None:
    changes = plan(after, deployed(before), partial=False)
    assert Action.REMOVE not in {change.action for change in changes}
    assert all(change.reasons for change in changes)
    known = {(service.name, name) for service in after for name in service.component_names()}
    ignored = {change.service for change in changes if change.action == "ignore"}
    assert not ignored & {service.name for service in after}
    assert not [change for change in plan(after, deployed(before), partial=True) if change.action == "ignore"]
    kept = {(change.service, change.component) for change in changes if change.action == "keep"}
    there = {(service.name, name) for service in before for name in service.component_names()}
    assert kept == {each for each in there - known if each[0] in {service.name for service in after}}
    pruned = plan(after, deployed(before), partial=False, prune=True)
    assert {(change.service, change.component) for change in pruned if change.action == "remove"} == kept


@pytest.mark.parametrize("desired", DesiredState)
def test_a_component_that_was_removed_from_the_definition(desired: DesiredState) -> None:
    state = deployed([replace(WEB, components=(API, replace(API, name="work")))])
    state = replace(state, rows=[state.rows[0], replace(state.rows[1], desired_state=desired)])
    (kept,) = plan([WEB], state, partial=True)
    assert (kept.component, kept.action, kept.steps) == ("work", "keep", ())
    assert kept.reasons == ("removed from the definition",)
    (removed,) = plan([WEB], state, partial=True, prune=True)
    assert (removed.component, removed.action, removed.reasons) == ("work", "remove", kept.reasons)
    assert [step.title for step in removed.steps] == [
        "stop and remove web-work",
        "remove it from the registry",
    ]
    assert plan([WEB], state, partial=True, prune=True, only={"api"}) == []
    left = replace(state.containers[1], name="web-work.old", identifier="left")
    (removed,) = plan([WEB], replace(state, containers=[*state.containers, left]), partial=True, prune=True)
    assert removed.steps[:2] == (RemoveContainer("web-work.old"), RemoveContainer("web-work"))


def test_an_inactive_service_that_was_never_deployed_needs_nothing() -> None:
    service = ServiceSpec("web", False, (ComponentSpec("api", "localhost/x:1"),))
    assert plan([service], NodeState([], [], {}), partial=False) == []
    running = deployed([replace(service, active=True)])
    (change,) = plan([service], running, partial=False)
    assert (change.action, change.reasons) == ("stop", ("the service is not active",))
    assert [step.title for step in change.steps] == ["record its desired state: stopped", "stop web-api"]


# --- steps ---

API = ComponentSpec("api", "localhost/web:2", network="mcpnet", routes=(RouteSpec("rest", 8443),))
WEB = ServiceSpec("web", components=(API,))


def titles(state: NodeState) -> list[str]:
    """The steps of the one change that WEB needs."""
    (change,) = plan([WEB], state, partial=True)
    return [step.title for step in change.steps]


def test_the_steps_of_a_first_deploy() -> None:
    assert titles(NodeState([], [], {})) == [
        "pull the image localhost/web:2",
        "create the network mcpnet if missing",
        "reserve host ports for rest",
        "create missing folders of the service",
        "run localhost/web:2",
        "wait until web-api is healthy or stays up",
        "record it in the registry",
    ]


def test_the_steps_of_a_replacement() -> None:
    state = deployed([replace(WEB, components=(replace(API, env=("A=1",)),))])
    assert titles(state) == [
        "check the image localhost/web:2",
        "create the network mcpnet if missing",
        "reserve host ports for rest",
        "create missing folders of the service",
        "check that podman can create web-api",
        "stop web-api",
        "rename web-api to web-api.old",
        "run localhost/web:2",
        "wait until web-api is healthy or stays up",
        "record it in the registry",
        "remove web-api.old",
    ]


def test_force_replaces_what_is_up_to_date() -> None:
    (change,) = plan([WEB], deployed([WEB]), partial=True, force=True)
    assert (change.action, change.reasons, change.undone_on_failure) == ("replace", ("forced",), True)
    titles = [step.title for step in change.steps]
    assert "check that podman can create web-api" not in titles, "it was created like that before"


def test_explicit_host_ports_are_checked_while_the_old_container_runs() -> None:
    service = replace(WEB, components=(replace(API, ports=("8080:80",)),))
    (change,) = plan([service], deployed([WEB]), partial=True)
    titles = [step.title for step in change.steps]
    assert titles.index("check that its host ports are free") < titles.index("stop web-api")


STOPPED = replace(deployed([WEB]), stuck={"web-api"})
STOPPED = replace(STOPPED, containers=[replace(STOPPED.containers[0], state="exited")])
RECREATE = [
    "check the image localhost/web:2",
    "create the network mcpnet if missing",
    "reserve host ports for rest",
    "create missing folders of the service",
    "rename web-api to web-api.old",
    "run localhost/web:2",
]


def test_a_container_whose_host_port_is_taken_is_recreated() -> None:
    (row,) = STOPPED.rows
    titles = [step.title for step in start(row, STOPPED).steps]
    assert titles == [*RECREATE, "record its desired state: running", "remove web-api.old"]
    recovered = recover(row, STOPPED)
    assert recovered is not None
    assert [step.title for step in recovered.steps] == [*RECREATE, "remove web-api.old"]
    (change,) = plan([WEB], STOPPED, partial=True)
    assert (change.action, change.reasons) == ("replace", ("is exited", "its host port is taken"))


def test_sources_of_bind_mounts_are_checked_before_a_container_stops() -> None:
    component = replace(API, volumes=("/srv/web/conf:/conf:ro", "named:/data"))
    state = deployed([replace(WEB, components=(component,))])
    (change,) = [restart(row, state) for row in state.rows]
    assert [step.title for step in change.steps][:2] == ["create missing folders of the service", "stop web-api"]
    assert ProvideSources(("/srv/web/conf",)) in change.steps


def test_only_some_components_are_planned() -> None:
    service = replace(WEB, components=(API, replace(API, name="work")))
    changes = plan([service], NodeState([], [], {}), partial=True, only={"work"})
    assert [change.component for change in changes] == ["work"]


def test_a_container_of_another_component_is_in_the_way() -> None:
    other = ServiceSpec("web-api", components=(replace(API, name="web-api"),))
    (change,) = plan([WEB], deployed([other]), partial=True)
    assert (change.action, change.steps) == ("blocked", ())
    assert change.reasons == ("the container web-api belongs to web-api/web-api; give one of the two another name",)


def test_what_an_interrupted_deploy_left_is_to_be_cleaned_up() -> None:
    state = deployed([WEB])
    left = replace(state.containers[0], name="web-api.old", identifier="old", state="exited", labels={})
    (change,) = plan([WEB], replace(state, containers=[*state.containers, left]), partial=True)
    assert (change.action, change.reasons) == ("clean up", ("an interrupted deploy left web-api.old",))
    assert [step.title for step in change.steps] == ["remove web-api.old, left by an earlier deploy"]


@pytest.mark.parametrize(
    ("containers", "stays", "steps"),
    [
        ([], None, []),
        (["web running 1"], "web", []),
        (["web exited 2"], "web", []),
        (["web running 2", "web.old exited 1"], "web", ["remove web.old, left by an earlier deploy"]),
        # a new one that is kept and was stopped since then is kept all the same
        (["web exited 2", "web.old exited 1"], "web", ["remove web.old, left by an earlier deploy"]),
        (
            ["web running 3", "web.old exited 2"],
            "web.old",
            ["remove web, left by an interrupted deploy", "rename web.old to web"],
        ),
        (["web.old exited 2"], "web.old", ["rename web.old to web"]),
        (["other running 2"], None, []),
    ],
)
def test_which_container_stays(containers: list[str], stays: str | None, steps: list[str]) -> None:
    made = [
        Container(name, name, "localhost/a:1", state, 0, None, {LABEL_DEPLOY: number})
        for name, state, number in (text.split() for text in containers)
    ]
    found = resolve_replacement("web", 2, NodeState([], made, {}))
    assert (found.container.name if found.container else None) == stays
    assert [step.title for step in found.steps] == steps


# --- images ---

DIGEST = f"sha256:{'a' * 64}"
MOVED = "refers to another image now"
LOCAL, HUB = "localhost/web:1", "docker.io/web:1"  # podman lists the latter as docker.io/library/web:1
LISTED_HUB = "docker.io/library/web:1"


@pytest.mark.parametrize(
    ("image", "listed", "ids", "reason"),
    [
        (LOCAL, LOCAL, {LOCAL: "old"}, ""),
        (LOCAL, LOCAL, {LOCAL: "new"}, f"{LOCAL} {MOVED}"),
        (LOCAL, LOCAL, {}, ""),
        (HUB, LISTED_HUB, {LISTED_HUB: "old"}, ""),
        (HUB, LISTED_HUB, {LISTED_HUB: "new"}, f"{HUB} {MOVED}"),
        (HUB, LISTED_HUB, {}, ""),
        (f"{LOCAL}@{DIGEST}", f"localhost/web@{DIGEST}", {DIGEST: "old", LOCAL: "new"}, ""),
        (f"{LOCAL}@{DIGEST}", f"localhost/web@{DIGEST}", {LOCAL: "new"}, ""),
        (f"localhost/web@{DIGEST}", LOCAL, {DIGEST: "new", LOCAL: "old"}, f"localhost/web@{DIGEST} {MOVED}"),
        (f"localhost/web@{DIGEST}", LOCAL, {}, f"its container runs {LOCAL}"),
    ],
)
def test_images_are_found_as_podman_finds_them(image: str, listed: str, ids: dict[str, str], reason: str) -> None:
    service = ServiceSpec("web", components=(ComponentSpec("api", image),))
    state = deployed([service])
    container = replace(state.containers[0], image=listed, image_id="old")
    changes = plan([service], replace(state, containers=[container], image_ids=ids), partial=True)
    assert [change.reasons for change in changes] == ([(reason,)] if reason else [])


# --- damaged entries ---

PAIR = ServiceSpec(
    "web", components=(ComponentSpec("api", "localhost/web:1"), ComponentSpec("work", "localhost/web:1"))
)


def with_damaged_api() -> NodeState:
    """What there is after PAIR was deployed, and the entry of api was damaged."""
    state = deployed([PAIR])
    rows = [row for row in state.rows if row.name != "api"]
    return replace(state, rows=rows, unreadable=(UnreadableRow("web", "api"),))


def test_a_deploy_mends_a_damaged_entry_even_of_an_adopted_container() -> None:
    state = with_damaged_api()
    unlabelled = [replace(each, labels={}) if each.name == "web-api" else each for each in state.containers]
    gone = [each for each in state.containers if each.name != "web-api"]
    for containers, action in ((state.containers, "replace"), (unlabelled, "replace"), (gone, "create")):
        (change,) = plan([PAIR], replace(state, containers=containers), partial=True)
        assert (change.component, change.action, change.reasons) == (
            "api",
            action,
            ("its entry in the registry is damaged",),
        )


def test_a_damaged_entry_without_a_definition_is_left_alone() -> None:
    (change, _) = sorted(plan([], with_damaged_api(), partial=False), key=lambda each: each.component)
    assert (change.action, change.steps) == (Action.BLOCKED, ())
    assert change.reasons == (
        "the registry's entry of web/api is damaged; deploy the service again, or undeploy the component",
    )


def test_a_damaged_entry_that_the_definition_dropped_is_kept_or_pruned() -> None:
    rest = replace(PAIR, components=PAIR.components[1:])
    (change,) = plan([rest], with_damaged_api(), partial=True)
    assert (change.component, change.action, change.steps) == ("api", Action.KEEP, ())
    (change,) = plan([rest], with_damaged_api(), partial=True, prune=True)
    assert (change.component, change.action) == ("api", Action.REMOVE)
    assert RemoveContainer("web-api") in change.steps


def test_a_container_run_by_hand_is_named_in_the_plan_as_in_the_status() -> None:
    state = deployed([PAIR])
    made = [replace(each, labels={}, image="localhost/web:2", image_id="other") for each in state.containers[:1]]
    (change,) = plan(
        [PAIR], replace(state, containers=[*made, *state.containers[1:]]), partial=True, only={"work", "api"}
    )
    assert change.reasons == ("its container was not created by MCP", "runs web:2, registered 1")
