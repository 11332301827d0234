"""Specifications keep their meaning on the wire and in the registry."""

import json
from dataclasses import replace

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from mcp.shared import wire
from mcp.shared.errors import InvalidInput
from mcp.shared.fields import FieldKind, fields_of, problems
from mcp.shared.spec import ComponentSpec, HealthSpec, RouteSpec, ServiceSpec
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
    message = pb.ServiceSpec(name="web", components=[pb.ComponentSpec(name="web", image="localhost/web:1")])
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
        found: list[str] = [*problems(wire.service_from_wire(message))]
    except InvalidInput as error:
        found = [str(error)]
    assert all(problem.startswith("service.") for problem in found)


def test_the_registry_reads_what_an_older_or_newer_agent_wrote() -> None:
    """What a row does not name has its default, and what is unknown is ignored: an upgrade can be undone."""
    loud = ComponentSpec("api", "localhost/web:1.0.0", log_max_size="5m", health=HealthSpec(("true",)))
    data = json.loads(wire.component_to_json(loud))
    assert wire.component_from_json(json.dumps({**data, "invented_later": ["x"]})) == loud
    older = {key: value for key, value in data.items() if not key.startswith("log_")}
    assert wire.component_from_json(json.dumps(older)) == replace(loud, log_max_size="")


def test_what_an_earlier_agent_stored_is_read() -> None:
    text = (
        '{"active": false, "components": [{"cmd": ["a"], "env": ["A=1"], "health": {"cmd": ["true"], "interval": "5s",'
        ' "retries": 0, "start_period": "", "timeout": ""}, "image": "localhost/x:1", "name": "api", "network": "",'
        ' "ports": [], "restart": "always", "routes": [{"hostname": "", "mode": "l4", "name": "", "port": 80}],'
        ' "user": "", "volumes": []}], "name": "web"}'
    )
    api = ComponentSpec(
        *("api", "localhost/x:1"),
        restart="always",
        cmd=("a",),
        routes=(RouteSpec(port=80),),
        env=("A=1",),
        health=HealthSpec(("true",), interval="5s"),
    )
    assert wire.service_from_json(text) == ServiceSpec("web", False, (api,))


@pytest.mark.parametrize("model", [ServiceSpec, ComponentSpec, RouteSpec, HealthSpec])
def test_every_declared_field_is_on_the_wire_with_its_type(model: type) -> None:
    kinds = {
        FieldKind.TEXT: (FieldDescriptor.TYPE_STRING, False),
        FieldKind.FLAG: (FieldDescriptor.TYPE_BOOL, False),
        FieldKind.INTEGER: (FieldDescriptor.TYPE_INT32, False),
        FieldKind.TEXTS: (FieldDescriptor.TYPE_STRING, True),
        FieldKind.TABLE: (FieldDescriptor.TYPE_MESSAGE, False),
        FieldKind.TABLES: (FieldDescriptor.TYPE_MESSAGE, True),
    }
    there = {
        field.name: ((field.type, field.is_repeated), field.message_type.name if field.message_type else None)
        for field in pb.DESCRIPTOR.message_types_by_name[model.__name__].fields
    }
    assert there == {
        field.name: (kinds[field.kind], field.model.__name__ if field.model else None) for field in fields_of(model)
    }
