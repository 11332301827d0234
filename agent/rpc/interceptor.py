"""The interceptor of all RPCs: authentication, versions, request log, and errors as status codes.

No handler runs, and no message is taken in, before the caller is authenticated. Expected errors become status codes;
anything else is a bug, logged with its traceback under the request id that is sent to the client.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from agent.auth.backends import Identity, TokenBackend, authorize, bearer_token
from agent.auth.guesses import Guesses
from agent.log import fields, logger
from agent.rpc.permissions import check_permission, check_stream
from agent.rpc.refusals import Refusals
from agent.rpc.streams import OpenStream, TokenWatch
from mcp.shared import errors
from mcp.shared.times import in_seconds
from mcp.shared.version import OLDEST_AGENT_HEADER, OLDEST_CLI, VERSION, VERSION_HEADER, is_older

REQUEST_ID = "x-request-id"
FOR_EVERY_VERSION = frozenset({"NodeStatus"})  # used by upgrades before and after the switch
# bytes; clients refuse trailers above 8 KiB, where a byte of the message may take 3 bytes, of the hint 1.4
MESSAGE_LIMIT, HINT_LIMIT = 2000, 500
AT_ONCE = 16  # requests of unary calls in receipt; together with gRPC's limit of a message this bounds their memory
METHOD_LIMIT = 80  # characters of a method's name in the log; longer than any of ours
RECEIPT_SECONDS = 60.0  # until the request of a unary call must have come in

_caller: ContextVar[Identity] = ContextVar("caller")

_CODES: tuple[tuple[type[errors.McpError], grpc.StatusCode], ...] = (
    (errors.InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.NotReady, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (errors.Forbidden, grpc.StatusCode.PERMISSION_DENIED),
)

Handler = Callable[[Any, Any], Any]


def caller() -> Identity:
    """The account of the current call."""
    return _caller.get()


def status_code(error: errors.McpError) -> grpc.StatusCode:
    """The status code of an expected error; FAILED_PRECONDITION by default."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.FAILED_PRECONDITION)


def _cut(text: str, limit: int) -> str:
    data = text.encode(errors="replace")
    return text if len(data) <= limit else data[:limit].decode(errors="ignore") + "…"


def _hint(error: errors.McpError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries an error's hint."""
    return ((errors.HINT_HEADER, _cut(error.hint, HINT_LIMIT).encode(errors="replace")),) if error.hint else ()


class TrustedPeers(Protocol):
    """Told of callers with the token of an account that may use the agent."""

    def trust(self, peer: str) -> None:
        """Note a call from a peer, in gRPC's form."""


class RequestInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc, unused-ignore]
    """Authenticates and logs calls and maps errors, for unary and streaming RPCs."""

    def __init__(self, backend: TokenBackend) -> None:
        """Authenticate tokens with `backend`, and those of open streams again and again.

        `connections` is told the peer of each authenticated call.
        """
        self._backend = backend
        self.guesses = Guesses(backend)
        self.connections: TrustedPeers | None = None
        self.refusals = Refusals()
        self.watch = TokenWatch(self._verify)
        self.receipt = asyncio.Semaphore(AT_ONCE)

    async def _verify(self, token: str) -> Identity:
        identity = await self._backend.verify(token)
        authorize(identity)
        return identity

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of a call; unknown methods get one that raises NotImplementedError.

        To gRPC every request is a stream: it asks for the message of a unary call before the handler runs, and then
        takes in 16 MB for a caller without a token. The messages of a stream are asked for by its handler; until then
        gRPC takes in no more than a window, of 4 MiB, and hardly holds it (`READ_SIZE` of agent.daemon.server). They
        stay bytes until the token has been checked, as gRPC would answer invalid ones with UNKNOWN.
        """
        handler: Any = await continuation(details) or grpc.stream_stream_rpc_method_handler(_unknown)
        metadata = dict(details.invocation_metadata or ())
        headers = {key: value for key, value in metadata.items() if isinstance(value, str)}
        call = _AuthorizedCall(self, details.method, headers, handler)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(call.streaming, None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(call.unary, None, handler.response_serializer)


async def _unknown(_requests: Any, _context: Any) -> AsyncIterator[Any]:
    """Handle a method of a later version; the answer names our version, unlike gRPC's own."""
    raise NotImplementedError
    yield  # makes this an async generator


class _AuthorizedCall:
    """One call that passes through the interceptor."""

    def __init__(self, gate: RequestInterceptor, method: str, headers: Mapping[str, str], handler: Any) -> None:
        self._gate = gate
        self._stream = OpenStream()
        self._headers = headers
        self._handler = handler
        self._fields: dict[str, object] = {
            "rid": secrets.token_hex(6),
            "method": method.rpartition("/")[2][:METHOD_LIMIT],
        }
        self._admitted = False

    async def unary(self, requests: AsyncIterator[bytes], context: Any) -> Any:
        """Handle a call with one answer."""
        handler: Handler = self._handler.stream_unary or self._handler.unary_unary
        is_stream = self._handler.request_streaming
        async with self._guarded(context, is_stream=is_stream):
            parsed = await self._request(requests)
            return await handler(self._stream.items(parsed) if is_stream else parsed, context)

    async def streaming(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        """Handle a call with a stream of answers."""
        handler: Handler = self._handler.stream_stream or self._handler.unary_stream
        async with self._guarded(context, is_stream=True):
            responses = self._stream.items(handler(await self._request(requests), context))
            async with aclosing(responses):
                async for response in responses:
                    yield response

    async def _request(self, requests: AsyncIterator[bytes]) -> Any:
        """Return the parsed request that the account may make, or an iterator over the requests of a stream."""
        if self._handler.request_streaming:
            check_stream(caller(), self._method)
            return self._messages(requests)
        try:
            async with asyncio.timeout(RECEIPT_SECONDS), self._gate.receipt:
                message = await anext(requests)
        except TimeoutError:
            raise errors.Unavailable(f"the request did not come in within {in_seconds(RECEIPT_SECONDS)} s") from None
        except StopAsyncIteration:
            raise errors.InvalidInput(f"no request for {self._fields['method']}") from None
        return self._permitted(self._message(message))

    async def _messages(self, requests: AsyncIterator[bytes]) -> AsyncGenerator[Any]:
        first = True
        async for request in requests:
            message = self._message(request)
            yield self._permitted(message) if first else message
            first = False

    def _permitted(self, message: Any) -> Any:
        """Return the message; raises Forbidden if the account may not make the call, now or while a stream lasts."""

        def permit(identity: Identity) -> None:
            check_permission(identity, self._method, message)

        permit(caller())
        self._stream.permit = permit
        return message

    @property
    def _method(self) -> str:
        return str(self._fields["method"])

    def _message(self, request: bytes) -> Any:
        try:
            return self._handler.request_deserializer(request)
        except DecodeError:
            raise errors.InvalidInput(
                f"invalid request for {self._fields['method']}: not a protobuf message of its type"
            ) from None

    @asynccontextmanager
    async def _guarded(self, context: Any, *, is_stream: bool) -> AsyncIterator[None]:
        started = time.monotonic()
        self._fields["peer"] = context.peer()
        trailing = ((REQUEST_ID, str(self._fields["rid"])), (VERSION_HEADER, VERSION))
        context.set_trailing_metadata(trailing)
        code, message = grpc.StatusCode.OK, ""
        try:
            try:
                await self._authenticate()
                self._check_versions()
                if is_stream:
                    self._gate.watch.add(self._stream)
                yield
            except errors.McpError as error:
                code, message = status_code(error), _cut(str(error), MESSAGE_LIMIT)
                await context.abort(code, _cut(error.what, MESSAGE_LIMIT), (*trailing, *_hint(error)))
            except (asyncio.CancelledError, grpc.aio.AbortError, GeneratorExit):
                code = code if code is not grpc.StatusCode.OK else grpc.StatusCode.CANCELLED
                raise
            except NotImplementedError:  # raised by the generated base class for RPCs that the servicer lacks
                code = grpc.StatusCode.UNIMPLEMENTED
                await context.abort(code, f"mcp-agent {VERSION} does not implement {self._fields['method']}")
            except Exception:  # noqa: BLE001 - a bug: logged, details hidden from the client
                code = grpc.StatusCode.INTERNAL
                logger.exception("bug in a handler", extra=fields(**self._fields))
                await self._abort_internal(context)
        finally:
            self._gate.watch.remove(self._stream)
            self._log(code, message, time.monotonic() - started)

    async def _authenticate(self) -> None:
        peer = str(self._fields["peer"])
        self._stream.token = bearer_token(self._headers.get("authorization"))
        identity = await self._gate.guesses.identify(self._stream.token, peer)
        self._stream.expires_at = identity.expires_at
        self._fields.update(user=identity.user, account=identity.account_type)
        authorize(identity)
        self._admitted = True
        if self._gate.connections is not None:
            self._gate.connections.trust(peer)
        _caller.set(identity)

    def _check_versions(self) -> None:
        """Refuse a CLI or agent below the minimum version; clients without a version header are served."""
        cli = self._headers.get(VERSION_HEADER)
        if cli is None or self._fields["method"] in FOR_EVERY_VERSION:
            return
        if is_older(cli, OLDEST_CLI):
            what = f"mcp {cli[:40]} is too old for this agent ({VERSION}), which needs {OLDEST_CLI} or newer"
            raise errors.NotReady(what, f"install mcp {VERSION}")
        oldest = self._headers.get(OLDEST_AGENT_HEADER, VERSION)
        if is_older(VERSION, oldest):
            what = f"this agent ({VERSION}) is too old for mcp {cli[:40]}, which needs {oldest[:40]} or newer"
            raise errors.NotReady(what, "upgrade it with `mcp agent upgrade`")

    async def _abort_internal(self, context: Any) -> NoReturn:
        await context.abort(
            grpc.StatusCode.INTERNAL,
            f"internal error; the agent's log has the details under request id {self._fields['rid']}",
        )
        raise AssertionError("abort raises")

    def _log(self, code: grpc.StatusCode, message: str, seconds: float) -> None:
        values = {**self._fields, "code": code.name, "ms": round(seconds * 1000, 1)}
        if message:
            values["error"] = message
        if not self._admitted:
            self._gate.refusals.note(str(values["peer"]), values)
        elif code is grpc.StatusCode.PERMISSION_DENIED:
            logger.warning("refused", extra=fields(**values))
        else:
            logger.info("call", extra=fields(**values))
