"""The wire contract: RPCs, fields and numbers of the original stay as they are."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor

from mcp.shared.resources import ROOT
from proto.mcp.v1 import mcp_pb2 as pb

RPCS = [
    "Deploy",
    "UndeployService",
    "StopService",
    "StartService",
    "RestartService",
    "SyncDesiredState",
    "ListServices",
    "GetServiceStatus",
    "LiveCheck",
    "AdoptContainers",
    "PurgeComponent",
    "PushFile",
    "PullFile",
    "NodeStatus",
    "Logs",
]

# NAME or NAME:TYPE (string where none is said); * is a repeated field. The place in the list is the number.
FIELDS = {
    "RouteSpec": "name port:int32 mode hostname",
    "ComponentSpec": "name image network user restart ports* volumes* cmd* routes*:RouteSpec env*",
    "ServiceSpec": "name active:bool components*:ComponentSpec",
    "DeployRequest": "service:ServiceSpec component",
    "DeployResponse": "results*:ComponentResult",
    "ComponentResult": "name success:bool error",
    "StopServiceRequest": "name component",
    "StartServiceRequest": "name component",
    "RestartServiceRequest": "name component",
    "UndeployServiceRequest": "name",
    "StopServiceResponse": "results*:ComponentResult",
    "StartServiceResponse": "results*:ComponentResult",
    "RestartServiceResponse": "results*:ComponentResult",
    "UndeployServiceResponse": "results*:ComponentResult",
    "SyncDesiredStateRequest": "services*:ServiceSpec",
    "SyncDesiredStateResponse": "results*:ServiceSyncResult",
    "ServiceSyncResult": "name changed:bool summary",
    "ServiceInfo": "name active:bool components*:ComponentInfo",
    "ComponentInfo": "name image desired_state observed_state version started:Timestamp",
    "ListServicesRequest": "",
    "ListServicesResponse": "services*:ServiceInfo",
    "LiveCheckRequest": "",
    "LiveCheckResponse": "services*:ServiceInfo",
    "GetServiceStatusRequest": "name",
    "GetServiceStatusResponse": "services*:ServiceInfo drift*:DriftInfo recent_events*:EventInfo",
    "DriftInfo": "service component desired_state observed_state",
    "EventInfo": "service component prev_state new_state timestamp:Timestamp",
    "AdoptContainersRequest": "service",
    "AdoptContainersResponse": "results*:AdoptResult",
    "AdoptResult": "container component success:bool error",
    "PushFileRequest": "service path content:bytes mode:uint32",
    "PushFileResponse": "success:bool error",
    "PullFileRequest": "service path",
    "PullFileResponse": "content:bytes mode:uint32 error",
    "NodeStatusRequest": "",
    "NodeStatusResponse": "node_name runtime runtime_version service_count:uint32 component_count:uint32 "
    "disk_total_bytes:uint64 disk_free_bytes:uint64 memory_total_bytes:uint64 memory_free_bytes:uint64 "
    "cpu_usage_percent:double uptime_since:Timestamp agent_version",
    "PurgeRequest": "service component dry_run:bool",
    "PurgeResponse": "results*:PurgeResult",
    "PurgeResult": "service component purged:bool reason",
    "LogsRequest": "service component tail:int32 follow:bool timestamps:bool since",
    "LogsResponse": "data:bytes",
}
ODD_NAMES = {"PurgeComponent": "Purge"}  # PurgeComponent takes a PurgeRequest


def test_rpcs_are_those_of_the_original_in_its_order() -> None:
    service = pb.DESCRIPTOR.services_by_name["McpAgentService"]
    assert service.full_name == "mcp.v1.McpAgentService"
    assert [method.name for method in service.methods][: len(RPCS)] == RPCS
    for method in service.methods[: len(RPCS)]:
        stem = ODD_NAMES.get(method.name, method.name)
        assert (method.input_type.name, method.output_type.name) == (f"{stem}Request", f"{stem}Response")
        assert (method.client_streaming, method.server_streaming) == (False, method.name == "Logs"), method.name


@pytest.mark.parametrize("message", FIELDS)
def test_fields_have_the_numbers_of_the_original(message: str) -> None:
    there = {field.number: written_as(field) for field in pb.DESCRIPTOR.message_types_by_name[message].fields}
    wanted = dict(enumerate(FIELDS[message].split(), 1))
    assert {number: there.get(number) for number in wanted} == wanted
    assert min(there.keys() - wanted.keys(), default=len(wanted) + 1) > len(wanted)


def written_as(field: FieldDescriptor) -> str:
    """A field as the table has it."""
    kinds = {
        value: name.removeprefix("TYPE_").lower() for name, value in vars(FieldDescriptor).items() if is_kind(name)
    }
    kind = field.message_type.name if field.message_type else kinds[field.type]
    return f"{field.name}{'*' if field.is_repeated else ''}{'' if kind == 'string' else f':{kind}'}"


def is_kind(name: str) -> bool:
    """Whether a constant of FieldDescriptor is a type."""
    return name.startswith("TYPE_")


def test_every_message_is_in_the_table() -> None:
    assert set(pb.DESCRIPTOR.message_types_by_name) >= set(FIELDS)


def test_the_stubs_are_what_the_proto_makes(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tools.protogen", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    made = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(made) == 3
    for path in made:
        committed = ROOT / path.relative_to(tmp_path)
        assert path.read_bytes() == committed.read_bytes(), f"{committed.name} is not what mcp.proto makes"
