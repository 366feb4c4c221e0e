"""Limits of a connection, over a real socket: head, stalled clients, body chunks, upgrades and keep-alive."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from wideresnet.serve.http import limits
from wideresnet.serve.http.limits import BODY_CHUNK, MAX_HEAD, LimitedConnection
from wideresnet.serve.http.middleware import KEEP_ALIVE
from wideresnet.serve.service import DISCONNECT


@contextmanager
def connected(app: ASGIApp) -> Iterator[socket.socket]:
    """A client's socket, connected to a server of ``app``."""
    config = uvicorn.Config(app, http=LimitedConnection, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            with socket.create_connection(listener.getsockname(), timeout=20) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(20)


class BodySizes:
    """An app that records the sizes of the pieces of each body, and responds with 204."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.extensions: list[dict[str, object]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.extensions.append(scope.get("extensions", {}))
        more_body = True
        while more_body:
            message = await receive()
            self.sizes.append(len(message["body"]))
            more_body = message["more_body"]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


def head(length: int, *headers: str, version: str = "1.1") -> bytes:
    lines = (f"POST / HTTP/{version}", "Host: a", f"Content-Length: {length}", *headers)
    return "\r\n".join((*lines, "", "")).encode()


def response(client: socket.socket) -> http.client.HTTPResponse:
    answer = http.client.HTTPResponse(client)
    answer.begin()
    answer.read()
    return answer


def is_closed(client: socket.socket) -> bool:
    """Whether the server closes the connection, instead of sending or waiting."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_a_body_of_usual_size_wakes_the_application_once() -> None:
    app = BodySizes()
    with connected(app) as client:
        client.sendall(head(100_000))
        for _ in range(100):
            client.sendall(bytes(1000))
        assert response(client).status == 204
    assert app.sizes == [100_000]


def test_a_large_body_arrives_in_chunks() -> None:
    app, length = BodySizes(), 16 * BODY_CHUNK
    with connected(app) as client:
        client.sendall(head(length) + bytes(length))
        assert response(client).status == 204
    assert sum(app.sizes) == length
    assert len(app.sizes) > 1
    assert max(app.sizes) <= 2 * BODY_CHUNK        # one chunk, and what one more read of the socket brings


def closes_while_sent(client: socket.socket, data: bytes) -> bool:
    """Whether the server closes the connection within 20 seconds, in which ``data`` is sent again and again."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            client.sendall(data)
        except ConnectionError:
            return True
        time.sleep(0.01)
    return False


def test_a_head_that_trickles_in_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that keep coming do not extend the time for a head."""
    monkeypatch.setattr(limits, "IDLE", 0.2)
    with connected(BodySizes()) as client:
        assert closes_while_sent(client, b"P")


def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDLE", 0.2)
    with connected(BodySizes()) as client:
        client.sendall(head(0))
        assert response(client).status == 204
        assert is_closed(client)


def test_a_head_that_is_too_large_is_cut_off() -> None:
    with connected(BodySizes()) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert closes_while_sent(client, b"A: " + b"a" * 2000 + b"\r\n")
    with connected(BodySizes()) as client:         # at once, with the body behind it
        client.sendall(head(0, "A: " + "a" * 2 * MAX_HEAD))
        assert is_closed(client)


def test_bodies_do_not_count_as_head() -> None:
    with connected(BodySizes()) as client:
        for _ in range(3):
            client.sendall(head(MAX_HEAD) + bytes(MAX_HEAD))
            assert response(client).status == 204


def test_a_client_that_does_not_read_its_response_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALLED", 0.2)
    disconnected = threading.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(2**26), "more_body": True})    # more than is buffered
        assert (await receive())["type"] == "http.disconnect"
        disconnected.set()

    with connected(app) as client:
        client.sendall(head(0))
        assert disconnected.wait(20)


@pytest.mark.parametrize("upgrade", ["Upgrade: h2c", "upgrade:websocket"])
def test_an_offer_of_another_protocol_is_ignored_and_the_body_read(upgrade: str) -> None:
    """Java's client offers h2c with each first request; the parser alone would take the body for that protocol."""
    app, body = BodySizes(), b"\r\nUpgrade: body\r\n\r\n"
    with connected(app) as client:
        headers = ("Connection: Upgrade, HTTP2-Settings", upgrade, "HTTP2-Settings: AAMAAABk")
        client.sendall(head(len(body), *headers) + body)
        assert response(client).status == 204
    assert app.sizes == [len(body)]


@pytest.mark.parametrize(
    ("version", "header", "open_"),
    [
        ("1.0", "Connection: Keep-Alive", True),
        ("1.0", "Connection: close", False),
        ("1.0", "Accept: */*", False),
        ("1.1", "Accept: */*", True),
        ("1.1", "Connection: close", False),
    ],
)
def test_a_connection_stays_open_as_its_client_asks(version: str, header: str, open_: bool) -> None:
    """HTTP/1.0 keeps it when asked to; the application is informed, since it sends the Connection header."""
    app = BodySizes()
    with connected(app) as client:
        client.sendall(head(0, header, version=version))
        assert (response(client).headers["connection"] == "close") is not open_
        if open_:
            client.sendall(head(0, header, version=version))
            assert response(client).status == 204
        else:
            assert is_closed(client)
    assert (KEEP_ALIVE in app.extensions[0]) == (open_ and version == "1.0")


@pytest.mark.parametrize("before", [True, False])
def test_an_application_that_watches_is_told_of_a_disconnect(before: bool) -> None:
    """Once, whether the client has left before or leaves while it is watched."""
    arrived, left, told = threading.Event(), threading.Event(), threading.Semaphore(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.set()
        if before:
            await asyncio.to_thread(left.wait, 20)
            await asyncio.sleep(0.1)
        scope["extensions"][DISCONNECT](told.release)
        while (await receive())["type"] != "http.disconnect":
            pass
        scope["extensions"][DISCONNECT](None)

    with connected(app) as client:
        client.sendall(head(0))
        assert arrived.wait(20)
        client.close()
        left.set()
        assert told.acquire(timeout=20)
    assert not told.acquire(blocking=False)
