"""Limits of an HTTP connection that uvicorn lacks: the size and time of a request's head, and stalled clients.

uvicorn only ends connections that are silent between two requests (``timeout_keep_alive``). A client that sends its
head a byte at a time, or that does not read its answer, would hold a connection forever (slowloris). Everything else
about a connection is uvicorn's. A client that ignores ``Retry-After`` is not slowed down: rate limits are the proxy's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wideresnet.serve.admission import RequestContext
from wideresnet.serve.http.middleware import KEEP_ALIVE, report_response
from wideresnet.serve.service import DISCONNECT

MAX_HEAD = 64 * 2**10                              # bytes of the request line and headers
BODY_CHUNK = 256 * 2**10                           # bytes of a body that are handed to the application at once
IDLE, STALLED = 75.0, 30.0                         # seconds
_UPGRADE = re.compile(rb"(?<=\n)upgrade(?=:)", re.IGNORECASE)


class LimitedConnection(HttpToolsProtocol):
    """A connection that is closed when a limit is exceeded.

    The limits: ``IDLE`` seconds from one request to the end of the next one's head, ``MAX_HEAD`` bytes of head, and
    ``STALLED`` seconds in which the client reads nothing of its answer.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _in_head, _head_bytes, _requests = True, 0, 0  # of the current head; requests received completely
    _on_disconnect: Callable[[], None] | None = None

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        before = self._requests
        if len(data) > MAX_HEAD and self._in_head and not self._head_bytes and b"\r\n\r\n" not in data[:MAX_HEAD]:
            return self.transport.abort()          # a head that comes at once
        if self._in_head and _UPGRADE.search(data):
            # No other protocol is spoken. The parser would take the body for one: Java's client offers h2c with it.
            head, end, body = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"ignored", head) + end + body
        super().data_received(data)
        # Bytes in which a request ends belong to that request, not to the next head.
        self._head_bytes = self._head_bytes + len(data) if self._in_head and self._requests == before else 0
        if self._head_bytes > MAX_HEAD:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        if self._on_disconnect:
            self._on_disconnect()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        super().pause_writing()
        self._stall_timer = self.loop.call_later(STALLED, self.transport.abort)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """See uvicorn. Such a request does not reach the middleware, which reports all others."""
        if service := self.app_state.get("service"):
            report_response(service, {"client": self.client}, RequestContext("", "request"), 400)
        super().send_400_response(msg)

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().on_headers_complete()
        extensions: dict[str, Any] = {DISCONNECT: self._watch}
        self.scope["extensions"] = extensions
        if self.scope["http_version"] == "1.0" and self.parser.should_keep_alive():
            self.cycle.keep_alive = True           # "Connection: keep-alive", as 'ab -k' asks; uvicorn closes
            extensions[KEEP_ALIVE] = {}

    def _watch(self, call: Callable[[], None] | None) -> None:
        """Call ``call`` when the client disconnects, or now if it has."""
        self._on_disconnect = call
        if call and self.transport.is_closing():
            call()

    def on_body(self, body: bytes) -> None:
        """See httptools. Waking the application for each piece, as uvicorn does, costs more than most bodies do."""
        if self.cycle.response_complete:           # the rest of a body that the application did not read
            return
        self.cycle.body += body
        if len(self.cycle.body) > BODY_CHUNK:
            self.flow.pause_reading()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """See httptools."""
        self._in_head, self._requests = True, self._requests + 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """See uvicorn's ``RequestResponseCycle``."""
        super().on_response_complete()
        self._start_head_timer()

    def _start_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(IDLE, self.transport.abort)
