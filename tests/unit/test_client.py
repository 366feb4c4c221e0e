"""The client against a server that answers as it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wideresnet.client import Client, ServiceError
from wideresnet.errors import ConfigError, ImageError

Answers = list[tuple[int, dict[str, str], bytes]]


class Told(ThreadingHTTPServer):
    """``answers`` are given in their order; ``asked`` holds path, headers and body of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: Answers = []
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Told

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.path, dict(self.headers), body))
        status, headers, answer = self.server.answers.pop(0)
        if not status:
            return                                 # hangs up
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(answer))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    server = Told()
    server.pauses = []
    monkeypatch.setattr("wideresnet.client.time.sleep", server.pauses.append)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def client(told: Told, **options: object) -> Client:
    return Client(f"http://127.0.0.1:{told.server_port}", **options)


def test_files_and_bytes_go_out_as_one_request(told: Told, tmp_path: Path) -> None:
    file = tmp_path / 'a "二".png'
    file.write_bytes(b"of a file")
    told.answers = [(200, {}, b'{"results": []}')]
    assert client(told, token="sesame").classify(file, b"of bytes", b"", k=2, model="m", lang="zh") == {"results": []}
    ((path, headers, body),) = told.asked
    assert path == "/v1/classify?k=2&lang=zh&model=m"
    assert headers["Authorization"] == "Bearer sesame"
    assert [part.partition(b"\r\n\r\n")[2].rstrip() for part in body.split(b"--" + body[2:34])[1:-1]] == [
        b"of a file", b"of bytes", b"",
    ]  # fmt: skip
    assert b'filename="' + str(file).replace('"', "%22").encode() in body


def test_what_is_only_for_now_is_tried_again_after_a_growing_pause(told: Told) -> None:
    told.answers = [(429, {"Retry-After": "3"}, b"{}"), (0, {}, b""), (503, {}, b"{}"), (200, {}, b"{}")]
    assert client(told).classify(b"x") == {}
    assert told.pauses[0] == 3.0
    assert 0.1 <= told.pauses[1] <= 0.2 <= told.pauses[2] <= 0.4


def test_in_the_end_it_gives_up(told: Told) -> None:
    told.answers = [(429, {}, b'{"detail": "full", "hint": "wait"}')] * 3
    with pytest.raises(ServiceError, match="429: full") as caught:
        client(told, retries=2).classify(b"x")
    assert (caught.value.status, caught.value.hint, len(told.asked)) == (429, "wait", 3)


def test_a_proxy_that_lost_a_replica_is_asked_again_a_fault_of_the_service_is_not(told: Told) -> None:
    told.answers = [(500, {"Content-Type": "text/plain"}, b"Internal Server Error"), (200, {}, b"{}")]
    assert client(told).models() == {}
    told.answers = [(500, {"Content-Type": "application/problem+json"}, b"{}"), (200, {}, b"{}")]
    with pytest.raises(ServiceError, match="answers 500"):
        client(told).models()


def test_what_is_refused_for_good_is_not_tried_again(told: Told) -> None:
    told.answers = [(400, {}, b"<html>no JSON")]
    with pytest.raises(ServiceError, match="no JSON"):
        client(told).models()
    assert len(told.asked) == 1
    with pytest.raises(ImageError):
        client(told).classify("no such file")


def test_without_blocking(told: Told) -> None:
    told.answers = [(200, {}, b"{}")] * 5
    one = client(told)

    async def ask() -> None:
        await asyncio.gather(*(one.classify_async(b"x") for _ in range(5)))

    asyncio.run(ask())
    assert len(told.asked) == 5


def test_an_address_must_be_one() -> None:
    with pytest.raises(ConfigError):
        Client("localhost:8000")
