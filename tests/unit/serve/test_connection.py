"""A connection without a network: what the application is woken for."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import uvicorn
from uvicorn.server import ServerState

from wideresnet.serve.connection import PIECE, Connection


def pieces_of(sent: list[bytes]) -> list[int]:
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

    async def main() -> None:
        transport = Mock(spec=asyncio.Transport)
        transport.is_closing.return_value = False
        transport.get_extra_info.return_value = None
        state = ServerState()
        connection = Connection(uvicorn.Config(app, lifespan="off", log_config=None, ws="none"), state, {})
        connection.connection_made(transport)
        length = sum(map(len, sent))
        connection.data_received(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode())
        for piece in sent:
            connection.data_received(piece)
            for _ in range(5):                     # whoever was woken has run
                await asyncio.sleep(0)
        await asyncio.gather(*state.tasks)
        connection.connection_lost(None)

    asyncio.run(main())
    return sizes


def test_a_body_of_usual_size_wakes_the_application_once() -> None:
    assert pieces_of([bytes(1000)] * 100) == [100_000]


def test_a_large_body_is_handed_over_while_it_comes() -> None:
    sizes = pieces_of([bytes(PIECE // 2)] * 7)
    assert sum(sizes) == 7 * (PIECE // 2)
    assert max(sizes) <= PIECE + PIECE // 2
    assert len(sizes) > 1
