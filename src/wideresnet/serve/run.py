"""The process: one socket, the signals, and an end that loses no request."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

import uvicorn
from starlette.applications import Starlette

from wideresnet.errors import ConfigError, WrnError
from wideresnet.serve.app import make_app
from wideresnet.serve.http.limits import IDLE, Connection
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings

FLUSH = 2                                          # seconds for what is written and not yet sent


def serve(settings: ServeSettings, write: Callable[[str], object]) -> bool:
    """Serve until SIGTERM or SIGINT; whether every request that was let in has been answered.

    ``write`` gets each line of the log. SIGHUP opens the models anew; a second SIGTERM or SIGINT ends at once. Raises
    ConfigError when the address cannot be listened on, and WrnError when a model cannot be opened.
    """
    with listen(settings) as listener:
        host, port = listener.getsockname()[:2]
        process = Process(Service(settings, write))
        process.service.say(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}")
        _allow_many_files()
        quieten()
        return asyncio.run(process.run(listener))


class Process:
    """A service with a server around it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        config = uvicorn.Config(
            make_app(self.service, self._lifespan),
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=round(IDLE),
            timeout_graceful_shutdown=FLUSH,
        )
        self._server = uvicorn.Server(config)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: WrnError | None = None
        self._whole = True

    async def run(self, listener: socket.socket) -> bool:
        """See ``serve``."""
        await self._server.serve([listener])
        if self._failure is not None:
            raise self._failure
        return self._whole

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        # Within uvicorn's own handlers, which would end the process by the signal, and before the port answers.
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError):        # Windows
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._end)
            loop.add_signal_handler(signal.SIGHUP, lambda: self._start(self.service.reload()))
        self._start(self._load())
        yield

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)                      # the loop itself only holds weak references
        task.add_done_callback(self._tasks.discard)

    async def _load(self) -> None:
        try:
            await self.service.load()
            gc.collect()
            gc.freeze()                            # what is here by now stays: to look through it takes time each time
            self.service.say("ready")
        except WrnError as error:
            self._failure = error
            self._server.should_exit = True

    def _end(self) -> None:
        if self.service.house.draining:
            self._whole, self._server.force_exit, self._server.should_exit = False, True, True
            return
        self.service.house.draining = True
        self._start(self._drain())

    async def _drain(self) -> None:
        """Wait for the last answer; the port stays open meanwhile, so that probes and late clients are told."""
        house, settings = self.service.house, self.service.settings
        self.service.say(f"ending: {house.requests} requests are inside")
        try:
            async with asyncio.timeout(settings.drain):
                while house.requests or house.images:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            self._whole, self._server.force_exit = False, True
            self.service.say(f"{house.requests} requests were not answered within {settings.drain:g} seconds")
        self._server.should_exit = True


def listen(settings: ServeSettings) -> socket.socket:
    """A socket that listens where the settings say. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
        # asyncio does so only for sockets that were made for IPPROTO_TCP by name; without it each answer, being
        # written in two pieces, waits 40 ms for the client's delayed acknowledgement. Connections inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}", hint="--port 0 takes any free port"
        ) from error


def quieten() -> None:
    """No warnings of damaged bodies in the log: they are for whoever sent them, who is told."""
    logging.raiseExceptions = False                # a log that cannot be written ends no request
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def _allow_many_files() -> None:
    """A connection is an open file, and the usual soft limit of 1,024 is soon reached."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
