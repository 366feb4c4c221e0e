"""A file server on this machine that can cut connections, ignore ranges and answer with errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class FileServer:
    """What it serves and how badly; every request is noted as (method, path, Range header)."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)      # body bytes of the next answers, then whole ones
    statuses: list[int] = field(default_factory=list)       # of the next answers, before any body
    ranges: bool = True
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)


def handler_for(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            wanted = self.headers.get("Range")
            server.requests.append((self.command, self.path, wanted))
            if body and server.statuses:
                return self.send_error(server.statuses.pop(0))
            data = server.files.get(self.path.partition("?")[0])
            if data is None:
                return self.send_error(404)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
            if start and start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                rest = data[start:]
                self.wfile.write(rest[: server.cut_after.pop(0)] if server.cut_after else rest)
            self.close_connection = True
            return None

    return Handler


@pytest.fixture
def server() -> Iterator[FileServer]:
    state = FileServer()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(state))
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()
