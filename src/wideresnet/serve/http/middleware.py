"""The outermost middleware: request id, CORS, bearer token, security headers, metrics and access log.

It runs for every request, so it works on headers in the form of ASGI: pairs of bytes, names in lower case.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from contextlib import suppress
from itertools import count

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wideresnet.serve.admission import RequestContext
from wideresnet.serve.http.errors import ApiError, problem_response
from wideresnet.serve.http.request_checks import CONTROL, PROBES, check_authorization, check_host, check_repeated
from wideresnet.serve.http.static_files import STATIC_FILES
from wideresnet.serve.protocol import HEADER_LENGTH
from wideresnet.serve.service import Service
from wideresnet.serve.shadow import LABEL_HEADER

# Paths that need no token: probes, and files a browser fetches before the user can enter one.
PUBLIC_PATHS = {*PROBES, "/docs", "/openapi.json", *STATIC_FILES}
SECURITY_HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    b" img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}
EXPOSED = (HEADER_LENGTH, "Retry-After", "X-Request-ID")      # to pages of other origins
KEEP_ALIVE = "wideresnet.keep_alive"               # ASGI extension: an HTTP/1.0 connection that stays open
DISCARD_SECONDS = 2.0                              # for the rest of a body, before its connection is closed
_LABEL = LABEL_HEADER.lower().encode()
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """Ids of requests: those that clients give, or new ones."""

    def __init__(self) -> None:
        # One random prefix per process: a system call per request would release the interpreter lock each time.
        self._new = map(f"{uuid.uuid4().hex[:16]}{{:08x}}".format, count())

    def choose(self, client_id: str) -> str:
        """Return ``client_id`` if it is a valid id, else a new one."""
        return client_id if _REQUEST_ID.fullmatch(client_id) else next(self._new)


class RequestMiddleware:
    """ASGI middleware around the whole application; ``scope["context"]`` is the RequestContext."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._ids = RequestIds()
        self._guarded: ASGIApp = self._authorize
        if origins := service.settings.cors:       # around errors, too; it answers preflights, which have no token
            self._guarded = CORSMiddleware(
                self._authorize, allow_origins=origins, allow_methods=["*"], allow_headers=["*"], expose_headers=EXPOSED
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or pass the lifespan on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))     # of repeated ones the first
        context = RequestContext(self._ids.choose(headers.get(b"x-request-id", b"").decode("latin-1")))
        scope["context"] = context
        if (label := headers.get(_LABEL)) is not None:
            context.label_header = _decode(label)
        status, more_body = 0, True

        async def receive_piece() -> Message:
            nonlocal more_body
            message = await receive()
            more_body = message.get("more_body", False)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = dict(message["headers"])
                added = {**SECURITY_HEADERS, b"x-request-id": context.id.encode()}
                if self._service.admission.draining:
                    own.pop(b"connection", None)
                    added[b"connection"] = b"close"
                    # Closing a socket with unread bytes would reset it, and the client might lose the response.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(DISCARD_SECONDS):
                            while more_body and b"expect" not in headers:    # with it no body was sent yet
                                await receive_piece()
                if KEEP_ALIVE in scope.get("extensions", {}):
                    added.setdefault(b"connection", b"keep-alive")
                message["headers"] = [*(added | own).items()]
            await send(message)

        try:
            await self._guarded(scope, receive_piece, send_with_headers)
        finally:
            report_response(self._service, scope, context, status)

    async def _authorize(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse an invalid or unknown Host header, and a missing or wrong token."""
        app, path, settings = self._app, scope["path"], self._service.settings
        try:
            check_host(scope, settings.allow_host)
            check_repeated(name for name, _ in scope["headers"])
            if path not in PUBLIC_PATHS:
                header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
                check_authorization(header, settings, path.startswith(CONTROL))
        except ApiError as error:
            scope["context"].error_kind, app = error.kind, problem_response(error, path)
        await app(scope, receive, send)


def _decode(value: bytes) -> str:
    """Decode UTF-8, or else Latin-1, which JavaScript sends."""
    with suppress(UnicodeDecodeError):
        return value.decode()
    return value.decode("latin-1")


def report_response(service: Service, scope: Scope, context: RequestContext, status: int) -> None:
    """Count a response and log it, if the settings say so; without query and headers, since they may hold secrets."""
    service.count_response(context, status)
    is_traced = service.tracing and "headers" in scope         # not what is no HTTP
    trace = {"trace_id": service.tracing.record(scope, context, status)} if service.tracing and is_traced else {}
    if service.settings.log == "json":
        service.log_fields({
            "id": context.id, **trace, "client": (scope.get("client") or ("",))[0],
            "method": scope.get("method", ""), "path": scope.get("path", ""), "model": context.model, "status": status,
            "kind": context.error_kind, "pictures": context.images, "bytes": context.bytes_read,
            "milliseconds": round(1000 * context.seconds, 3),
        })  # fmt: skip
