"""One short method per RPC: wire -> domain -> wire. What is not here answers UNIMPLEMENTED."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any

from agent import logs, transfer
from agent.deploy import Deployer, Result
from agent.files import Files
from agent.interceptor import caller
from agent.lifecycle import Lifecycle
from agent.node import NodeProbe
from agent.observe import Observed, observe
from agent.operations import Operations
from agent.podman import Podman
from agent.registry import AsyncRegistry, Registry
from mcp.shared.errors import InvalidInput, McpError, NotFound, Unavailable, shown
from mcp.shared.names import check_name
from mcp.shared.times import parse_since, rfc3339
from mcp.shared.version import VERSION
from mcp.shared.wire import service_from_wire
from proto.mcp.v1 import mcp_pb2 as pb
from proto.mcp.v1 import mcp_pb2_grpc as pb_grpc


class Servicer(pb_grpc.McpAgentServiceServicer):
    """The agent's side of mcp.v1.McpAgentService."""

    def __init__(
        self,
        node_name: str,
        podman: Podman,
        registry: AsyncRegistry,
        settle: float,
        stopping: asyncio.Event,
        *,
        files: Files,
    ) -> None:
        """`settle`: see Deployer; `stopping` is set when the agent begins to stop, and ends followers."""
        self.operations = Operations()
        self._node_name = node_name
        self._podman = podman
        self._registry = registry
        self._deployer = Deployer(podman, registry, settle)
        self._lifecycle = Lifecycle(podman, registry)
        self._probe = NodeProbe(registry.path.parent)
        self._stopping = stopping
        self._files = files

    async def Deploy(self, request: pb.DeployRequest, context: Any) -> pb.DeployResponse:
        service = service_from_wire(request.service)
        _optional_name("component", request.component)
        results = await self.operations.run(
            service.name, caller().user, "deploy", lambda: self._deployer.deploy(service, request.component)
        )
        return pb.DeployResponse(results=_results(results))

    async def UndeployService(self, request: pb.UndeployServiceRequest, context: Any) -> pb.UndeployServiceResponse:
        name = check_name("name", request.name)
        results = await self.operations.run(name, caller().user, "undeploy", lambda: self._lifecycle.undeploy(name))
        return pb.UndeployServiceResponse(results=_results(results))

    async def StopService(self, request: pb.StopServiceRequest, context: Any) -> pb.StopServiceResponse:
        name, component = check_name("name", request.name), _optional_name("component", request.component)
        results = await self.operations.run(name, caller().user, "stop", lambda: self._lifecycle.stop(name, component))
        return pb.StopServiceResponse(results=_results(results))

    async def StartService(self, request: pb.StartServiceRequest, context: Any) -> pb.StartServiceResponse:
        name, component = check_name("name", request.name), _optional_name("component", request.component)
        results = await self.operations.run(
            name, caller().user, "start", lambda: self._lifecycle.start(name, component)
        )
        return pb.StartServiceResponse(results=_results(results))

    async def LiveCheck(self, request: pb.LiveCheckRequest, context: Any) -> pb.LiveCheckResponse:
        containers, rows = await asyncio.gather(self._podman.containers(), self._registry.call(Registry.components))
        return pb.LiveCheckResponse(services=_services(observe(rows, containers)))

    async def PushFile(self, request: pb.PushFileRequest, context: Any) -> pb.PushFileResponse:
        return await transfer.receive_whole(self._files, request)

    async def PullFile(self, request: pb.PullFileRequest, context: Any) -> pb.PullFileResponse:
        return await transfer.send_whole(self._files, request)

    async def PushFileStream(
        self, request_iterator: AsyncIterator[pb.FileChunk], context: Any
    ) -> pb.PushFileStreamResponse:
        return await transfer.receive(self._files, request_iterator)

    def PullFileStream(self, request: pb.PullFileRequest, context: Any) -> AsyncGenerator[pb.FileChunk]:
        return transfer.send(self._files, request)

    async def NodeStatus(self, request: pb.NodeStatusRequest, context: Any) -> pb.NodeStatusResponse:
        facts = await asyncio.to_thread(self._probe.read)
        rows = await self._registry.call(Registry.components)
        response = pb.NodeStatusResponse(
            node_name=self._node_name,
            runtime="podman",
            runtime_version=await self._runtime_version(),
            service_count=len({row.service for row in rows}),
            component_count=len(rows),
            disk_total_bytes=facts.disk_total,
            disk_free_bytes=facts.disk_free,
            memory_total_bytes=facts.memory_total,
            memory_free_bytes=facts.memory_free,
            cpu_usage_percent=facts.cpu_percent,
            agent_version=VERSION,
        )
        response.uptime_since.FromDatetime(facts.up_since)
        return response

    async def Logs(self, request: pb.LogsRequest, context: Any) -> AsyncIterator[pb.LogsResponse]:
        wanted = _logs_request(request)
        rows = await self._lifecycle.rows(check_name("service", request.service), request.component)
        containers = {row.name: row.container for row in rows}
        missing = set(containers.values()) - set(await self._podman.find(*containers.values()))
        if missing:
            raise NotFound(f"no container named {', '.join(sorted(missing))}", "start or deploy the service first")
        async for block in self._until_stopping(logs.read(self._podman, containers, wanted)):
            stream = pb.LOG_STREAM_STDERR if block.is_stderr else pb.LOG_STREAM_STDOUT
            yield pb.LogsResponse(data=block.data, stream=stream, component=block.component)

    async def _until_stopping(self, blocks: AsyncGenerator[logs.Block]) -> AsyncIterator[logs.Block]:
        """Pass blocks on until they end; raises Unavailable when the agent stops first."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        following: asyncio.Future[logs.Block] | None = None
        try:
            while True:
                following = asyncio.ensure_future(anext(blocks))
                await asyncio.wait((following, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    raise Unavailable("the agent is stopping", "run the command again when it is back")
                try:
                    yield following.result()
                except StopAsyncIteration:
                    return
        finally:
            stopping.cancel()
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            await blocks.aclose()

    async def _runtime_version(self) -> str:
        try:
            return await self._podman.version()
        except McpError as error:
            return f"unknown ({error})"  # the node's other facts are worth showing all the same


def _optional_name(field: str, value: str) -> str:
    return check_name(field, value) if value else ""


def _logs_request(request: pb.LogsRequest) -> logs.Request:
    _optional_name("component", request.component)
    since = ""
    if request.since:
        try:
            since = rfc3339(parse_since(request.since, datetime.now(UTC)))
        except ValueError as error:
            raise InvalidInput(f"since: {shown(request.since)}: {error}") from None
    tail = max(0, request.tail) if request.tail else None  # on the wire 0 means all, a negative number none
    return logs.Request(tail=tail, follow=request.follow, timestamps=request.timestamps, since=since)


def _results(results: Iterable[Result]) -> list[pb.ComponentResult]:
    return [pb.ComponentResult(name=result.name, success=not result.error, error=result.error) for result in results]


def _services(components: Iterable[Observed]) -> list[pb.ServiceInfo]:
    services: dict[str, pb.ServiceInfo] = {}
    for component in components:
        service = services.setdefault(component.service, pb.ServiceInfo(name=component.service))
        service.active = service.active or component.desired == "running"
        info = service.components.add(
            name=component.component,
            image=component.image,
            desired_state=component.desired,
            observed_state=component.state,
            version=component.version,
        )
        if component.started is not None:
            info.started.FromDatetime(component.started)
    return list(services.values())
