"""A connection without a network: what the application is woken for, and when the client is not listened to."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import numpy as np
import pytest
import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from wideresnet.serve.admission import AdmissionController, Visit
from wideresnet.serve.http import limits as module
from wideresnet.serve.http.limits import APART, BREATH, LONGEST, PIECE, Connection, next_turn
from wideresnet.serve.http.middleware import KEEP_ALIVE


@pytest.fixture(autouse=True)
def _nobody_was_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "_turn", 0.0)


async def told(app: ASGIApp, sent: list[bytes], header: str = "Accept: */*", version: str = "1.1") -> Mock:
    """The transport of a connection to ``app``, after a request with a body that comes as ``sent``."""
    transport = Mock(spec=asyncio.Transport)
    transport.is_closing.return_value = False
    transport.get_extra_info.return_value = None
    state = ServerState()
    connection = Connection(uvicorn.Config(app, lifespan="off", log_config=None, ws="none"), state, {})
    connection.connection_made(transport)
    length = sum(map(len, sent))
    head = f"POST / HTTP/{version}\r\nHost: a\r\n{header}\r\nContent-Length: {length}\r\n\r\n"
    connection.data_received(head.encode())
    for piece in sent:
        connection.data_received(piece)
        for _ in range(5):                         # whoever was woken has run
            await asyncio.sleep(0)
    await asyncio.gather(*state.tasks)
    await asyncio.sleep(0.01)
    connection.connection_lost(None)
    return transport


def pieces_of(sent: list[bytes], header: str = "Accept: */*") -> list[int]:
    """The sizes in which the application gets a body that comes as ``sent``."""
    sizes: list[int] = []

    async def app(_scope, receive, send) -> None:
        more = True
        while more:
            message = await receive()
            sizes.append(len(message["body"]))
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    asyncio.run(told(app, sent, header))
    return sizes


def transport_after(kind: str, header: str = "Accept: */*") -> Mock:
    """The transport of a connection on which a request was answered, its body unread; ``kind``: why it was refused."""

    async def app(scope, _receive, send) -> None:
        scope["visit"] = Visit(AdmissionController(1, 1), "a")
        scope["visit"].kind = kind
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    return asyncio.run(told(app, [b"picture"], header))


def test_a_body_of_usual_size_wakes_the_application_once() -> None:
    assert pieces_of([bytes(1000)] * 100) == [100_000]


def test_a_large_body_is_handed_over_while_it_comes() -> None:
    sizes = pieces_of([bytes(PIECE // 2)] * 7)
    assert sum(sizes) == 7 * (PIECE // 2)
    assert max(sizes) <= PIECE + PIECE // 2
    assert len(sizes) > 1


def test_whoever_found_it_full_is_not_listened_to_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = transport_after("full")
    transport.write.assert_called()                # the answer itself does not wait
    transport.pause_reading.assert_called_once()
    transport.resume_reading.assert_not_called()
    monkeypatch.setattr(module, "BREATH", 0.0)
    monkeypatch.setattr(Connection, "_turn", 0.0)
    transport_after("full").resume_reading.assert_called_once()


def test_many_who_are_sent_away_at_once_come_again_one_after_the_other_within_a_second() -> None:
    turns = [0.0]
    for _ in range(400):
        turns.append(next_turn(10.0, turns[-1]))
    assert turns[1] == 10 + BREATH
    assert np.diff(turns[1:101]) == pytest.approx(APART)
    assert max(turns) == 10 + LONGEST
    assert next_turn(20.0, turns[-1]) == 20 + BREATH


@pytest.mark.parametrize("kind", ["", "picture", "draining"])
def test_everybody_else_is(kind: str) -> None:
    transport_after(kind).pause_reading.assert_not_called()


@pytest.mark.parametrize("header", ["X-Forwarded-For: 10.0.0.1", "forwarded: for=10.0.0.1", "VIA: 1.1 proxy"])
def test_a_proxy_is_too(header: str) -> None:
    transport_after("full", header).pause_reading.assert_not_called()


@pytest.mark.parametrize("upgrade", ["Upgrade: h2c", "upgrade:websocket"])
def test_an_offer_of_another_protocol_is_ignored_and_the_body_read(upgrade: str) -> None:
    """Java's client offers h2c with each first request; the parser alone would take the body for that protocol."""
    header = f"Connection: Upgrade, HTTP2-Settings\r\n{upgrade}\r\nHTTP2-Settings: AAMAAABk"
    assert pieces_of([b"\r\nUpgrade: body\r\n\r\n"], header) == [19]


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
    """HTTP/1.0 keeps it when asked to, and the application is told, which says so in the answer."""
    kept = []

    async def app(scope, _receive, send) -> None:
        kept.append(KEEP_ALIVE in scope.get("extensions", {}))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    transport = asyncio.run(told(app, [], header, version))
    assert kept == [open_ and version == "1.0"]
    written = b"".join(call.args[0] for call in transport.write.call_args_list)
    assert (b"connection: close" in written) is not open_
