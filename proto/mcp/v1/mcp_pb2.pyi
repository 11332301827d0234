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
    __slots__ = ("name", "image", "network", "user", "restart", "ports", "volumes", "cmd", "routes", "env", "health", "log_driver", "log_max_size", "stop_timeout", "stop_signal", "heal", "http_proxy")
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
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    LOG_DRIVER_FIELD_NUMBER: _ClassVar[int]
    LOG_MAX_SIZE_FIELD_NUMBER: _ClassVar[int]
    STOP_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    STOP_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    HEAL_FIELD_NUMBER: _ClassVar[int]
    HTTP_PROXY_FIELD_NUMBER: _ClassVar[int]
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
    health: HealthSpec
    log_driver: str
    log_max_size: str
    stop_timeout: str
    stop_signal: str
    heal: bool
    http_proxy: bool
    def __init__(self, name: _Optional[str] = ..., image: _Optional[str] = ..., network: _Optional[str] = ..., user: _Optional[str] = ..., restart: _Optional[str] = ..., ports: _Optional[_Iterable[str]] = ..., volumes: _Optional[_Iterable[str]] = ..., cmd: _Optional[_Iterable[str]] = ..., routes: _Optional[_Iterable[_Union[RouteSpec, _Mapping]]] = ..., env: _Optional[_Iterable[str]] = ..., health: _Optional[_Union[HealthSpec, _Mapping]] = ..., log_driver: _Optional[str] = ..., log_max_size: _Optional[str] = ..., stop_timeout: _Optional[str] = ..., stop_signal: _Optional[str] = ..., heal: _Optional[bool] = ..., http_proxy: _Optional[bool] = ...) -> None: ...

class HealthSpec(_message.Message):
    __slots__ = ("cmd", "interval", "timeout", "retries", "start_period")
    CMD_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    START_PERIOD_FIELD_NUMBER: _ClassVar[int]
    cmd: _containers.RepeatedScalarFieldContainer[str]
    interval: str
    timeout: str
    retries: int
    start_period: str
    def __init__(self, cmd: _Optional[_Iterable[str]] = ..., interval: _Optional[str] = ..., timeout: _Optional[str] = ..., retries: _Optional[int] = ..., start_period: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("name", "success", "error", "unchanged", "last_lines", "notes", "dropped")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    LAST_LINES_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    name: str
    success: bool
    error: str
    unchanged: bool
    last_lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    notes: _containers.RepeatedScalarFieldContainer[str]
    dropped: str
    def __init__(self, name: _Optional[str] = ..., success: _Optional[bool] = ..., error: _Optional[str] = ..., unchanged: _Optional[bool] = ..., last_lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ..., dropped: _Optional[str] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("stream", "text")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    stream: LogStream
    text: str
    def __init__(self, stream: _Optional[_Union[LogStream, str]] = ..., text: _Optional[str] = ...) -> None: ...

class DeployRequest(_message.Message):
    __slots__ = ("service", "component", "force", "prune")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    service: ServiceSpec
    component: str
    force: bool
    prune: bool
    def __init__(self, service: _Optional[_Union[ServiceSpec, _Mapping]] = ..., component: _Optional[str] = ..., force: _Optional[bool] = ..., prune: _Optional[bool] = ...) -> None: ...

class DeployResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ComponentResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ComponentResult, _Mapping]]] = ...) -> None: ...

class DeployEvent(_message.Message):
    __slots__ = ("step", "response", "choice")
    STEP_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    step: StepEvent
    response: DeployResponse
    choice: RollbackChoice
    def __init__(self, step: _Optional[_Union[StepEvent, _Mapping]] = ..., response: _Optional[_Union[DeployResponse, _Mapping]] = ..., choice: _Optional[_Union[RollbackChoice, _Mapping]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("service", "number", "prune", "dry_run", "defined")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    DEFINED_FIELD_NUMBER: _ClassVar[int]
    service: str
    number: int
    prune: bool
    dry_run: bool
    defined: ServiceSpec
    def __init__(self, service: _Optional[str] = ..., number: _Optional[int] = ..., prune: _Optional[bool] = ..., dry_run: _Optional[bool] = ..., defined: _Optional[_Union[ServiceSpec, _Mapping]] = ...) -> None: ...

class RollbackChoice(_message.Message):
    __slots__ = ("number", "differs", "changes")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DIFFERS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    number: int
    differs: bool
    changes: _containers.RepeatedCompositeFieldContainer[PlannedChange]
    def __init__(self, number: _Optional[int] = ..., differs: _Optional[bool] = ..., changes: _Optional[_Iterable[_Union[PlannedChange, _Mapping]]] = ...) -> None: ...

class StepEvent(_message.Message):
    __slots__ = ("component", "number", "count", "title", "state")
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    component: str
    number: int
    count: int
    title: str
    state: str
    def __init__(self, component: _Optional[str] = ..., number: _Optional[int] = ..., count: _Optional[int] = ..., title: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...

class UndeployServiceRequest(_message.Message):
    __slots__ = ("name", "component", "volumes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    name: str
    component: str
    volumes: bool
    def __init__(self, name: _Optional[str] = ..., component: _Optional[str] = ..., volumes: _Optional[bool] = ...) -> None: ...

class UndeployServiceResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ComponentResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ComponentResult, _Mapping]]] = ...) -> None: ...

class LifecycleRequest(_message.Message):
    __slots__ = ("operation", "name", "component", "volumes")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    operation: str
    name: str
    component: str
    volumes: bool
    def __init__(self, operation: _Optional[str] = ..., name: _Optional[str] = ..., component: _Optional[str] = ..., volumes: _Optional[bool] = ...) -> None: ...

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
    __slots__ = ("services", "partial", "prune", "leave")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceSpec]
    partial: bool
    prune: bool
    leave: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceSpec, _Mapping]]] = ..., partial: _Optional[bool] = ..., prune: _Optional[bool] = ..., leave: _Optional[_Iterable[str]] = ...) -> None: ...

class ServiceSyncResult(_message.Message):
    __slots__ = ("name", "changed", "summary", "error", "kept")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    name: str
    changed: bool
    summary: str
    error: str
    kept: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., changed: _Optional[bool] = ..., summary: _Optional[str] = ..., error: _Optional[str] = ..., kept: _Optional[_Iterable[str]] = ...) -> None: ...

class PlannedChange(_message.Message):
    __slots__ = ("service", "component", "action", "reasons", "steps", "notes")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    action: str
    reasons: _containers.RepeatedScalarFieldContainer[str]
    steps: _containers.RepeatedScalarFieldContainer[str]
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., action: _Optional[str] = ..., reasons: _Optional[_Iterable[str]] = ..., steps: _Optional[_Iterable[str]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ("services", "partial", "component", "force", "prune", "leave")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceSpec]
    partial: bool
    component: str
    force: bool
    prune: bool
    leave: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceSpec, _Mapping]]] = ..., partial: _Optional[bool] = ..., component: _Optional[str] = ..., force: _Optional[bool] = ..., prune: _Optional[bool] = ..., leave: _Optional[_Iterable[str]] = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("changes",)
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[PlannedChange]
    def __init__(self, changes: _Optional[_Iterable[_Union[PlannedChange, _Mapping]]] = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("service", "limit", "number")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    service: str
    limit: int
    number: int
    def __init__(self, service: _Optional[str] = ..., limit: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class HistoryEntry(_message.Message):
    __slots__ = ("number", "timestamp", "user", "definition", "component", "digests", "result", "error")
    class DigestsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    number: int
    timestamp: _timestamp_pb2.Timestamp
    user: str
    definition: ServiceSpec
    component: str
    digests: _containers.ScalarMap[str, str]
    result: str
    error: str
    def __init__(self, number: _Optional[int] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., user: _Optional[str] = ..., definition: _Optional[_Union[ServiceSpec, _Mapping]] = ..., component: _Optional[str] = ..., digests: _Optional[_Mapping[str, str]] = ..., result: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class HistoryResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[HistoryEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[HistoryEntry, _Mapping]]] = ...) -> None: ...

class SyncDesiredStateResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ServiceSyncResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ServiceSyncResult, _Mapping]]] = ...) -> None: ...

class ComponentInfo(_message.Message):
    __slots__ = ("name", "image", "desired_state", "observed_state", "version", "started", "restarts", "digest", "ports", "exit_code", "health", "pending", "registered_image", "differences")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_IMAGE_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    name: str
    image: str
    desired_state: str
    observed_state: str
    version: str
    started: _timestamp_pb2.Timestamp
    restarts: int
    digest: str
    ports: _containers.RepeatedScalarFieldContainer[str]
    exit_code: int
    health: str
    pending: str
    registered_image: str
    differences: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., image: _Optional[str] = ..., desired_state: _Optional[str] = ..., observed_state: _Optional[str] = ..., version: _Optional[str] = ..., started: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., restarts: _Optional[int] = ..., digest: _Optional[str] = ..., ports: _Optional[_Iterable[str]] = ..., exit_code: _Optional[int] = ..., health: _Optional[str] = ..., pending: _Optional[str] = ..., registered_image: _Optional[str] = ..., differences: _Optional[_Iterable[str]] = ...) -> None: ...

class ServiceInfo(_message.Message):
    __slots__ = ("name", "active", "components", "definition")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    name: str
    active: bool
    components: _containers.RepeatedCompositeFieldContainer[ComponentInfo]
    definition: ServiceSpec
    def __init__(self, name: _Optional[str] = ..., active: _Optional[bool] = ..., components: _Optional[_Iterable[_Union[ComponentInfo, _Mapping]]] = ..., definition: _Optional[_Union[ServiceSpec, _Mapping]] = ...) -> None: ...

class ListServicesRequest(_message.Message):
    __slots__ = ("with_env",)
    WITH_ENV_FIELD_NUMBER: _ClassVar[int]
    with_env: bool
    def __init__(self, with_env: _Optional[bool] = ...) -> None: ...

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
    __slots__ = ("service", "component", "prev_state", "new_state", "timestamp", "number", "detail")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    PREV_STATE_FIELD_NUMBER: _ClassVar[int]
    NEW_STATE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    prev_state: str
    new_state: str
    timestamp: _timestamp_pb2.Timestamp
    number: int
    detail: str
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., prev_state: _Optional[str] = ..., new_state: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., number: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...

class EventsRequest(_message.Message):
    __slots__ = ("service", "follow", "after", "tail")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    service: str
    follow: bool
    after: int
    tail: int
    def __init__(self, service: _Optional[str] = ..., follow: _Optional[bool] = ..., after: _Optional[int] = ..., tail: _Optional[int] = ...) -> None: ...

class GetServiceStatusResponse(_message.Message):
    __slots__ = ("services", "drift", "recent_events", "registry_problems")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    RECENT_EVENTS_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceInfo]
    drift: _containers.RepeatedCompositeFieldContainer[DriftInfo]
    recent_events: _containers.RepeatedCompositeFieldContainer[EventInfo]
    registry_problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceInfo, _Mapping]]] = ..., drift: _Optional[_Iterable[_Union[DriftInfo, _Mapping]]] = ..., recent_events: _Optional[_Iterable[_Union[EventInfo, _Mapping]]] = ..., registry_problems: _Optional[_Iterable[str]] = ...) -> None: ...

class LiveCheckRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LiveCheckResponse(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceInfo]
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceInfo, _Mapping]]] = ...) -> None: ...

class AdoptContainersRequest(_message.Message):
    __slots__ = ("service", "all", "dry_run")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    service: str
    all: bool
    dry_run: bool
    def __init__(self, service: _Optional[str] = ..., all: _Optional[bool] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class AdoptResult(_message.Message):
    __slots__ = ("container", "component", "success", "error", "service", "spec", "notes")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    container: str
    component: str
    success: bool
    error: str
    service: str
    spec: ComponentSpec
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, container: _Optional[str] = ..., component: _Optional[str] = ..., success: _Optional[bool] = ..., error: _Optional[str] = ..., service: _Optional[str] = ..., spec: _Optional[_Union[ComponentSpec, _Mapping]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class AdoptContainersResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[AdoptResult]
    def __init__(self, results: _Optional[_Iterable[_Union[AdoptResult, _Mapping]]] = ...) -> None: ...

class PurgeRequest(_message.Message):
    __slots__ = ("service", "component", "dry_run", "defined")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    DEFINED_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    dry_run: bool
    defined: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., dry_run: _Optional[bool] = ..., defined: _Optional[_Iterable[str]] = ...) -> None: ...

class PurgeResult(_message.Message):
    __slots__ = ("service", "component", "purged", "reason", "undeploy")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    PURGED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    UNDEPLOY_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    purged: bool
    reason: str
    undeploy: bool
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., purged: _Optional[bool] = ..., reason: _Optional[str] = ..., undeploy: _Optional[bool] = ...) -> None: ...

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

class FileChunk(_message.Message):
    __slots__ = ("service", "path", "mode", "size", "data", "sha256")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    service: str
    path: str
    mode: int
    size: int
    data: bytes
    sha256: str
    def __init__(self, service: _Optional[str] = ..., path: _Optional[str] = ..., mode: _Optional[int] = ..., size: _Optional[int] = ..., data: _Optional[bytes] = ..., sha256: _Optional[str] = ...) -> None: ...

class PushFileStreamResponse(_message.Message):
    __slots__ = ("size", "sha256")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    size: int
    sha256: str
    def __init__(self, size: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class WhoAmIRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WhoAmIResponse(_message.Message):
    __slots__ = ("user", "account_type", "roles", "expires", "role", "services")
    USER_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    user: str
    account_type: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    expires: _timestamp_pb2.Timestamp
    role: str
    services: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, user: _Optional[str] = ..., account_type: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., expires: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., role: _Optional[str] = ..., services: _Optional[_Iterable[str]] = ...) -> None: ...

class RecoverResult(_message.Message):
    __slots__ = ("service", "component", "success", "error", "action", "notes")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    success: bool
    error: str
    action: str
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., success: _Optional[bool] = ..., error: _Optional[str] = ..., action: _Optional[str] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class RecoverRequest(_message.Message):
    __slots__ = ("dry_run",)
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    def __init__(self, dry_run: _Optional[bool] = ...) -> None: ...

class RecoverResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RecoverResult]
    def __init__(self, results: _Optional[_Iterable[_Union[RecoverResult, _Mapping]]] = ...) -> None: ...

class NodeStatusRequest(_message.Message):
    __slots__ = ("images",)
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    images: bool
    def __init__(self, images: _Optional[bool] = ...) -> None: ...

class UnusedImage(_message.Message):
    __slots__ = ("identifier", "names", "bytes")
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    identifier: str
    names: _containers.RepeatedScalarFieldContainer[str]
    bytes: int
    def __init__(self, identifier: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., bytes: _Optional[int] = ...) -> None: ...

class NodeStatusResponse(_message.Message):
    __slots__ = ("node_name", "runtime", "runtime_version", "service_count", "component_count", "disk_total_bytes", "disk_free_bytes", "memory_total_bytes", "memory_free_bytes", "cpu_usage_percent", "uptime_since", "agent_version", "agent_commit", "agent_python", "architecture", "now", "restore_notes", "certificate_not_after", "unused_images", "registry_problems", "unused_volumes", "longest_pause")
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
    AGENT_COMMIT_FIELD_NUMBER: _ClassVar[int]
    AGENT_PYTHON_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    RESTORE_NOTES_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    UNUSED_IMAGES_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    UNUSED_VOLUMES_FIELD_NUMBER: _ClassVar[int]
    LONGEST_PAUSE_FIELD_NUMBER: _ClassVar[int]
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
    agent_commit: str
    agent_python: str
    architecture: str
    now: _timestamp_pb2.Timestamp
    restore_notes: _containers.RepeatedScalarFieldContainer[str]
    certificate_not_after: _timestamp_pb2.Timestamp
    unused_images: _containers.RepeatedCompositeFieldContainer[UnusedImage]
    registry_problems: _containers.RepeatedScalarFieldContainer[str]
    unused_volumes: _containers.RepeatedScalarFieldContainer[str]
    longest_pause: float
    def __init__(self, node_name: _Optional[str] = ..., runtime: _Optional[str] = ..., runtime_version: _Optional[str] = ..., service_count: _Optional[int] = ..., component_count: _Optional[int] = ..., disk_total_bytes: _Optional[int] = ..., disk_free_bytes: _Optional[int] = ..., memory_total_bytes: _Optional[int] = ..., memory_free_bytes: _Optional[int] = ..., cpu_usage_percent: _Optional[float] = ..., uptime_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., agent_version: _Optional[str] = ..., agent_commit: _Optional[str] = ..., agent_python: _Optional[str] = ..., architecture: _Optional[str] = ..., now: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., restore_notes: _Optional[_Iterable[str]] = ..., certificate_not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., unused_images: _Optional[_Iterable[_Union[UnusedImage, _Mapping]]] = ..., registry_problems: _Optional[_Iterable[str]] = ..., unused_volumes: _Optional[_Iterable[str]] = ..., longest_pause: _Optional[float] = ...) -> None: ...

class LogsRequest(_message.Message):
    __slots__ = ("service", "component", "tail", "follow", "timestamps", "since", "until", "targets", "all", "grep", "exclude", "ignore_case", "previous", "runs", "cursors")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    GREP_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    IGNORE_CASE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    CURSORS_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    tail: int
    follow: bool
    timestamps: bool
    since: str
    until: str
    targets: _containers.RepeatedCompositeFieldContainer[LogsTarget]
    all: bool
    grep: _containers.RepeatedScalarFieldContainer[str]
    exclude: _containers.RepeatedScalarFieldContainer[str]
    ignore_case: bool
    previous: bool
    runs: bool
    cursors: _containers.RepeatedCompositeFieldContainer[LogCursor]
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., tail: _Optional[int] = ..., follow: _Optional[bool] = ..., timestamps: _Optional[bool] = ..., since: _Optional[str] = ..., until: _Optional[str] = ..., targets: _Optional[_Iterable[_Union[LogsTarget, _Mapping]]] = ..., all: _Optional[bool] = ..., grep: _Optional[_Iterable[str]] = ..., exclude: _Optional[_Iterable[str]] = ..., ignore_case: _Optional[bool] = ..., previous: _Optional[bool] = ..., runs: _Optional[bool] = ..., cursors: _Optional[_Iterable[_Union[LogCursor, _Mapping]]] = ...) -> None: ...

class LogsTarget(_message.Message):
    __slots__ = ("service", "component")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ...) -> None: ...

class LogCursor(_message.Message):
    __slots__ = ("service", "component", "place")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    place: str
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., place: _Optional[str] = ...) -> None: ...

class LogsResponse(_message.Message):
    __slots__ = ("data", "stream", "component", "service", "container", "time", "sources", "run_source", "run_length", "cursors", "notice", "caught_up", "watermark")
    DATA_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    RUN_SOURCE_FIELD_NUMBER: _ClassVar[int]
    RUN_LENGTH_FIELD_NUMBER: _ClassVar[int]
    CURSORS_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    stream: LogStream
    component: str
    service: str
    container: str
    time: _timestamp_pb2.Timestamp
    sources: _containers.RepeatedCompositeFieldContainer[LogSource]
    run_source: _containers.RepeatedScalarFieldContainer[int]
    run_length: _containers.RepeatedScalarFieldContainer[int]
    cursors: _containers.RepeatedCompositeFieldContainer[LogCursor]
    notice: str
    caught_up: bool
    watermark: str
    def __init__(self, data: _Optional[bytes] = ..., stream: _Optional[_Union[LogStream, str]] = ..., component: _Optional[str] = ..., service: _Optional[str] = ..., container: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sources: _Optional[_Iterable[_Union[LogSource, _Mapping]]] = ..., run_source: _Optional[_Iterable[int]] = ..., run_length: _Optional[_Iterable[int]] = ..., cursors: _Optional[_Iterable[_Union[LogCursor, _Mapping]]] = ..., notice: _Optional[str] = ..., caught_up: _Optional[bool] = ..., watermark: _Optional[str] = ...) -> None: ...

class LogSource(_message.Message):
    __slots__ = ("service", "component", "container", "stream")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    service: str
    component: str
    container: str
    stream: LogStream
    def __init__(self, service: _Optional[str] = ..., component: _Optional[str] = ..., container: _Optional[str] = ..., stream: _Optional[_Union[LogStream, str]] = ...) -> None: ...
