import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LogStream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOG_STREAM_UNSPECIFIED: _ClassVar[LogStream]
    LOG_STREAM_STDOUT: _ClassVar[LogStream]
    LOG_STREAM_STDERR: _ClassVar[LogStream]
LOG_STREAM_UNSPECIFIED: LogStream
LOG_STREAM_STDOUT: LogStream
LOG_STREAM_STDERR: LogStream

class RouteSpec(_message.Message):
    __slots__ = ("name", "port", "mode", "hostname")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    port: int
    mode: str
    hostname: str
    def __init__(self, name: _Optional[str] = ..., port: _Optional[int] = ..., mode: _Optional[str] = ..., hostname: _Optional[str] = ...) -> None: ...

class ComponentSpec(_message.Message):
    __slots__ = ("name", "image", "network", "user", "restart", "ports", "volumes", "cmd", "routes", "env")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    RESTART_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    CMD_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    name: str
    image: str
    network: str
    user: str
    restart: str
    ports: _containers.RepeatedScalarFieldContainer[str]
    volumes: _containers.RepeatedScalarFieldContainer[str]
    cmd: _containers.RepeatedScalarFieldContainer[str]
    routes: _containers.RepeatedCompositeFieldContainer[RouteSpec]
    env: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., image: _Optional[str] = ..., network: _Optional[str] = ..., user: _Optional[str] = ..., restart: _Optional[str] = ..., ports: _Optional[_Iterable[str]] = ..., volumes: _Optional[_Iterable[str]] = ..., cmd: _Optional[_Iterable[str]] = ..., routes: _Optional[_Iterable[_Union[RouteSpec, _Mapping]]] = ..., env: _Optional[_Iterable[str]] = ...) -> None: ...

class ServiceSpec(_message.Message):
    __slots__ = ("name", "active", "components")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    active: bool
    components: _containers.RepeatedCompositeFieldContainer[ComponentSpec]
    def __init__(self, name: _Optional[str] = ..., active: _Optional[bool] = ..., components: _Optional[_Iterable[_Union[ComponentSpec, _Mapping]]] = ...) -> None: ...

class ComponentResult(_message.Message):
    __slots__ = ("name", "success", "error")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    name: str
    success: bool
    error: str
    def __init__(self, name: _Optional[str] = ..., success: _Optional[bool] = ..., error: _Optional[str] = ...) -> None: ...

class DeployRequest(_message.Message):
    __slots__ = ("service", "component")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    service: ServiceSpec
    component: str
    def __init__(self, service: _Optional[_Union[ServiceSpec, _Mapping]] = ..., component: _Optional[str] = ...) -> None: ...

class DeployResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ComponentResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ComponentResult, _Mapping]]] = ...) -> None: ...

class UndeployServiceRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class UndeployServiceResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ComponentResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ComponentResult, _Mapping]]] = ...) -> None: ...

class StopServiceRequest(_message.Message):
    __slots__ = ("name", "component")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    component: str
    def __init__(self, name: _Optional[str] = ..., component: _Optional[str] = ...) -> None: ...

class StopServiceResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ComponentResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ComponentResult, _Mapping]]] = ...) -> None: ...

class StartServiceRequest(_message.Message):
    __slots__ = ("name", "component")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    component: str
    def __init__(self, name: _Optional[str] = ..., component: _Optional[str] = ...) -> None: ...

class StartServiceResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ComponentResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ComponentResult, _Mapping]]] = ...) -> None: ...

class RestartServiceRequest(_message.Message):
    __slots__ = ("name", "component")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    component: str
    def __init__(self, name: _Optional[str] = ..., component: _Optional[str] = ...) -> None: ...

class RestartServiceResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ComponentResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ComponentResult, _Mapping]]] = ...) -> None: ...

class SyncDesiredStateRequest(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceSpec]
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceSpec, _Mapping]]] = ...) -> None: ...

class ServiceSyncResult(_message.Message):
    __slots__ = ("name", "changed", "summary")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    name: str
    changed: bool
    summary: str
    def __init__(self, name: _Optional[str] = ..., changed: _Optional[bool] = ..., summary: _Optional[str] = ...) -> None: ...

class SyncDesiredStateResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ServiceSyncResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ServiceSyncResult, _Mapping]]] = ...) -> None: ...

class ComponentInfo(_message.Message):
    __slots__ = ("name", "image", "desired_state", "observed_state", "version", "started")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    name: str
    image: str
    desired_state: str
    observed_state: str
    version: str
    started: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., image: _Optional[str] = ..., desired_state: _Optional[str] = ..., observed_state: _Optional[str] = ..., version: _Optional[str] = ..., started: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ServiceInfo(_message.Message):
    __slots__ = ("name", "active", "components")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    active: bool
    components: _containers.RepeatedCompositeFieldContainer[ComponentInfo]
    def __init__(self, name: _Optional[str] = ..., active: _Optional[bool] = ..., components: _Optional[_Iterable[_Union[ComponentInfo, _Mapping]]] = ...) -> None: ...

class ListServicesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListServicesResponse(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceInfo]
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceInfo, _Mapping]]] = ...) -> None: ...

class GetServiceStatusRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DriftInfo(_message.Message):
    __slots__ = ("service", "component", "desired_state", "observed_state")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_STATE_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    desired_state: str
    observed_state: str
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., desired_state: _Optional[str] = ..., observed_state: _Optional[str] = ...) -> None: ...

class EventInfo(_message.Message):
    __slots__ = ("service", "component", "prev_state", "new_state", "timestamp")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    PREV_STATE_FIELD_NUMBER: _ClassVar[int]
    NEW_STATE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    prev_state: str
    new_state: str
    timestamp: _timestamp_pb2.Timestamp
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., prev_state: _Optional[str] = ..., new_state: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetServiceStatusResponse(_message.Message):
    __slots__ = ("services", "drift", "recent_events")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    RECENT_EVENTS_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceInfo]
    drift: _containers.RepeatedCompositeFieldContainer[DriftInfo]
    recent_events: _containers.RepeatedCompositeFieldContainer[EventInfo]
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceInfo, _Mapping]]] = ..., drift: _Optional[_Iterable[_Union[DriftInfo, _Mapping]]] = ..., recent_events: _Optional[_Iterable[_Union[EventInfo, _Mapping]]] = ...) -> None: ...

class LiveCheckRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LiveCheckResponse(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceInfo]
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceInfo, _Mapping]]] = ...) -> None: ...

class AdoptContainersRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class AdoptResult(_message.Message):
    __slots__ = ("container", "component", "success", "error")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    container: str
    component: str
    success: bool
    error: str
    def __init__(self, container: _Optional[str] = ..., component: _Optional[str] = ..., success: _Optional[bool] = ..., error: _Optional[str] = ...) -> None: ...

class AdoptContainersResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[AdoptResult]
    def __init__(self, results: _Optional[_Iterable[_Union[AdoptResult, _Mapping]]] = ...) -> None: ...

class PurgeRequest(_message.Message):
    __slots__ = ("service", "component", "dry_run")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    dry_run: bool
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class PurgeResult(_message.Message):
    __slots__ = ("service", "component", "purged", "reason")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    PURGED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    purged: bool
    reason: str
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., purged: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class PurgeResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[PurgeResult]
    def __init__(self, results: _Optional[_Iterable[_Union[PurgeResult, _Mapping]]] = ...) -> None: ...

class PushFileRequest(_message.Message):
    __slots__ = ("service", "path", "content", "mode")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    service: str
    path: str
    content: bytes
    mode: int
    def __init__(self, service: _Optional[str] = ..., path: _Optional[str] = ..., content: _Optional[bytes] = ..., mode: _Optional[int] = ...) -> None: ...

class PushFileResponse(_message.Message):
    __slots__ = ("success", "error")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    success: bool
    error: str
    def __init__(self, success: _Optional[bool] = ..., error: _Optional[str] = ...) -> None: ...

class PullFileRequest(_message.Message):
    __slots__ = ("service", "path")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    service: str
    path: str
    def __init__(self, service: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class PullFileResponse(_message.Message):
    __slots__ = ("content", "mode", "error")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    mode: int
    error: str
    def __init__(self, content: _Optional[bytes] = ..., mode: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class NodeStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NodeStatusResponse(_message.Message):
    __slots__ = ("node_name", "runtime", "runtime_version", "service_count", "component_count", "disk_total_bytes", "disk_free_bytes", "memory_total_bytes", "memory_free_bytes", "cpu_usage_percent", "uptime_since", "agent_version")
    NODE_NAME_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVICE_COUNT_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    DISK_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_USAGE_PERCENT_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SINCE_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    node_name: str
    runtime: str
    runtime_version: str
    service_count: int
    component_count: int
    disk_total_bytes: int
    disk_free_bytes: int
    memory_total_bytes: int
    memory_free_bytes: int
    cpu_usage_percent: float
    uptime_since: _timestamp_pb2.Timestamp
    agent_version: str
    def __init__(self, node_name: _Optional[str] = ..., runtime: _Optional[str] = ..., runtime_version: _Optional[str] = ..., service_count: _Optional[int] = ..., component_count: _Optional[int] = ..., disk_total_bytes: _Optional[int] = ..., disk_free_bytes: _Optional[int] = ..., memory_total_bytes: _Optional[int] = ..., memory_free_bytes: _Optional[int] = ..., cpu_usage_percent: _Optional[float] = ..., uptime_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., agent_version: _Optional[str] = ...) -> None: ...

class LogsRequest(_message.Message):
    __slots__ = ("service", "component", "tail", "follow", "timestamps", "since")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    tail: int
    follow: bool
    timestamps: bool
    since: str
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., tail: _Optional[int] = ..., follow: _Optional[bool] = ..., timestamps: _Optional[bool] = ..., since: _Optional[str] = ...) -> None: ...

class LogsResponse(_message.Message):
    __slots__ = ("data", "stream", "component")
    DATA_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    stream: LogStream
    component: str
    def __init__(self, data: _Optional[bytes] = ..., stream: _Optional[_Union[LogStream, str]] = ..., component: _Optional[str] = ...) -> None: ...
