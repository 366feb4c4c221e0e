"""The service on Ray Serve: every replica runs the application of ``wrn serve`` with its own models."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wideresnet.cluster.connect import LOCAL, connect
from wideresnet.errors import ConfigError, EngineError, needs_extra
from wideresnet.machine import available_cpus
from wideresnet.serve.app import make_app
from wideresnet.serve.http.limits import IDLE
from wideresnet.serve.models import check_model, open_models
from wideresnet.serve.run import open_socket, silence_parser_warnings
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings, default_queue
from wideresnet.serve.versions import split_alias

if TYPE_CHECKING:
    from ray.serve import Application

NAME = "wideresnet"                                # of the application and of its one deployment
HEALTH_PERIOD, HEALTH_TIMEOUT = 5.0, 30.0          # seconds; Ray replaces a replica that fails three times in a row
_SHUTDOWN_SECONDS = 30                             # beyond ``drain``, for the cluster to report the end
_START_ATTEMPTS = 3                                # per replica, before the service is given up
_MIN_STORE = 100 * 10**6                           # bytes of shared memory, for bodies of requests


@dataclass(frozen=True)
class Replicas:
    """The cluster that runs the replicas, their number and their size."""

    address: str                                   # LOCAL, "auto" or HOST:PORT of a Ray cluster
    minimum: int
    maximum: int                                   # Ray Serve scales up to this number with the load
    cpus: int                                      # per replica


def parse_replicas(address: str, text: str, cpus: int) -> Replicas:
    """Parse ``text``, N or MIN:MAX. Raises ConfigError, also for more CPUs than a local cluster has."""
    match = re.fullmatch(r"(\d{1,6})(?::(\d{1,6}))?", text, re.ASCII)
    minimum, maximum = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= minimum <= maximum:
        raise ConfigError(f"replicas must be N or MIN:MAX, at least 1, got {text!r}", hint="--replicas 1:4")
    if address == LOCAL and maximum * cpus > available_cpus():
        problem = f"{maximum} replicas of {cpus} CPUs need more than this machine's {available_cpus()}"
        raise ConfigError(problem, hint="use fewer --replicas or --cpus")
    return Replicas(address, minimum, maximum, cpus)


def replica_settings(settings: ServeSettings, cpus: int) -> ServeSettings:
    """Return the settings of one replica: defaults for ``cpus`` CPUs, and absolute paths of models."""
    changes = {
        "models": tuple(map(_with_absolute_path, settings.models)),
        "threads": settings.threads or cpus,
        "queue": settings.queue or default_queue(cpus),
    }
    return settings.model_copy(update=changes)


def _with_absolute_path(choice: str) -> str:
    alias, model = split_alias(choice)
    return f"{alias}{'=' * bool(alias)}{Path(model).resolve()}" if Path(model).exists() else choice


class Replica:
    """The service in a process of Ray Serve, which passes requests on, checks its health and scales it down."""

    def __init__(self, settings: ServeSettings) -> None:
        from ray import serve

        silence_parser_warnings()
        self._id = serve.get_replica_context().replica_tag
        self._service = Service(settings, _write_log)
        self._service.set_models(open_models(settings, self._service.log_message))
        self._service.metrics.set_problems(self._service.models, ())

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the application that Ray Serve passes requests to."""
        return ReplicaHeaders(make_app(self._service), self._id)

    async def check_health(self) -> None:
        """Infer one image with every model. Raises the error of a model that fails."""
        for model in self._service.models.values():
            await asyncio.to_thread(check_model, model.classifier)


class ReplicaHeaders:
    """ASGI middleware that adds ``X-Replica``, and removes ``X-Request-ID``, which the proxy adds."""

    def __init__(self, app: ASGIApp, replica: str) -> None:
        self._app, self._replica = app, replica

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan."""

        async def send_with_replica(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers["X-Replica"] = self._replica
                del headers["X-Request-ID"]
            await send(message)

        await self._app(scope, receive, send_with_replica)


def _write_log(line: str) -> None:
    sys.stderr.write(f"{line}\n")                  # Ray keeps it in a file per replica
    sys.stderr.flush()


def application(settings: ServeSettings, replicas: Replicas) -> Application:
    """Return the service as a Ray Serve application."""
    from ray import serve

    settings = replica_settings(settings, replicas.cpus)
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name=NAME,
        ray_actor_options={"num_cpus": replicas.cpus},
        # A request has at least one image; those with more may exceed the replica's own limit, which then sends 429.
        max_ongoing_requests=settings.capacity,
        # Per proxy; further requests get the same response as the service's own.
        max_queued_requests=settings.capacity,
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        graceful_shutdown_timeout_s=settings.drain,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=HEALTH_PERIOD,
        health_check_timeout_s=HEALTH_TIMEOUT,
        max_constructor_retry_count=_START_ATTEMPTS,
    )
    if replicas.minimum == replicas.maximum:
        return deployment.options(num_replicas=replicas.minimum).bind(settings)
    scaling = {
        "min_replicas": replicas.minimum,
        "max_replicas": replicas.maximum,
        "target_ongoing_requests": 2 * replicas.cpus,      # per CPU one in work and one waiting
    }
    return deployment.options(autoscaling_config=scaling).bind(settings)


def serve_on_ray(settings: ServeSettings, replicas: Replicas, write: Callable[[str], object]) -> bool:
    """Serve until SIGTERM or SIGINT, then drain; return whether the cluster confirms that all replicas have ended.

    A second signal ends at once. ``write`` gets each line of the log. Raises MissingExtra without Ray, ConfigError
    when the address cannot be bound or there is no such cluster, EngineError when the replicas do not start.
    """
    with needs_extra("wrn serve --ray", "ray"):
        from ray import serve
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    log = Service(settings.model_copy(), write).log_message     # a copy, since it caches values
    settings = resolve_port(settings, replicas)
    with _ray_connection(settings, replicas), _shutdown_signal() as shutdown:
        if serve.status().proxies:
            log("Ray Serve already runs on this cluster: it keeps its address, --host and --port have no effect")
        timeout = settings.upload_deadline + 2 * settings.deadline     # the proxy's queue may take another deadline
        http = {"host": settings.host, "port": settings.port, "keep_alive_timeout_s": round(IDLE)}
        serve.start(
            "EveryNode", {**http, "request_timeout_s": timeout},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )  # fmt: skip
        log(f"listening on http://{settings.host}:{settings.port}, on every node with a replica")
        target = serve.RunTarget(application(settings, replicas), name=NAME)
        serve.run_many([target], wait_for_applications_running=False)
        try:
            if wait_until_running(shutdown, log):
                log("ready")
                shutdown.wait()
        finally:
            log("shutting down")
            if not (ended := _delete_application(settings.drain)):
                log("the cluster does not confirm the end of the service; its replicas may go on")
    return ended


def resolve_port(settings: ServeSettings, replicas: Replicas) -> ServeSettings:
    """Return the settings with a port that is free on this machine. Raises ConfigError."""
    if replicas.address != LOCAL:
        if settings.port == 0:
            raise ConfigError("the port must be the same on all nodes", hint="--port 8000")
        return settings
    # Ray's proxies set SO_REUSEPORT: they would share a port with another cluster without an error.
    with open_socket(settings.host, settings.port) as listener:
        return settings.model_copy(update={"port": listener.getsockname()[1]})


@contextmanager
def _ray_connection(settings: ServeSettings, replicas: Replicas) -> Iterator[None]:
    """Connect to the cluster, or start a local one that ends with the block. Raises ConfigError."""
    import ray

    connect(replicas.address, log=settings.log == "json", store=max(_MIN_STORE, settings.max_held_bytes))
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _shutdown_signal() -> Iterator[threading.Event]:
    """Yield an event that the first SIGTERM or SIGINT sets; the second raises KeyboardInterrupt."""
    shutdown = threading.Event()

    def handle(number: int, frame: object) -> None:
        if shutdown.is_set():
            raise KeyboardInterrupt
        shutdown.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield shutdown
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def wait_until_running(shutdown: threading.Event, log: Callable[[str], object]) -> bool:
    """Return True when the replicas are ready, False when ``shutdown`` is set first. Raises EngineError.

    Each message of Ray Serve about replicas that wait for CPUs is logged once.
    """
    from ray import serve

    logged = {""}
    while not shutdown.wait(0.2):
        status = serve.status().applications[NAME]
        messages = [deployment.message for deployment in status.deployments.values()]
        if status.status == "RUNNING":
            return True
        if status.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise EngineError(f"the replicas do not start: {extract_reason([status.message, *messages])}")
        for message in set(messages) - logged:
            log(message)
        logged.update(messages)
    return False


def extract_reason(messages: list[str]) -> str:
    """Return the error in Ray's messages: the traceback's line with a wideresnet error, or the last line."""
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"wideresnet\.errors\.\w+: ", line)]
    return errors[0].partition(": ")[2] if errors else (lines or ["no reason was given"])[-1]


def _delete_application(drain: float) -> bool:
    """Delete the application; return whether its replicas ended, each after its last response or ``drain`` seconds.

    A thread waits, since calls to a cluster without a head may never return.
    """
    deletion = threading.Thread(target=_delete_and_wait, daemon=True)
    deletion.start()
    deletion.join(drain + _SHUTDOWN_SECONDS)
    return not deletion.is_alive()


def _delete_and_wait() -> None:
    from ray import serve

    serve.delete(NAME, _blocking=False)            # a blocking call would give up after 60 s
    while NAME in serve.status().applications:
        time.sleep(0.1)
