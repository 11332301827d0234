"""Specifications keep their meaning on the wire and in the registry."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp.shared import wire
from mcp.shared.errors import InvalidInput
from mcp.shared.spec import ComponentSpec, ServiceSpec, problems
from proto.mcp.v1 import mcp_pb2 as pb
from tests.unit import specs


@given(specs.services)
def test_a_service_survives_the_wire(service: ServiceSpec) -> None:
    data = wire.service_to_wire(service).SerializeToString()
    assert wire.service_from_wire(pb.ServiceSpec.FromString(data)) == service


@given(specs.components)
def test_a_component_survives_the_registry(component: ComponentSpec) -> None:
    text = wire.component_to_json(component)
    assert wire.component_from_json(text) == component
    assert wire.component_to_json(wire.component_from_json(text)) == text


def test_what_the_wire_leaves_empty_has_a_default() -> None:
    message = pb.ServiceSpec(name="web", components=[pb.ComponentSpec(name="web", image="web:1")])
    message.components[0].routes.add(port=80)
    component = wire.service_from_wire(message).components[0]
    assert component.restart == "unless-stopped"
    assert component.routes[0].mode == "l4"


def test_problems_name_their_fields() -> None:
    message = pb.ServiceSpec(name="-web", components=[pb.ComponentSpec(name="web", image="web:latest")])
    with pytest.raises(InvalidInput) as caught:
        wire.service_from_wire(message)
    first, second = str(caught.value).split("; service.")
    assert first.startswith('service.name: "-web" must be')
    assert second.startswith('components[0].image: "web:latest" is tagged latest')


@given(st.builds(pb.ServiceSpec, name=st.text(), components=st.lists(st.builds(pb.ComponentSpec, name=st.text()))))
def test_any_message_is_a_sound_service_or_invalid_input(message: pb.ServiceSpec) -> None:
    try:
        found = problems(wire.service_from_wire(message))
    except InvalidInput as error:
        found = [str(error)]
    assert all(problem.startswith("service.") for problem in found)


def test_the_registrys_form_can_be_read_by_an_older_agent_and_a_newer_ones_by_this() -> None:
    """An upgrade can be undone: what is new is written only where it is used, and what is unknown is overlooked."""
    plain = ComponentSpec("api", "localhost/web:1.0.0")
    assert "log_" not in wire.component_to_json(plain)
    assert "log_" not in wire.service_to_json(ServiceSpec("web", True, (plain,)))
    loud = ComponentSpec("api", "localhost/web:1.0.0", log_max_size="5m")
    assert wire.component_from_json(wire.component_to_json(loud)) == loud
    newer = {**json.loads(wire.component_to_json(loud)), "invented_later": ["x"]}
    assert wire.component_from_json(json.dumps(newer)) == loud
