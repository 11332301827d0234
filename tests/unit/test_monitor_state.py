"""What is, beside what should be."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.monitor.state import Boot, Observed, observe, observed_state
from agent.podman.output import Container
from agent.store.registry import ComponentRow, Registered, UnreadableRow
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


JOB = Container("id", "web-job", "x:1", "exited", 0, NOW, exited=True)
EARLIER = NOW - timedelta(days=1)


@pytest.mark.parametrize("restart", ["no", "on-failure", "on-failure:3"])
def test_a_job_that_ended_with_exit_code_0_is_completed_and_no_drift(restart: str) -> None:
    registered = replace(row("web", "job"), spec=ComponentSpec("job", "x:1", restart=restart))
    (seen,) = observe(Registered((registered,)), [JOB], Boot(EARLIER))
    assert (seen.state, seen.drifts) == (ObservedState.COMPLETED, False)
    (stopped,) = observe(Registered((replace(registered, desired_state=DesiredState.STOPPED),)), [JOB], Boot(EARLIER))
    assert (stopped.state, stopped.drifts) == (ObservedState.STOPPED, False)


@pytest.mark.parametrize(
    ("restart", "container"),
    [
        ("no", replace(JOB, exit_code=3)),
        ("on-failure:3", replace(JOB, exit_code=137)),
        ("no", replace(JOB, exited=False)),  # after a power cut: podman does not know how it ended
        ("no", replace(JOB, started=EARLIER - timedelta(seconds=1))),  # perhaps ended by the shutdown
        ("no", replace(JOB, started=None)),
        ("always", JOB),
        ("unless-stopped", JOB),
    ],
)
def test_what_ended_in_another_way_drifts(restart: str, container: Container) -> None:
    registered = replace(row("web", "job"), spec=ComponentSpec("job", "x:1", restart=restart))
    (seen,) = observe(Registered((registered,)), [container], Boot(EARLIER))
    assert (seen.state, seen.drifts) == (ObservedState.EXITED, True)


def test_a_container_that_is_gone_is_removed() -> None:
    assert observed_state(None, DesiredState.RUNNING) == "removed"
    assert observed_state(None, DesiredState.STOPPED) == "removed"


def test_the_registry_is_joined_with_podman() -> None:
    rows = [row("web", "web"), row("web", "api", "stopped"), row("web", "db", tag="2")]
    containers = [container("web"), container("web-api", "exited"), container("unrelated")]
    assert observe(Registered(tuple(rows)), containers, Boot(NOW)) == [
        Observed(
            "web",
            "web",
            "localhost/web:1",
            DesiredState.RUNNING,
            ObservedState.RUNNING,
            NOW,
            registered_image="localhost/web:1",
        ),
        Observed(
            "web",
            "api",
            "localhost/web:1",
            DesiredState.STOPPED,
            ObservedState.STOPPED,
            None,
            registered_image="localhost/web:1",
        ),
        Observed(
            "web",
            "db",
            "localhost/web:2",
            DesiredState.RUNNING,
            ObservedState.REMOVED,
            None,
            registered_image="localhost/web:2",
        ),
    ]
    assert observe(Registered(tuple(rows)), containers, Boot(NOW))[2].version == "2"


def test_what_mcp_made_and_the_registry_does_not_know_is_shown_as_ignore() -> None:
    containers = [
        container("old-api", image="localhost/old:7", service="old", component="api"),
        container("odd", "exited", service="old"),
        container("web.old", "exited", service="web", component="web"),
        container("gone.old", "exited", service="gone", component="gone"),
        container("somebody-else-s"),
    ]
    seen = observe(Registered((row("web", "web"),)), containers, Boot(NOW))
    assert [(one.service, one.component, one.desired, one.state, one.version) for one in seen] == [
        ("web", "web", "running", "removed", "1"),
        ("old", "api", "ignore", "running", "7"),
        ("old", "odd", "ignore", "exited", "1"),
        ("gone", "gone", "ignore", "exited", "1"),
    ]


def test_nothing() -> None:
    assert observe(Registered(), [], Boot(NOW)) == []


MADE = replace(container("web", service="web", deploy="7"), identifier="made")
OF_DEPLOY = replace(row("web", "web"), deploy=7)


@pytest.mark.parametrize(
    ("made", "differences"),
    [
        (MADE, []),
        (replace(MADE, image="docker.io/web:1"), ["runs docker.io/web:1, registered localhost/web:1"]),
        (replace(MADE, image="localhost/web:2"), ["runs web:2, registered 1"]),
        (replace(MADE, image=f"localhost/web@sha256:{'a' * 64}"), []),
        (replace(MADE, image=""), ["runs an image without a name, registered web:1"]),
        (replace(MADE, labels={}), ["its container was not created by MCP"]),
        (replace(MADE, labels={**MADE.labels, "mcp.deploy": "8"}), ["its container is from another deploy"]),
    ],
)
def test_a_container_that_is_not_the_registered_one_is_drift(made: Container, differences: list[str]) -> None:
    (seen,) = observe(Registered((OF_DEPLOY,)), [made], Boot(NOW))
    assert (list(seen.differences), seen.drifts, seen.state) == (differences, bool(differences), "running")
    assert (seen.image, seen.registered_image) == (made.image, "localhost/web:1")
    (ignored,) = observe(Registered((replace(OF_DEPLOY, desired_state=DesiredState.IGNORE),)), [made], Boot(NOW))
    assert not ignored.drifts


def test_an_adopted_container_has_no_labels_and_is_no_drift() -> None:
    (seen,) = observe(Registered((row("web", "web"),)), [container("web")], Boot(NOW))
    assert seen.differences == ()


def test_an_unreadable_component_is_shown_with_what_runs() -> None:
    found = Registered((), (UnreadableRow("web", "web"), UnreadableRow("web", "api")))
    runs, gone = observe(found, [MADE], Boot(NOW))
    assert (runs.state, runs.desired, runs.version, runs.drifts) == ("unreadable", "unknown", "1", True)
    assert (gone.state, gone.image, gone.container, gone.drifts) == ("unreadable", "", None, True)
