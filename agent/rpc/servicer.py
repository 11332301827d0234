"""Implement the RPCs, one short method each: wire -> domain -> wire."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, TypeVar

from agent.files import transfer
from agent.files.files import ServiceFiles
from agent.log import fields, logger
from agent.logs.logs import Logs
from agent.logs.wire import log_line, query_of, responses
from agent.monitor.boots import present_boot
from agent.monitor.event_log import EventLog
from agent.monitor.healing import Key
from agent.monitor.node import NodeProbe
from agent.monitor.pauses import PauseWatch
from agent.monitor.state import observe
from agent.podman.client import Podman
from agent.rpc import status
from agent.rpc.interceptor import caller
from agent.rpc.streams import Followers
from agent.services import purge
from agent.services.adopt import Adopter
from agent.services.boot import boot
from agent.services.deploy import Deployer, check_deployable
from agent.services.executor import ComponentResult, Executor
from agent.services.interrupted import InterruptedOperations
from agent.services.lifecycle import Lifecycle
from agent.services.limits import check_limits
from agent.services.operations import Operations
from agent.services.plan import Change
from agent.services.recover import Recovery
from agent.services.restored import RestoredRegistry
from agent.services.rollback import choose
from agent.services.supervisor import Supervisor
from agent.services.sync import Syncer
from agent.services.transaction import Report, StepEvent, report_nothing
from agent.services.unused import unused_images, unused_volumes
from agent.store.registry import AsyncRegistry, DeployRow
from agent.tasks import calculate, create_guarded_task
from mcp.shared.errors import InvalidInput, McpError, shown
from mcp.shared.fields import effective, without_values
from mcp.shared.names import check_name
from mcp.shared.spec import ServiceSpec
from mcp.shared.version import COMMIT, VERSION, platform
from mcp.shared.wire import component_to_wire, service_from_wire, service_to_wire, stored_service
from proto.mcp.v1 import mcp_pb2 as pb
from proto.mcp.v1 import mcp_pb2_grpc as pb_grpc

T = TypeVar("T")

COMPONENT_LIMIT = 2000  # components of all definitions in a request


class Servicer(pb_grpc.McpAgentServiceServicer):
    """The agent's side of mcp.v1.McpAgentService."""

    def __init__(
        self,
        node_name: str,
        podman: Podman,
        registry: AsyncRegistry,
        settle: float,
        stopping: asyncio.Event,
        boot_order: Sequence[Sequence[str]] = (),
        *,
        files: ServiceFiles,
    ) -> None:
        """Serve `registry` and `podman`; for `settle` see Executor. Setting `stopping` ends followers."""
        self.operations = Operations(registry)
        self.events = EventLog(registry)
        self._node_name = node_name
        self._podman = podman
        self._registry = registry
        executor = Executor(podman, registry, settle, files)
        self.recovery = Recovery(executor, self.operations, settle, boot_order)
        self._interrupted = InterruptedOperations(executor, self.operations)
        self._deployer = Deployer(executor)
        self._lifecycle = Lifecycle(executor)
        self._syncer = Syncer(executor, self.operations, self._deployer)
        self._adopter = Adopter(podman, registry, self.operations, files)
        self._restored = RestoredRegistry(podman, registry, self.operations)
        self._purger = purge.Purger(podman, registry, self.operations)
        self.logs = Logs(podman, registry)
        self.pauses = PauseWatch()
        self._probe = NodeProbe(registry.path.parent)
        self._followers = Followers(stopping)
        self.supervisor = Supervisor(executor, self.operations)
        self.repairs: Callable[[], Mapping[Key, int]] = dict  # the monitor's counts, by component
        self.registry_problems: Callable[[], Sequence[str]] = tuple
        self._files = files
        self.certificate_end: datetime | None = None  # of the certificate that the agent serves with

    async def Deploy(self, request: pb.DeployRequest, context: Any) -> pb.DeployResponse:
        return await self._deploy(request, report_nothing)

    def DeployStream(self, request: pb.DeployRequest, context: Any) -> AsyncIterator[pb.DeployEvent]:
        return _reported("deploy", lambda report: self._deploy(request, report))

    def LifecycleStream(self, request: pb.LifecycleRequest, context: Any) -> AsyncIterator[pb.DeployEvent]:
        async def work(report: Report) -> pb.DeployResponse:
            return pb.DeployResponse(results=await self._change(request, report))

        return _reported("lifecycle operation", work)

    async def Plan(self, request: pb.PlanRequest, context: Any) -> pb.PlanResponse:
        component = _optional_name("component", request.component)
        changes = await self._syncer.plan(
            await _definitions(request.services),
            partial=request.partial,
            only={component} if component else (),
            force=request.force,
            prune=request.prune,
            leave=request.leave,
            annotated=True,
        )
        return await calculate(_plan_response, changes)

    async def Rollback(self, request: pb.RollbackRequest, context: Any) -> AsyncIterator[pb.DeployEvent]:
        number, service = await self._earlier(check_name("service", request.service), request.number)
        choice = pb.RollbackChoice(number=number, differs=_differs(request, service))
        if request.dry_run:
            changes = await self._syncer.plan([service], partial=True, prune=request.prune, annotated=True)
            choice.changes.extend(map(_planned, changes))
            yield pb.DeployEvent(choice=choice)
            return
        yield pb.DeployEvent(choice=choice)
        wanted = pb.DeployRequest(service=service_to_wire(service), prune=request.prune)
        async with aclosing(_reported("rollback", lambda report: self._deploy(wanted, report))) as events:
            async for event in events:
                yield event

    async def _earlier(self, service: str, number: int) -> tuple[int, ServiceSpec]:
        """Return the number of the deploy that a rollback returns to, and the service after it; raises McpError."""
        deploys, rows = await asyncio.gather(
            self._registry.call(self._registry.deploys.select, service),
            self._registry.call(self._registry.components.select, service),
        )
        return choose(service, deploys, {row.name: row.spec for row in rows}, number)

    async def SyncDesiredState(self, request: pb.SyncDesiredStateRequest, context: Any) -> pb.SyncDesiredStateResponse:
        services, user = await _definitions(request.services), caller().user
        await check_limits(caller(), services, self._registry, self._files)
        results = await self._syncer.sync(
            services, user, partial=request.partial, prune=request.prune, leave=request.leave
        )
        return pb.SyncDesiredStateResponse(
            results=[
                pb.ServiceSyncResult(
                    name=result.name,
                    changed=result.changed,
                    summary=result.summary,
                    error=result.error,
                    kept=result.kept,
                )
                for result in results
            ]
        )

    async def History(self, request: pb.HistoryRequest, context: Any) -> pb.HistoryResponse:
        deploys = self._registry.deploys
        service = check_name("service", request.service) if request.service or not request.number else ""
        if request.limit < 0 or request.number < 0:
            raise InvalidInput(f"{'limit' if request.limit < 0 else 'number'}: must not be negative")
        if request.number:
            rows = await self._registry.call(deploys.numbered, request.number, service)
        else:
            rows = await self._registry.call(deploys.select, service, request.limit)
        entries = await calculate(lambda: [_history_entry(row) for row in rows])
        return pb.HistoryResponse(entries=entries)

    async def UndeployService(self, request: pb.UndeployServiceRequest, context: Any) -> pb.UndeployServiceResponse:
        asked = pb.LifecycleRequest(
            operation="undeploy", name=request.name, component=request.component, volumes=request.volumes
        )
        return pb.UndeployServiceResponse(results=await self._change(asked))

    async def StopService(self, request: pb.StopServiceRequest, context: Any) -> pb.StopServiceResponse:
        return pb.StopServiceResponse(results=await self._change(_lifecycle("stop", request)))

    async def StartService(self, request: pb.StartServiceRequest, context: Any) -> pb.StartServiceResponse:
        return pb.StartServiceResponse(results=await self._change(_lifecycle("start", request)))

    async def RestartService(self, request: pb.RestartServiceRequest, context: Any) -> pb.RestartServiceResponse:
        return pb.RestartServiceResponse(results=await self._change(_lifecycle("restart", request)))

    async def AdoptContainers(self, request: pb.AdoptContainersRequest, context: Any) -> pb.AdoptContainersResponse:
        service = _adopted_service(request)
        adopted = await self._adopter.adopt(service, caller().user, dry_run=request.dry_run)
        return pb.AdoptContainersResponse(
            results=[
                pb.AdoptResult(
                    container=result.container,
                    component=result.component,
                    success=not result.error,
                    error=result.error,
                    service=result.service,
                    spec=component_to_wire(without_values(result.spec)) if result.spec else None,
                    notes=result.notes,
                )
                for result in adopted
            ]
        )

    async def PurgeComponent(self, request: pb.PurgeRequest, context: Any) -> pb.PurgeResponse:
        wanted = purge.PurgeScope(
            service=_optional_name("service", request.service),
            component=_optional_name("component", request.component),
            dry_run=request.dry_run,
            defined=frozenset(request.defined),
        )
        if wanted.component and not wanted.service:
            raise InvalidInput("service: is required with component")
        purged = await self._purger.purge(wanted, caller().user)
        return pb.PurgeResponse(
            results=[
                pb.PurgeResult(
                    service=result.service,
                    component=result.component,
                    purged=result.purged,
                    reason=result.reason,
                    undeploy=result.undeploy,
                )
                for result in purged
            ]
        )

    async def Recover(self, request: pb.RecoverRequest, context: Any) -> pb.RecoverResponse:
        results = await (self.recovery.plan() if request.dry_run else self.recovery.run(caller().user))
        return pb.RecoverResponse(
            results=[
                pb.RecoverResult(
                    service=result.service,
                    component=result.component,
                    success=not result.error,
                    error=result.error,
                    action=result.action,
                    notes=result.notes,
                )
                for result in results
            ]
        )

    async def ListServices(self, request: pb.ListServicesRequest, context: Any) -> pb.ListServicesResponse:
        if request.with_env:
            logger.warning("values of variables are read", extra=fields(user=caller().user))
        return await status.list_services(self._registry, with_env=request.with_env)

    async def GetServiceStatus(self, request: pb.GetServiceStatusRequest, context: Any) -> pb.GetServiceStatusResponse:
        name = _optional_name("name", request.name)
        return await status.service_status(self._podman, self._registry, self.events, name, await self._efforts())

    async def Events(self, request: pb.EventsRequest, context: Any) -> AsyncIterator[pb.EventInfo]:
        service = _optional_name("service", request.service)
        if request.after < 0:
            raise InvalidInput("after: must not be negative")
        if service:
            await status.check_known(self._registry, service)
        tail = max(0, request.tail) if request.tail else None  # as in Logs: 0 is all, negative is none
        events = self.events.read(service, request.after, tail, follow=request.follow)
        async with aclosing(self._followers.until_stopping(events)) as shown:
            async for event in shown:
                yield status.event_info(event)

    async def LiveCheck(self, request: pb.LiveCheckRequest, context: Any) -> pb.LiveCheckResponse:
        containers, registered, boot = await asyncio.gather(
            self._podman.containers(), self._registry.call(self._registry.components.read), present_boot(self._registry)
        )
        observed = observe(registered, containers, boot)
        return pb.LiveCheckResponse(services=status.services_info(observed, {}, await self._efforts()))

    async def PushFile(self, request: pb.PushFileRequest, context: Any) -> pb.PushFileResponse:
        return await transfer.receive_whole(self._files, self._registry, request)

    async def PullFile(self, request: pb.PullFileRequest, context: Any) -> pb.PullFileResponse:
        return await transfer.send_whole(self._files, request)

    async def PushFileStream(
        self, request_iterator: AsyncIterator[pb.FileChunk], context: Any
    ) -> pb.PushFileStreamResponse:
        return await transfer.receive(self._files, self._registry, request_iterator)

    def PullFileStream(self, request: pb.PullFileRequest, context: Any) -> AsyncGenerator[pb.FileChunk]:
        return transfer.send(self._files, request)

    async def NodeStatus(self, request: pb.NodeStatusRequest, context: Any) -> pb.NodeStatusResponse:
        python, architecture = platform()
        facts = await asyncio.to_thread(self._probe.read)
        deployed = await self._registry.call(self._registry.components.deployed)
        response = pb.NodeStatusResponse(
            node_name=self._node_name,
            runtime="podman",
            runtime_version=await self._runtime_version(),
            service_count=len({row.service for row in deployed}),
            component_count=len(deployed),
            disk_total_bytes=facts.disk_total,
            disk_free_bytes=facts.disk_free,
            memory_total_bytes=facts.memory_total,
            memory_free_bytes=facts.memory_free,
            cpu_usage_percent=facts.cpu_percent,
            agent_version=VERSION,
            agent_commit=COMMIT,
            agent_python=python,
            architecture=architecture,
            restore_notes=await self._restored.notes(),
            longest_pause=self.pauses.longest,
            registry_problems=self.registry_problems(),
        )
        if request.images:
            await self._add_unused(response)
        response.uptime_since.FromDatetime(facts.up_since)
        response.now.GetCurrentTime()
        if self.certificate_end is not None:
            response.certificate_not_after.FromDatetime(self.certificate_end)
        return response

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Any) -> pb.WhoAmIResponse:
        identity = caller()
        response = pb.WhoAmIResponse(
            user=identity.user,
            account_type=identity.account_type,
            roles=identity.roles,
            role=identity.permission.role,
            services=sorted(identity.permission.services),
        )
        if identity.expires_at is not None:
            response.expires.FromDatetime(identity.expires_at)
        return response

    async def Logs(self, request: pb.LogsRequest, context: Any) -> AsyncIterator[pb.LogsResponse]:
        blocks = self.logs.read(query_of(request))
        async with aclosing(self._followers.until_stopping(blocks)) as shown:
            async for block in shown:
                for response in responses(block, runs=request.runs, timed=request.timestamps):
                    yield response

    async def boot(self) -> None:
        """Bring the node up once the agent serves."""
        await transfer.remove_unfinished(self._files, self._registry)
        await boot(self._interrupted, self._restored, self.recovery)

    async def finish_pending(self, interval: float) -> None:
        """Undo or complete what failed changes have left, until cancelled."""
        await self._interrupted.watch(interval)

    async def pending(self) -> Mapping[Key, str]:
        """Say by service and component what failed changes have left to be undone or completed."""
        return await self._interrupted.pending()

    async def _efforts(self) -> status.Efforts:
        return status.Efforts(self.repairs(), await self.pending(), self.registry_problems())

    async def _deploy(self, request: pb.DeployRequest, report: Report) -> pb.DeployResponse:
        service = await calculate(service_from_wire, request.service)
        component = _optional_name("component", request.component)
        only, user = {component} if component else set(), caller().user
        check_deployable(service, only)
        await check_limits(caller(), [service], self._registry, self._files)
        results = await self.operations.run(
            service.name,
            user,
            "deploy",
            lambda: self._deployer.deploy(service, only, user, force=request.force, prune=request.prune, report=report),
            component=component,
        )
        return pb.DeployResponse(results=_results(results))

    async def _change(self, request: pb.LifecycleRequest, report: Report = report_nothing) -> list[pb.ComponentResult]:
        """Stop, start, restart or undeploy a service or one of its components, holding the service."""
        name, component = check_name("name", request.name), _optional_name("component", request.component)
        works: dict[str, Callable[[], Awaitable[list[ComponentResult]]]] = {
            "stop": lambda: self._lifecycle.stop(name, component, report),
            "start": lambda: self._lifecycle.start(name, component, report),
            "restart": lambda: self._lifecycle.restart(name, component, report),
            "undeploy": lambda: self._lifecycle.undeploy(name, component, report, volumes=request.volumes),
        }
        if request.operation not in works:
            raise InvalidInput(f"operation: {shown(request.operation)} is not {', '.join(works)}")
        results = await self.operations.run(
            name, caller().user, request.operation, works[request.operation], component=component
        )
        return _results(results)

    async def _add_unused(self, response: pb.NodeStatusResponse) -> None:
        try:
            images = await unused_images(self._podman, self._registry)
            response.unused_volumes.extend(await unused_volumes(self._podman, self._registry))
        except McpError as error:
            logger.warning("cannot list unused images and volumes", extra=fields(error=error))
            return
        response.unused_images.extend(
            pb.UnusedImage(identifier=each.identifier, names=each.names, bytes=each.size) for each in images
        )

    async def _runtime_version(self) -> str:
        try:
            return await self._podman.version()
        except McpError as error:
            return f"unknown ({error})"  # the other facts are still useful


async def _reported(
    operation: str, work: Callable[[Report], Coroutine[Any, Any, pb.DeployResponse]]
) -> AsyncGenerator[pb.DeployEvent]:
    """Yield the steps of `work` as they begin and end, then its response."""
    events: asyncio.Queue[StepEvent | None] = asyncio.Queue()
    task = create_guarded_task(work(events.put_nowait), operation, expected=(McpError,))
    task.add_done_callback(lambda _task: events.put_nowait(None))
    while (event := await events.get()) is not None:
        yield pb.DeployEvent(
            step=pb.StepEvent(
                component=event.component,
                number=event.number,
                count=event.count,
                title=event.title,
                state=event.state,
            )
        )
    yield pb.DeployEvent(response=await task)


def _planned(change: Change) -> pb.PlannedChange:
    return pb.PlannedChange(
        service=change.service,
        component=change.component,
        action=change.action,
        reasons=change.reasons,
        steps=[step.title for step in change.steps],
        notes=change.notes,
    )


def _differs(request: pb.RollbackRequest, service: ServiceSpec) -> bool:
    """Return True if the operator has a definition, and `sync` with it would undo the rollback to `service`."""
    return request.HasField("defined") and bool(effective(stored_service(request.defined)) != effective(service))


def _lifecycle(
    operation: str,
    request: pb.StopServiceRequest | pb.StartServiceRequest | pb.RestartServiceRequest | pb.UndeployServiceRequest,
) -> pb.LifecycleRequest:
    return pb.LifecycleRequest(operation=operation, name=request.name, component=request.component)


def _optional_name(field: str, value: str) -> str:
    return check_name(field, value) if value else ""


def _adopted_service(request: pb.AdoptContainersRequest) -> str:
    """Return the service to adopt, or an empty string for all containers."""
    if request.all and request.service:
        raise InvalidInput("service: must be empty with all")
    return "" if request.all else check_name("service", request.service)


def _results(results: Iterable[ComponentResult]) -> list[pb.ComponentResult]:
    return [
        pb.ComponentResult(
            name=result.name,
            success=not result.error,
            error=result.error,
            unchanged=result.unchanged,
            last_lines=[log_line(line) for line in result.last_lines],
            notes=result.notes,
            dropped=result.dropped,
        )
        for result in results
    ]


async def _definitions(messages: Sequence[pb.ServiceSpec]) -> list[ServiceSpec]:
    """Convert the definitions of a request; raises InvalidInput."""
    if (count := sum(max(1, len(message.components)) for message in messages)) > COMPONENT_LIMIT:
        raise InvalidInput(f"services: have {count} components, and at most {COMPONENT_LIMIT} are possible at once")
    services = await calculate(lambda: [service_from_wire(message) for message in messages])
    names = [service.name for service in services]
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidInput(f"services: {name} occurs {count} times")
    return services


def _plan_response(changes: Iterable[Change]) -> pb.PlanResponse:
    return pb.PlanResponse(changes=map(_planned, changes))


def _history_entry(row: DeployRow) -> pb.HistoryEntry:
    entry = pb.HistoryEntry(
        number=row.number,
        user=row.user,
        definition=service_to_wire(without_values(row.definition)),
        component=row.component,
        digests=row.digests,
        result=row.result,
        error=row.error,
    )
    entry.timestamp.FromDatetime(row.at)
    return entry
