"""The client against a server with prepared responses."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wideresnet.client import Client, ServiceError
from wideresnet.errors import ConfigError, ImageError


class FakeServer(ThreadingHTTPServer):
    """``responses`` are given in order; ``requests`` holds path, headers and body of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        self.responses: list[tuple[int, dict[str, str], bytes]] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.barrier = threading.Barrier(1)        # requests that must be in progress before any is answered
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.path, dict(self.headers), body))
        self.server.barrier.wait(10)
        status, headers, response = self.server.responses.pop(0)
        if not status:
            return                                 # closes the connection
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(response))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[FakeServer]:
    server = FakeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the client would have slept."""
    pauses: list[float] = []
    monkeypatch.setattr("wideresnet.client.time.sleep", pauses.append)
    return pauses


def client(server: FakeServer, **options: object) -> Client:
    return Client(f"http://127.0.0.1:{server.server_port}", **options)


@pytest.mark.parametrize("coverage", [0.95, 0.999, 0.55, 0.9512345])
def test_a_coverage_is_not_rounded(server: FakeServer, coverage: float) -> None:
    """The service gets the fraction that 'classify' of Python takes, so that both use the same threshold."""
    server.responses = [(200, {}, b"{}")]
    client(server).classify(b"image", coverage=coverage)
    sent = server.requests[0][0].partition("coverage=")[2].partition("&")[0]
    assert float(sent) / 100 == pytest.approx(coverage, 1e-12)


def test_files_and_bytes_go_out_as_one_request(server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / 'a "二".png'
    file.write_bytes(b"of a file")
    server.responses = [(200, {}, b'{"results": [{"name": "a.png", "predictions": []}, {"name": ""}, {"name": ""}]}')]
    answer = client(server, token="sesame").classify(file, b"of bytes", b"", k=2, model="m", lang="zh")
    assert answer["results"] == [{"name": str(file), "predictions": []}, {"name": "image 1"}, {"name": "image 2"}]
    ((path, headers, body),) = server.requests
    assert path == "/v1/classify?k=2&lang=zh&model=m"
    assert headers["Authorization"] == "Bearer sesame"
    assert [part.partition(b"\r\n\r\n")[2].rstrip() for part in body.split(b"--" + body[2:34])[1:-1]] == [
        b"of a file", b"of bytes", b"",
    ]  # fmt: skip
    assert b'filename="' + str(file).replace('"', "%22").encode() in body


def test_temporary_errors_are_retried_after_a_growing_pause(server: FakeServer, pauses: list[float]) -> None:
    server.responses = [(429, {"Retry-After": "3"}, b"{}"), (0, {}, b""), (503, {}, b"{}"), (200, {}, b"{}")]
    assert client(server).classify(b"x") == {}
    assert pauses[0] == 3.0
    assert 0.1 <= pauses[1] <= 0.2 <= pauses[2] <= 0.4


@pytest.mark.parametrize("seconds", ["3600", "9" * 400])
def test_a_pause_longer_than_the_timeout_is_not_made(server: FakeServer, pauses: list[float], seconds: str) -> None:
    """It would wait for an hour, six times; no system can sleep for the other."""
    server.responses = [(503, {"Retry-After": seconds}, b"{}")]
    with pytest.raises(ServiceError, match="answers 503"):
        client(server).models()
    assert not pauses


@pytest.mark.usefixtures("pauses")
def test_it_gives_up_after_all_retries(server: FakeServer) -> None:
    server.responses = [(429, {}, b'{"detail": "full", "hint": "wait"}')] * 3
    with pytest.raises(ServiceError, match="429: full") as caught:
        client(server, retries=2).classify(b"x")
    assert (caught.value.status, caught.value.hint, len(server.requests)) == (429, "wait", 3)


@pytest.mark.parametrize(("status", "answer"), [(413, b"HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\n{}"), (0, b"")])
@pytest.mark.usefixtures("pauses")
def test_an_answer_before_the_body_is_sent_is_read(status: int, answer: bytes) -> None:
    """The service answers 413 from the head alone and closes; without any answer the connection is lost."""
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connections.append(connection.recv(1000))
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ServiceError) as caught:
            Client(f"http://127.0.0.1:{listener.getsockname()[1]}", retries=2).classify(bytes(2**24))
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert (caught.value.status, len(connections)) == (status, 1 if status else 3)


@pytest.mark.usefixtures("pauses")
def test_a_proxys_500_is_retried_but_not_the_services(server: FakeServer) -> None:
    server.responses = [(500, {"Content-Type": "text/plain"}, b"Internal Server Error"), (200, {}, b"{}")]
    assert client(server).models() == {}
    server.responses = [(500, {"Content-Type": "application/problem+json"}, b"{}"), (200, {}, b"{}")]
    with pytest.raises(ServiceError, match="answers 500"):
        client(server).models()


def test_permanent_errors_are_not_retried(server: FakeServer) -> None:
    server.responses = [(400, {}, b"<html>no JSON")]
    with pytest.raises(ServiceError, match="no JSON"):
        client(server).models()
    assert len(server.requests) == 1
    with pytest.raises(ImageError):
        client(server).classify("no such file")


def test_classify_async_does_not_block(server: FakeServer) -> None:
    """Five requests are in progress at the same time, on one event loop: the server answers none before."""
    server.responses = [(200, {}, b"{}")] * 5
    server.barrier = threading.Barrier(5)
    shared = client(server, retries=0)

    async def classify_five() -> list[dict[str, object]]:
        return await asyncio.gather(*(shared.classify_async(b"x") for _ in range(5)))

    assert asyncio.run(classify_five()) == [{}] * 5


@pytest.mark.parametrize("body", [b"<html>log in", b"[]", b"null", b'"ready"', b"\xff", b""])
@pytest.mark.parametrize("status", [200, 400])
def test_what_is_no_document_is_no_answer(server: FakeServer, status: int, body: bytes) -> None:
    """A login page with status 200 was returned as the result."""
    server.responses = [(status, {}, body)]
    with pytest.raises(ServiceError, match=f"the service answers {status}: ") as caught:
        client(server).models()
    assert caught.value.status == status


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000", "ftp://a", "http://", "http://a:99999", "http://a:x", "http://a:0", "http://[::1",
        "http://user:pass@a", "http://a/?token=x", "http://a/#b",
    ],
)  # fmt: skip
def test_a_url_that_no_service_has_is_refused(url: str) -> None:
    """At once, and also where a part of it would be ignored."""
    with pytest.raises(ConfigError, match="not an http or https URL"):
        Client(url)


@pytest.mark.parametrize("token", ["ключ", "sesame\n", "s\xe9same"])
def test_a_token_that_no_header_can_have_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="the token contains"):
        Client(token=token)


def test_the_path_of_a_url_is_used(server: FakeServer) -> None:
    server.responses = [(200, {}, b"{}")]
    assert Client(f"http://127.0.0.1:{server.server_port}/behind/").models() == {}
    assert server.requests[0][0] == "/behind/v1/models"


@pytest.mark.parametrize(
    "arguments",
    [{"timeout": None}, {"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"retries": -1}, {"retries": 2.5},
     {"token": None}],
)  # fmt: skip
def test_arguments_of_another_kind_are_refused_at_once(arguments) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        Client(**arguments)


def test_a_fork_does_not_read_the_answers_to_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    first = client._connection()
    assert client._connection() is first
    monkeypatch.setattr("wideresnet.client.os.getpid", lambda: -1)
    assert client._connection() is not first
