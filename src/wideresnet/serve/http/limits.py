"""uvicorn's HTTP connection with the limits that it lacks: on the head of a request, and on slow ends of the line."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wideresnet.serve.http.middleware import KEEP_ALIVE

MAX_HEAD = 64 * 2**10                              # bytes
PIECE = 256 * 2**10                                # bytes of a body that the application is woken for
IDLE, STALLED = 75.0, 30.0                         # seconds
PROXIED = {b"x-forwarded-for", b"forwarded", b"via"}
_UPGRADE = re.compile(rb"(?<=\n)upgrade(?=:)", re.IGNORECASE)
# Seconds until a client that was sent away is listened to again: at least, at most, and from one such client to the
# next, so that there are not more refusals the more clients there are.
BREATH, LONGEST, APART = 0.25, 1.0, 0.005


class Connection(HttpToolsProtocol):
    """Closed when no whole head of a request comes for ``IDLE`` seconds, be the line silent or trickling, when a
    head is larger than ``MAX_HEAD``, and when an answer is not taken for ``STALLED`` seconds.

    A client that comes again at once after a 429 waits a moment, its request in the network's buffers: to read and
    refuse it all the time would take from those that were let in. Who heeds ``Retry-After`` never notices. A proxy's
    connection is not kept waiting: what comes next on it is somebody else's.
    """

    _turn = 0.0                                    # of whoever was sent away last, of all connections; the loop's time
    _timer: asyncio.TimerHandle | None = None      # to the next whole head
    _stall: asyncio.TimerHandle | None = None
    _breath: asyncio.TimerHandle | None = None
    _between, _head, _messages = True, 0, 0        # whether a head is next, its bytes so far, requests before it

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        before = self._messages
        if self._between and _UPGRADE.search(data):
            # No other protocol is spoken. The parser would take the body for one: Java's client offers h2c with it.
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"ignored", head) + end + rest
        super().data_received(data)
        # Bytes in which a request ends are that request's.
        self._head = self._head + len(data) if self._between and self._messages == before else 0
        if self._head > MAX_HEAD:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        for timer in (self._timer, self._stall, self._breath):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        super().pause_writing()
        self._stall = self.loop.call_later(STALLED, self.transport.abort)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._stall is not None:
            self._stall.cancel()
        super().resume_writing()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._between = False
        if self._timer is not None:
            self._timer.cancel()
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0" and self.parser.should_keep_alive():
            self.cycle.keep_alive = True           # "Connection: keep-alive", as 'ab -k' asks; uvicorn closes
            self.scope["extensions"] = {KEEP_ALIVE: {}}

    def on_body(self, body: bytes) -> None:
        """See httptools. uvicorn would wake the application for each piece; that costs more than most bodies do."""
        if self.cycle.response_complete:           # what is left of a body that nobody wanted
            return
        self.cycle.body += body
        if len(self.cycle.body) > PIECE:
            self.flow.pause_reading()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """See httptools."""
        self._between, self._messages = True, self._messages + 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when an answer is written."""
        super().on_response_complete()
        self._expect_head()
        visit: Any = self.cycle.scope.get("visit")     # none yet where the next request came with this one
        if visit is not None and visit.kind == "full" and PROXIED.isdisjoint(name for name, _ in self.headers):
            Connection._turn = next_turn(self.loop.time(), Connection._turn)
            self.flow.pause_reading()
            self._breath = self.loop.call_at(Connection._turn, self.flow.resume_reading)

    def _expect_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(IDLE, self.transport.abort)


def next_turn(now: float, last: float) -> float:
    """When a client that is sent away now is listened to again, if the one before it is at ``last``: seconds."""
    return min(max(now + BREATH, last + APART), now + LONGEST)
