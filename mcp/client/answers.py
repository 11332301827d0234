"""Validation of everything that an agent answers: a node may have been taken over, and its answers name files.

`check` walks a message: rules that RULES declares by field, and bounds on all others. The functions below it check what
belongs together: an answer with its request, and the messages of a stream with each other. Texts other than names
may be anything, since the terminal escapes them.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from mcp.shared.errors import McpError, shown
from mcp.shared.names import is_name
from mcp.shared.replace import MODE_BITS
from mcp.shared.states import AccountType
from mcp.shared.watermark import END, START
from proto.mcp.v1 import mcp_pb2 as pb

MESSAGE_LIMIT = 64 * 1024 * 1024  # bytes; gRPC refuses a longer message
TEXT_LIMIT = 1024 * 1024  # characters
MANY = 100_000  # entries of a list
EVENTS_LIMIT = 1_000_000  # past events, and steps of one operation
SOURCES_LIMIT = 10_000  # components in the logs of one node
SIZE_LIMIT = 1 << 62  # bytes of a pulled file

Rule = Callable[[Any], str]  # returns the problem of a value, or an empty text
T = TypeVar("T")

_BOUNDED = (FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_MESSAGE)
_EARLIEST, _LATEST = -62135596800, 253402300799  # seconds of the years 1 and 9999
_WATERMARK = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HINT = "no agent answers like that: do not trust the node before you know why"


class Malformed(McpError):
    """An answer that no agent gives."""


def _name(value: str) -> str:
    return "" if is_name(value) else f"{shown(value)} is not a valid name"


def _name_or_empty(value: str) -> str:
    return _name(value) if value else ""


def _count(value: int) -> str:
    return "" if value >= 0 else f"{value} is negative"


def _share(value: float) -> str:
    return "" if 0 <= value < 1e6 else f"{value} is not a percentage"  # of all processors together


def _one_of(*values: str) -> Rule:
    return lambda value: "" if value in values else f"{shown(value)} is none of {', '.join(filter(None, values))}"


# By message and field. Names of components that the registry does not have are labels of containers, and so texts:
# those in the answers about podman, in events, and in results of undeploy.
RULES: Mapping[str, Mapping[str, Rule]] = {
    "ServiceSpec": {"name": _name},
    "ComponentSpec": {"name": _name},
    "ComponentInfo": {"restarts": _count},
    "DriftInfo": {},
    "EventInfo": {"number": _count},
    "StepEvent": {},
    "RollbackChoice": {"number": _count},
    "ComponentResult": {"dropped": _one_of("", "kept", "removed")},
    "PlannedChange": {"service": _name, "component": _name_or_empty},
    "ServiceSyncResult": {"name": _name, "kept": _name},
    "HistoryEntry": {"number": _count, "component": _name_or_empty},
    "PurgeResult": {"service": _name, "component": _name},
    "RecoverResult": {"service": _name, "component": _name},
    "WhoAmIResponse": {"account_type": _one_of("", *AccountType)},
    "NodeStatusResponse": {"cpu_usage_percent": _share},
}


def check(message: object, kind: type[Message] = Message) -> None:
    """Raise Malformed for the first problem of a message's fields, and for none: gRPC returns None if there is none."""
    refuse(_problems(message, "") if isinstance(message, kind) else iter(["no message"]))


def refuse(problems: Iterator[str]) -> None:
    """Raise Malformed for the first of problems."""
    if problem := next(problems, ""):
        raise Malformed(f"malformed answer: {problem}", _HINT)


def _problems(message: Message, path: str) -> Iterator[str]:
    if isinstance(message, Timestamp):
        if not (_EARLIEST <= message.seconds <= _LATEST and 0 <= message.nanos < 10**9):
            yield f"{path}: is outside the years 1 to 9999"
        return
    prefix = f"{path}." if path else ""
    for name, rule in RULES.get(message.DESCRIPTOR.name, {}).items():  # also of fields that are not set
        for value in _values(getattr(message, name)):
            if problem := rule(value):
                yield f"{prefix}{name}: {problem}"
    for field, content in message.ListFields():
        values = _values(content)
        if len(values) > MANY:
            yield f"{prefix}{field.name}: has more than {MANY} entries"
        elif field.cpp_type in _BOUNDED:
            for value in values:
                yield from _out_of_bounds(value, f"{prefix}{field.name}")


def _out_of_bounds(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, Message):
        yield from _problems(value, where)
    elif isinstance(value, str) and len(value) > TEXT_LIMIT:
        yield f"{where}: has more than {TEXT_LIMIT} characters"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where}: is not a number"


def _values(content: Any) -> Any:
    """Return the entries of a list, the keys and texts of a map, or a single value in a list."""
    if isinstance(content, Mapping):
        return [*content, *content.values()]
    return (content,) if isinstance(content, (str, bytes, int, float, Message)) else content


# --- an answer and its request ---


def registered(answer: pb.ListServicesResponse) -> Iterator[str]:
    """Yield the problems of registered services: export makes files of them."""
    yield from _twice("services", (service.name for service in answer.services))
    for service in answer.services:
        components = [component.name for component in service.components]
        for name in (service.name, *components):
            if problem := _name(name):
                yield f"services: {problem}"
        if service.HasField("definition"):
            yield from _other("definition.name", service.definition.name, service.name)
            defined = [component.name for component in service.definition.components]
            yield from _twice(f"definition of {service.name}", defined)
            for name in set(defined) - set(components):
                yield f"definition of {service.name}: {shown(name)} is not one of its components"


def status(answer: pb.GetServiceStatusResponse, service: str) -> Iterator[str]:
    """Yield the problems of the state of a service, or of all if empty."""
    for info in answer.services:
        yield from _other("services", info.name, service)
    for event in answer.recent_events:
        yield from _other("recent_events", event.service, service)


def history(answer: pb.HistoryResponse, service: str, number: int) -> Iterator[str]:
    """Yield the problems of the deploys of a service, or of any if empty; with a `number` only of that one."""
    yield from _twice("entries", (str(entry.number) for entry in answer.entries))
    for entry in answer.entries:
        yield from _other("definition.name", entry.definition.name, service)
        if number and entry.number != number:
            yield f"number: {entry.number} was not asked for"


def purged(answer: pb.PurgeResponse, service: str, component: str) -> Iterator[str]:
    """Yield the problems of entries of a service or component, or of all if empty."""
    for result in answer.results:
        yield from _other("service", result.service, service)
        yield from _other("component", result.component, component)


def adopted(answer: pb.AdoptContainersResponse, service: str) -> Iterator[str]:
    """Yield the problems of adopted containers; the names of those that cannot be adopted may be any."""
    for result in answer.results:
        yield from _other("service", result.service, service)
        if result.success:
            yield from (problem for name in (result.service, result.component) if (problem := _name(name)))
            yield from _other("spec.name", result.spec.name, result.component)


def asked(names: Iterable[str], services: Iterable[str]) -> Iterator[str]:
    """Yield the names of services in an answer that are not those asked for."""
    known = set(services)
    yield from (f"{shown(name)} was not asked for" for name in names if name not in known)


def node(answer: pb.NodeStatusResponse) -> Iterator[str]:
    """Yield the problems of a node's resources."""
    for what in ("disk", "memory"):
        if getattr(answer, f"{what}_free_bytes") > getattr(answer, f"{what}_total_bytes"):
            yield f"{what}_free_bytes: is more than there is"


def pushed(answer: pb.PushFileStreamResponse) -> Iterator[str]:
    """Yield the problem of a checksum."""
    if not _SHA256.fullmatch(answer.sha256):
        yield f"sha256: {shown(answer.sha256)} is no checksum"


def _other(field: str, value: str, wanted: str) -> Iterator[str]:
    if wanted and value != wanted:
        yield f"{field}: {shown(value)} instead of {wanted}"


def _twice(what: str, names: Iterable[str]) -> Iterator[str]:
    seen = set[str]()
    for name in names:
        if name in seen:
            yield f"{what}: {shown(name)} is there twice"
        seen.add(name)


# --- streams ---


class Stream:
    """The messages of a stream, checked one by one; subclasses yield the problems of each, and of the end."""

    def take(self, message: Any) -> None:
        """Check the next message; raises Malformed."""
        check(message)
        refuse(self.problems(message))

    def end(self) -> None:
        """Check that the stream may end; raises Malformed."""

    def problems(self, message: Any) -> Iterator[str]:
        """Yield the problems of a message after the previous ones."""
        raise NotImplementedError


class Steps(Stream):
    """The steps of an operation, which end with its response; those of a rollback begin with its choice."""

    def __init__(self, *, chooses: bool = False) -> None:
        """Expect the first step, or the choice."""
        self._count, self._chooses = 0, chooses

    def problems(self, message: pb.DeployEvent) -> Iterator[str]:
        """Check that the event is one in its place, and that there are not too many."""
        self._count += 1
        if message.WhichOneof("event") is None:
            yield "event: is missing"
        if message.HasField("choice") != (self._chooses and self._count == 1):
            yield "choice: is not the beginning"
        if message.step.number > message.step.count:
            yield f"step {message.step.number} of {message.step.count}"
        if self._count > EVENTS_LIMIT:
            yield f"more than {EVENTS_LIMIT} steps"


class Events(Stream):
    """Events of a service, or of all if empty, in the order of their numbers."""

    def __init__(self, service: str, *, after: int, tail: int, follow: bool) -> None:
        """Take what was asked for: see AgentClient.events."""
        self._service, self._last, self._count = service, after, 0
        self._limit = None if follow else tail if tail > 0 else 0 if tail < 0 else EVENTS_LIMIT

    def problems(self, message: pb.EventInfo) -> Iterator[str]:
        """Check service, order and count."""
        self._count += 1
        yield from _other("service", message.service, self._service)
        if message.number <= self._last:
            yield f"number: {message.number} after {self._last}"
        if self._limit is not None and self._count > self._limit:
            yield f"more than {self._limit} events"
        self._last = message.number


class LogBlocks(Stream):
    """Blocks of logs."""

    def __init__(self) -> None:
        """Expect the first block."""
        self._sources: set[tuple[str, str, str]] = set()

    def problems(self, message: pb.LogsResponse) -> Iterator[str]:
        """Check that runs cover the data, that watermarks are times, and that there are not too many components."""
        if message.run_length or message.run_source:
            if len(message.run_length) != len(message.run_source) or sum(message.run_length) != len(message.data):
                yield f"run_length: does not cover the {len(message.data)} bytes of data"
            elif 0 in message.run_length:
                yield "run_length: is 0"
            if max(message.run_source, default=0) >= len(message.sources):
                yield f"run_source: {max(message.run_source)} of {len(message.sources)} sources"
        if message.watermark and not (_WATERMARK.fullmatch(message.watermark) and START <= message.watermark <= END):
            yield f"watermark: {shown(message.watermark)} is not a time"
        self._sources.update((each.service, each.component, each.container) for each in message.sources)
        self._sources.update((each.service, each.component, "") for each in message.cursors)
        self._sources.add((message.service, message.component, message.container))
        if len(self._sources) > SOURCES_LIMIT:
            yield f"more than {SOURCES_LIMIT} sources"


class PulledFile(Stream):
    """The chunks of a file: the first announces mode and size, the last has the checksum."""

    def __init__(self, service: str, path: str) -> None:
        """Take the file asked for."""
        self._service, self._path = service, path
        self._size = -1  # announced
        self._received = 0
        self._is_whole = False

    def problems(self, message: pb.FileChunk) -> Iterator[str]:
        """Check the sequence, and that no more arrives than announced."""
        if self._size < 0:
            self._size = message.size
            yield from _other("service", message.service, self._service)
            yield from _other("path", message.path, self._path)
            if message.size > SIZE_LIMIT or message.mode & ~MODE_BITS:
                yield f"size {message.size}, mode {message.mode:o}"
        elif message.service or message.path or message.mode or message.size:
            yield "a later chunk announces a file again"
        elif not (message.data or message.sha256):
            yield "an empty chunk"
        if self._is_whole:
            yield "a chunk follows the last one"
        self._received += len(message.data)
        if self._received > self._size:
            yield f"more than the {self._size} bytes that were announced"
        if message.sha256:
            self._is_whole = True
            if not _SHA256.fullmatch(message.sha256):
                yield f"sha256: {shown(message.sha256)} is no checksum"
            if self._received < self._size:
                yield f"{self._received} of the {self._size} bytes that were announced"

    def end(self) -> None:
        """Check that the last chunk has arrived."""
        if not self._is_whole:
            raise Malformed("malformed answer: the file ends before its last chunk", _HINT)
