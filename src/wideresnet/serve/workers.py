"""Several processes of one service behind one port (``wrn serve --workers``).

The parent starts the workers, restarts those that end, and passes signals on; it answers no request. Each worker is
a complete service with a part of the CPUs. All bind the ports with SO_REUSEPORT, once their models are open, and the
kernel gives each connection to one of them. They share a folder with their metrics (``figures``), in which each sees
whether the others are open. A worker drains at SIGTERM, however often it comes, and when its parent is gone.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from wideresnet.errors import ConfigError, WrnError, check_extra
from wideresnet.machine import available_cpus
from wideresnet.serve.run import describe_address, open_socket, serve
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.worker_metrics import count_workers, keep_counts

TICK = 0.1                                         # seconds between looks at the workers
BACKOFF_MIN, BACKOFF_MAX = 0.5, 30.0               # seconds before a worker is started again
STEADY = 60.0                                      # seconds after which an end is not one of a series
FAILED = 2                                         # exit code of a worker that cannot serve


def serve_in_workers(settings: ServeSettings, write: Callable[[str], object]) -> bool:
    """Serve as ``run.serve`` does, in ``settings.workers`` processes.

    Raises ConfigError for fewer CPUs than workers, for an address that cannot be bound, and when a worker cannot start.
    """
    if settings.grpc_port is not None:
        check_extra("wrn serve --grpc-port", "grpc", "grpc_reflection")
    if settings.otlp:
        check_extra("wrn serve --otlp", "tracing", "opentelemetry")
    count, cpus = settings.workers, settings.threads or available_cpus()
    if sys.platform == "win32":
        raise ConfigError("--workers needs SO_REUSEPORT, which Windows does not have", hint="leave out --workers")
    if count > cpus:
        supply = f"--threads is {cpus}" if settings.threads else f"there are {cpus}"
        raise ConfigError(f"{count} workers need a thread and a CPU each, and {supply}", hint=f"--workers {cpus}")
    log = Service(settings.model_copy(), write).log_message    # a copy, since it caches values
    with open_socket(settings.host, settings.port) as probe:   # with SO_REUSEPORT another service would be no error
        ports = {"port": probe.getsockname()[1]}
        log(f"listening on {describe_address(probe, settings)}")
        if settings.grpc_port is not None:
            with open_socket(settings.host, settings.grpc_port, "--grpc-port") as grpc_probe:
                ports["grpc_port"] = grpc_probe.getsockname()[1]
                log(f"listening on {describe_address(grpc_probe, settings, 'grpc')}")
    with TemporaryDirectory(prefix="wrn-serve-") as folder:
        settings = settings.model_copy(update={**ports, "figures": Path(folder)})
        workers = [Worker(cpus // count + (number < cpus % count)) for number in range(count)]
        return Parent(settings, write, log, workers).run(Path(folder))


@dataclass(eq=False)
class Worker:
    """A worker; ``start``: when it is started, or was (time.monotonic())."""

    threads: int
    process: BaseProcess | None = None
    start: float = 0.0
    pause: float = BACKOFF_MIN / 2                 # seconds before the latest start; the next one is longer


@dataclass(eq=False)
class Parent:
    """The process that keeps workers running."""

    settings: ServeSettings
    write: Callable[[str], object]
    log: Callable[[str], None]
    workers: list[Worker]
    is_open = is_draining = False
    drained = True

    def run(self, folder: Path) -> bool:
        """Keep the workers running; return whether every admitted request was answered. Raises ConfigError."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._shut_down())
        signal.signal(signal.SIGHUP, lambda number, _: self._signal(number))
        while not self.is_draining or any(worker.process for worker in self.workers):
            for worker in self.workers:
                if worker.process is None and time.monotonic() >= worker.start and not self.is_draining:
                    self._start(worker)
                elif worker.process and worker.process.exitcode is not None:
                    keep_counts(worker.process.pid, folder)
                    self._follow_end(worker, worker.process.exitcode)
            if not self.is_open and count_workers(folder) == len(self.workers):
                self.is_open = True
                self.log(f"{len(self.workers)} workers are open")
            time.sleep(TICK)
        return self.drained

    def _start(self, worker: Worker) -> None:
        settings = self.settings.model_copy(update={"threads": worker.threads})
        worker.process = get_context("spawn").Process(target=_work, args=(settings, self.write))
        handlers = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGHUP)]
        worker.start = time.monotonic()
        try:
            worker.process.start()                 # it ignores what is ignored here: Ctrl-C is for the parent
        except OSError as error:                   # no memory, or too many processes
            worker.process = None
            self._plan(worker, f"a worker cannot be started ({error.strerror})")
        for number, handler in handlers:
            signal.signal(number, handler)
        if self.is_draining:                       # since then: this one has not got the signal
            self._signal(signal.SIGTERM)

    def _follow_end(self, worker: Worker, code: int) -> None:
        """Plan the start of a worker's successor; while draining, judge its end. Raises ConfigError."""
        name, worker.process = f"worker {worker.process and worker.process.pid}", None
        if self.is_draining:                       # SIGTERM only ends a worker that is still starting
            self.drained = self.drained and code in (0, -signal.SIGTERM)
            return
        if code == FAILED and not self.is_open:
            self._signal(signal.SIGTERM)
            raise ConfigError("a worker cannot start", hint="the lines above say why")
        cause = f"signal {-code}: {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"
        self._plan(worker, f"{name} has ended ({cause})")

    def _plan(self, worker: Worker, message: str) -> None:
        """Plan the next start of a worker, and log that after a ``message``."""
        now = time.monotonic()
        worker.pause = BACKOFF_MIN if now - worker.start > STEADY else min(2 * worker.pause, BACKOFF_MAX)
        worker.start = now + worker.pause
        self.log(f"{message}, another one starts in {worker.pause:g} s")

    def _shut_down(self) -> None:
        self._signal(signal.SIGKILL if self.is_draining else signal.SIGTERM)
        self.is_draining = True

    def _signal(self, number: int) -> None:
        for process in [worker.process for worker in self.workers if worker.process]:
            if process.exitcode is None and process.pid:
                os.kill(process.pid, number)


def _work(settings: ServeSettings, write: Callable[[str], object]) -> None:
    """Serve: the main function of a worker."""
    try:
        sys.exit(0 if serve(settings, write) else 1)
    except WrnError as error:
        write(f"error: {error.line}")
        sys.exit(FAILED)
