"""The server process: socket, signals, reload and graceful shutdown."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import uvicorn

from wideresnet.errors import ConfigError, needs_extra, os_errors_as
from wideresnet.serve.app import make_app
from wideresnet.serve.http.limits import IDLE, LimitedConnection
from wideresnet.serve.repository import describe_error
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.worker_metrics import count_workers, write_metrics

SHARE_SECONDS = 0.5                                # between writes of a worker's metrics
LATE_SECONDS = 1.0                                 # from the last response, for requests on open connections
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
FLUSH_SECONDS = 2                                  # for responses that are written and not yet sent
# Before a garbage collection. Python's 700 are fewer than those of two requests in progress.
YOUNG_OBJECTS = 20_000


def serve(settings: ServeSettings, write: Callable[[str], object]) -> bool:
    """Serve until SIGTERM or SIGINT; return whether every admitted request was answered.

    ``write`` gets each line of the log. SIGHUP reloads the models; a second SIGTERM or SIGINT ends at once. Raises
    ConfigError when the address cannot be bound, and WrnError when a model cannot be opened.
    """
    if settings.grpc_port is not None:
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")     # else each child process is a line of the log
        with needs_extra("wrn serve --grpc-port", "grpc"):
            from wideresnet.serve.grpc.server import grpc_server
    if settings.otlp:
        with needs_extra("wrn serve --otlp", "tracing"):
            from wideresnet.serve.tracing import Tracing
    shared = settings.figures is not None
    with open_socket(settings.host, settings.port, is_shared=shared) as listener:
        process = ServerProcess(Service(settings, write), listener)
        if settings.otlp:
            process.service.tracing = Tracing(settings.otlp, process.service.log_message)
        if not settings.figures:                   # the parent of workers says it once
            process.service.log_message(f"listening on {describe_address(listener, settings)}")
        if certificate := process.service.certificate:
            process.service.log_message(certificate.note)
        if settings.grpc_port is not None:         # checked here, since gRPC's own error names no reason
            with open_socket(settings.host, settings.grpc_port, "--grpc-port", is_shared=shared) as probe:
                process.other_server = partial(grpc_server, process.service, _address(probe))
        _raise_file_limit()
        silence_parser_warnings()
        return asyncio.run(process.run())


class ServerProcess:
    """A service and its uvicorn server. ``beside``: the server of another protocol."""

    def __init__(self, service: Service, listener: Listener) -> None:
        self.other_server: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
        self.service, self._listener = service, listener
        config = uvicorn.Config(
            make_app(self.service, self._lifespan),
            http=LimitedConnection, ws="none", lifespan="on", log_config=None, log_level="error", access_log=False,
            server_header=False, proxy_headers=False, timeout_keep_alive=round(IDLE),
            timeout_graceful_shutdown=FLUSH_SECONDS,
        )  # fmt: skip
        config.load()
        config.ssl = service.certificate.context if service.certificate else None
        self._server = uvicorn.Server(config)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()             # the other server, once it is open
        self._failure: Exception | None = None
        self._drained = True

    async def run(self) -> bool:
        """See ``serve``."""
        async with self._stack:
            if not self.service.settings.figures:
                await self._stack.enter_async_context(self.other_server())
            await self._server.serve([self._listener])
        if self._failure is not None:
            raise self._failure
        return self._drained

    @asynccontextmanager
    async def _lifespan(self, _app: object) -> AsyncIterator[dict[str, Service]]:
        # Set here, these handlers replace uvicorn's, which would end the process by the signal.
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._handle_error)
        with suppress(NotImplementedError):        # Windows
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._shut_down)
            loop.add_signal_handler(signal.SIGHUP, lambda: self._start_task(self.service.reload()))
        if folder := self.service.settings.figures:          # of a worker, whose ports open with its models
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            await self._load()
            if not self._failure:
                self._start_task(self._repeat(SHARE_SECONDS, lambda: self._share_metrics(folder)))
        else:
            self._start_task(self._load())
        yield {"service": self.service}            # for LimitedConnection

    async def _repeat(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` now and after each pause; an error, as of a full disk, is logged once and does not end this."""
        previous = ""
        while True:
            try:
                await work()
                previous = ""
            except Exception as error:
                if previous != (previous := describe_error(error)):
                    self.service.log_message(f"tried again every {seconds:g} s: {previous}")
            await asyncio.sleep(seconds)

    async def _share_metrics(self, folder: Path) -> None:
        """Write a worker's metrics for the others; check whether all workers are open, and the parent still runs."""
        if (parent := parent_process()) and not parent.is_alive():
            self._shut_down()
        write_metrics(self.service.metrics, folder)
        were_open = folder / "all-open"            # a worker that is started again is ready when its own models are
        if count_workers(folder) >= self.service.settings.workers:
            were_open.touch()
        self.service.is_complete |= were_open.exists()

    def _handle_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            self.service.log_message(f"cannot accept connections: {error.strerror} (raise ulimit -n)")
        else:
            loop.default_exception_handler(context)

    def _start_task(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)                      # the loop itself only holds weak references
        task.add_done_callback(self._tasks.discard)

    async def _load(self) -> None:
        try:
            await self.service.load()
            if self.service.settings.figures:
                await self._stack.enter_async_context(self.other_server())
            gc.collect()
            gc.freeze()                            # spares each collection the objects that stay until the end
            gc.set_threshold(YOUNG_OBJECTS)
            self.service.log_message("ready" if self.service.models else "no model is open yet")
            if self.service.settings.folder and self.service.settings.poll:
                self._start_task(self._repeat(self.service.settings.poll, self._poll))
        except Exception as error:                 # else the service would say for ever that it is loading
            self._failure = error
            self._server.should_exit = True

    async def _poll(self) -> None:
        if not self.service.admission.draining:
            await self.service.repository.poll()

    def _shut_down(self) -> None:
        if self.service.admission.draining:
            if not self.service.settings.figures:  # the parent ends workers by SIGKILL
                self._drained, self._server.force_exit, self._server.should_exit = False, True, True
            return
        self.service.admission.draining = True
        self._start_task(self._drain())

    async def _drain(self) -> None:
        """Wait for the last response; the port stays open, so that probes and late clients get a 503."""
        admission, settings, tracing = self.service.admission, self.service.settings, self.service.tracing
        end = time.monotonic() + settings.drain
        self.service.log_message(f"shutting down: {admission.requests} requests in progress")
        try:
            async with asyncio.timeout(settings.drain):
                while admission.requests or admission.images:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            self._drained, self._server.force_exit = False, True
            self.service.log_message(f"{admission.requests} requests not answered within {settings.drain:g} seconds")
        try:
            if self._drained and self._server.started:
                await self._refuse_late_requests()
            if tracing and not await tracing.close(min(FLUSH_SECONDS, max(0.0, end - time.monotonic()))):
                self.service.log_message("tracing: the last spans were not sent in time")
        finally:                                   # also where no thread starts for the last spans
            self._server.should_exit = True

    async def _refuse_late_requests(self) -> None:
        """Close the port, and answer 503 on open connections for a time: closing these at once would reset requests."""
        self._listener.listen(0)                   # first accept those that wait: closing the port would reset them
        await asyncio.sleep(0.1)
        for server in self._server.servers:
            server.close()
        end = time.monotonic() + LATE_SECONDS
        while self._server.server_state.connections and time.monotonic() < end:
            await asyncio.sleep(0.02)


class Listener(socket.socket):
    """A listening socket that reports a lack of file descriptors to asyncio once, and not ``backlog`` times.

    After an error asyncio goes on accepting, up to ``backlog`` times, and logs and retries each failure. Here the
    failures that follow the first one within half a second tell asyncio that no connection waits.
    """

    _exhausted_at = 0.0                            # seconds, as time.monotonic()

    def accept(self) -> tuple[socket.socket, Any]:
        """See socket.socket."""
        try:
            return super().accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                before, self._exhausted_at = self._exhausted_at, time.monotonic()
                if self._exhausted_at < before + 0.5:
                    raise BlockingIOError from error
            raise


def open_socket(host: str, port: int, option: str = "--port", is_shared: bool = False) -> Listener:
    """Return a socket that listens on an address, whose port is that of ``option``. Raises ConfigError.

    ``is_shared``: with other processes, and listening only when the event loop accepts connections.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with os_errors_as(ConfigError, f"cannot listen on {host}:{port}", f"{option} 0 takes any free port"):
        if is_shared:
            listener = socket.socket(family)
            for name in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                listener.setsockopt(socket.SOL_SOCKET, name, 1)
            listener.bind((host, port))
        else:
            both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()        # "::" is IPv4 too, as in gRPC
            listener = socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=both)
        # Connections inherit TCP_NODELAY. asyncio only sets it for sockets created with IPPROTO_TCP; without it each
        # response, which is written in two pieces, waits 40 ms for the client's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Listener(fileno=listener.detach())


def describe_address(listener: socket.socket, settings: ServeSettings, protocol: str = "http") -> str:
    """Return the URL of a socket of a service; ``protocol``: "http" or "grpc"."""
    return f"{protocol}{'s' if settings.tls_cert else ''}://{_address(listener)}"


def _address(listener: socket.socket) -> str:
    """Return HOST:PORT of a socket."""
    host, port = listener.getsockname()[:2]
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def silence_parser_warnings() -> None:
    """Keep warnings about damaged bodies out of the log: the client that sent one gets the error."""
    logging.raiseExceptions = False                # an unwritable log must not fail requests
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def _raise_file_limit() -> None:
    """Raise the limit on open files: every connection is one, and the usual soft limit is 1,024."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
