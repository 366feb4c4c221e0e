"""What happens around every request: its id, the token, headers, metrics, and a line in the access log."""

from __future__ import annotations

import hmac
import re
import uuid
from itertools import count

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wideresnet.serve.admission import Visit
from wideresnet.serve.http.errors import ApiError, problem
from wideresnet.serve.http.request_checks import check_host
from wideresnet.serve.http.static_files import FILES
from wideresnet.serve.service import Service

# What a probe or a browser fetches before it can show a token; none of it tells of models or images.
OPEN = {"/healthz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json", *FILES}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
KEEP_ALIVE = "wideresnet.keep_alive"               # among ASGI's extensions: HTTP/1.0 whose connection stays open
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestMiddleware:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        # Random once: a system call for each request would give the interpreter to another thread each time.
        self._ids = map(f"{uuid.uuid4().hex[:16]}{{:08x}}".format, count())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        visit = scope["visit"] = Visit(self._service.house, given if _ID.fullmatch(given) else next(self._ids))
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    added.setdefault(name, value)
                added["X-Request-ID"] = visit.id
                if KEEP_ALIVE in scope.get("extensions", {}):
                    added.setdefault("Connection", "keep-alive")
            await send(message)

        app = self._app
        try:
            self._check(scope, headers)
        except ApiError as error:
            visit.kind, app = error.kind, problem(error, scope["path"])
        try:
            await app(scope, receive, answer)
        finally:
            self._service.answered(visit, status)
            if self._service.settings.log == "json":
                self._service.log(_line(scope, visit, status))

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raises ApiError for a request that no route may see."""
        check_host(scope)
        token = self._service.settings.token
        if token is None or scope["path"] in OPEN:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), token.get_secret_value().encode())
        if not same or scheme.lower() != "bearer":
            raise ApiError("token", "this service asks for a token", "Authorization: Bearer TOKEN")


def _line(scope: Scope, visit: Visit, status: int) -> dict[str, object]:
    """One line of the access log. The query and headers stay out of it."""
    return {
        "id": visit.id,
        "client": (scope.get("client") or ("",))[0],
        "method": scope["method"],
        "path": scope["path"],
        "model": visit.model,
        "status": status,
        "kind": visit.kind,
        "pictures": visit.images,
        "bytes": visit.bytes_read,
        "milliseconds": round(1000 * visit.seconds, 3),
    }
