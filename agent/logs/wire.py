"""Convert log requests and blocks from and to protobuf messages."""

from collections.abc import Iterator
from contextlib import suppress

from agent.logs import time_window
from agent.logs.blocks import LogBlock
from agent.logs.component import parse_cursor
from agent.logs.logs import AgentLogsQuery
from agent.logs.tail import TailLine
from mcp.shared.errors import InvalidInput
from mcp.shared.names import check_name
from proto.mcp.v1 import mcp_pb2 as pb

STREAMS = {False: pb.LOG_STREAM_STDOUT, True: pb.LOG_STREAM_STDERR}


def query_of(request: pb.LogsRequest) -> AgentLogsQuery:
    """Parse a request; raises InvalidInput."""
    selections = (bool(request.service or request.component), bool(request.targets), request.all)
    if sum(selections) > 1:
        raise InvalidInput("service: give one service, several targets, or all")
    pairs = list(dict.fromkeys((target.service, target.component) for target in request.targets))
    targets = [] if request.all else pairs or [(request.service, request.component)]
    for service, component in targets:
        check_name("service", service)
        if component:
            check_name("component", component)
    time_window.check("since", request.since)
    time_window.check("until", request.until)
    cursors = {(cursor.service, cursor.component): cursor.place for cursor in request.cursors}
    for place in cursors.values():
        parse_cursor(place)
    return AgentLogsQuery(
        targets=targets,
        every=request.all,
        since=request.since,
        until=request.until,
        tail=request.tail,
        follow=request.follow,
        timed=request.timestamps,
        merges=request.runs,
        grep=list(request.grep),
        exclude=list(request.exclude),
        ignore_case=request.ignore_case,
        previous=request.previous,
        cursors=cursors,
    )


def responses(block: LogBlock, *, runs: bool, timed: bool) -> Iterator[pb.LogsResponse]:
    """Yield a block as messages: one for a client that reads `runs`, otherwise one for each part."""
    if runs or len(block.parts) <= 1:
        if runs or block.data or block.notice or block.caught_up:
            yield _response(block, timed, block.watermark if runs else "")
        return
    offset = 0
    for number, (source, is_stderr, length) in enumerate(block.parts, 1):
        last = number == len(block.parts)
        part = LogBlock(block.data[offset : offset + length], [(source, is_stderr, length)])
        if last:
            part.cursors, part.caught_up = block.cursors, block.caught_up
        if number == 1:
            part.notice = block.notice
        yield _response(part, timed, "")
        offset += length


def log_line(line: TailLine) -> pb.LogLine:
    """Convert a line to a message, replacing bytes that are not UTF-8."""
    return pb.LogLine(stream=STREAMS[line.is_stderr], text=line.text.decode(errors="replace").removesuffix("\r"))


def _response(block: LogBlock, timed: bool, watermark: str) -> pb.LogsResponse:
    response = pb.LogsResponse(data=block.data, notice=block.notice, caught_up=block.caught_up, watermark=watermark)
    for (service, component), place in block.cursors.items():
        response.cursors.add(service=service, component=component, place=place)
    if block.parts:
        source, is_stderr, _ = block.parts[0]
        response.service, response.component, response.container = source.service, source.component, source.container
        response.stream = STREAMS[is_stderr]
        if timed:
            _set_time(response)
    if len(block.parts) > 1:
        _set_runs(response, block)
    return response


def _set_time(response: pb.LogsResponse) -> None:
    with suppress(ValueError):  # the rest of a line from an earlier block has no time of its own
        response.time.FromJsonString(response.data[:30].decode("ascii"))


def _set_runs(response: pb.LogsResponse, block: LogBlock) -> None:
    numbers: dict[tuple[int, bool], int] = {}  # by identity: a block has few sources and many parts
    run_source: list[int] = []
    for source, is_stderr, _ in block.parts:
        number = numbers.setdefault((id(source), is_stderr), len(numbers))
        if number == len(response.sources):
            response.sources.add(
                service=source.service,
                component=source.component,
                container=source.container,
                stream=STREAMS[is_stderr],
            )
        run_source.append(number)
    response.run_source.extend(run_source)
    response.run_length.extend([length for _, _, length in block.parts])
