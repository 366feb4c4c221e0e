"""The service on Ray Serve: every replica is the application of ``wrn serve`` over models of its own."""

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

if TYPE_CHECKING:
    from ray.serve import Application

NAME = "wideresnet"                                # of the application and of its one deployment
HEALTH_PERIOD, HEALTH_TIMEOUT = 5.0, 30.0          # seconds; Ray replaces a replica that fails three times in a row
_GRACE = 30                                        # seconds that the cluster has for more than the last answers
_ATTEMPTS = 3                                      # to start a replica, before the service is given up
_LEAST_STORE = 100 * 10**6                         # bytes of shared memory, for bodies on their way


@dataclass(frozen=True)
class Fleet:
    """Where the replicas run, how many there are, and how large each is."""

    address: str                                   # LOCAL, "auto" or HOST:PORT of a Ray cluster
    least: int                                     # replicas; more come with load, up to ``most``
    most: int
    cpus: int                                      # of each replica


def make_fleet(address: str, replicas: str, cpus: int) -> Fleet:
    """``replicas`` is N, or MIN:MAX. Raises ConfigError for what is neither, and for more than this machine has."""
    found = re.fullmatch(r"(\d{1,6})(?::(\d{1,6}))?", replicas, re.ASCII)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise ConfigError(f"replicas are N or MIN:MAX, from 1 on, got {replicas!r}", hint="--replicas 1:4")
    if address == LOCAL and least * cpus > available_cpus():
        raise ConfigError(
            f"{least} replicas of {cpus} CPUs are more than this machine's {available_cpus()}",
            hint="fewer --replicas, or fewer --cpus for each",
        )
    return Fleet(address, least, most, cpus)


def replica_settings(settings: ServeSettings, cpus: int) -> ServeSettings:
    """What one replica of ``cpus`` CPUs is told: what was left open is set by its share of the machine, not by all
    of it, and a model's path no longer depends on the folder that one is in.
    """
    own = {
        "models": tuple(map(_absolute, settings.models)),
        "threads": settings.threads or cpus,
        "queue": settings.queue or default_queue(cpus),
    }
    return settings.model_copy(update=own)


def _absolute(choice: str) -> str:
    alias, equals, model = choice.rpartition("=")
    return f"{alias}{equals}{Path(model).resolve()}" if Path(model).exists() else choice


class Replica:
    """The service in a process of Ray Serve's, which sends it requests, asks for its health and ends it when idle."""

    def __init__(self, settings: ServeSettings) -> None:
        from ray import serve

        silence_parser_warnings()
        self._id = serve.get_replica_context().replica_tag
        self._service = Service(settings, _write_log)
        self._service.set_models(open_models(settings, self._service.log_message))

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """What Ray Serve hands requests to."""
        return Signed(make_app(self._service), self._id)

    async def check_health(self) -> None:
        """Raises whatever keeps a model from answering."""
        for model in self._service.models.values():
            await asyncio.to_thread(check_model, model.classifier)


class Signed:
    """ASGI middleware: every answer says which replica gave it. The request's id is added by the proxy already."""

    def __init__(self, app: ASGIApp, replica: str) -> None:
        self._app, self._replica = app, replica

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                headers["X-Replica"] = self._replica
                del headers["X-Request-ID"]
            await send(message)

        await self._app(scope, receive, answer)


def _write_log(line: str) -> None:
    sys.stderr.write(f"{line}\n")                  # of the replica, which Ray keeps in a file
    sys.stderr.flush()


def application(settings: ServeSettings, fleet: Fleet) -> Application:
    """The service as Ray Serve takes it."""
    from ray import serve

    own = replica_settings(settings, fleet.cpus)
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name=NAME,
        ray_actor_options={"num_cpus": fleet.cpus},
        # A request is an image at least: a replica that says "full" itself was sent larger ones.
        max_ongoing_requests=own.capacity,
        # In each proxy; more are answered as the service itself would.
        max_queued_requests=own.capacity,
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        graceful_shutdown_timeout_s=own.drain,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=HEALTH_PERIOD,
        health_check_timeout_s=HEALTH_TIMEOUT,
        max_constructor_retry_count=_ATTEMPTS,
    )
    if fleet.least == fleet.most:
        return deployment.options(num_replicas=fleet.least).bind(own)
    scaling = {
        "min_replicas": fleet.least,
        "max_replicas": fleet.most,
        "target_ongoing_requests": 2 * fleet.cpus,     # one that is computed and one that waits, for each CPU
    }
    return deployment.options(autoscaling_config=scaling).bind(own)


def serve_on_ray(settings: ServeSettings, fleet: Fleet, write: Callable[[str], object]) -> bool:
    """Serve until SIGTERM or SIGINT, and end after the last answer; whether the cluster said that all has ended.

    A second signal ends at once. ``write`` gets each line of the log. Raises MissingExtra without Ray, ConfigError
    when the address cannot be listened on or there is no such cluster, EngineError when the replicas do not start.
    """
    with needs_extra("wrn serve --ray", "ray"):
        from ray import serve
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    say = Service(settings, write).log_message
    settings = with_port(settings, fleet)
    with _connected(settings, fleet), _until_signal() as ended:
        if serve.status().proxies:
            say("Ray Serve runs on this cluster already: its own address holds, not --host and --port")
        timeout = settings.upload_deadline + 2 * settings.deadline     # the proxy's queue may take as long again
        http = {"host": settings.host, "port": settings.port, "keep_alive_timeout_s": round(IDLE)}
        serve.start(
            "EveryNode", {**http, "request_timeout_s": timeout},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )  # fmt: skip
        say(f"listening on http://{settings.host}:{settings.port}, on every node with a replica")
        target = serve.RunTarget(application(settings, fleet), name=NAME)
        serve.run_many([target], wait_for_applications_running=False)
        try:
            if _started(ended):
                say("ready")
                ended.wait()
        finally:
            say("ending")
            if not (whole := _deleted(settings.drain)):
                say("the cluster does not say that the service has ended; its replicas may go on")
    return whole


def with_port(settings: ServeSettings, fleet: Fleet) -> ServeSettings:
    """The settings with a port that is free, as far as this machine can tell. Raises ConfigError."""
    if fleet.address != LOCAL:
        if settings.port == 0:
            raise ConfigError("the port must be the same on all nodes", hint="--port 8000")
        return settings
    # Ray's proxies would share a port with whoever shares it too: another cluster's.
    with open_socket(settings) as listener:
        return settings.model_copy(update={"port": listener.getsockname()[1]})


@contextmanager
def _connected(settings: ServeSettings, fleet: Fleet) -> Iterator[None]:
    """A connection to the cluster, or a cluster that ends with the block. Raises ConfigError."""
    import ray

    connect(fleet.address, log=settings.log == "json", store=max(_LEAST_STORE, settings.max_held_bytes))
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _until_signal() -> Iterator[threading.Event]:
    """An event that the first SIGTERM or SIGINT sets; the second raises KeyboardInterrupt."""
    ended = threading.Event()

    def end(number: int, frame: object) -> None:
        if ended.is_set():
            raise KeyboardInterrupt
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _started(ended: threading.Event) -> bool:
    """Whether the replicas are ready; False when ``ended`` is set first. Raises EngineError when they do not start."""
    from ray import serve

    while not ended.wait(0.2):
        found = serve.status().applications[NAME]
        if found.status == "RUNNING":
            return True
        if found.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            deployments = [each.message for each in found.deployments.values()]
            raise EngineError(f"the replicas do not start: {reason([found.message, *deployments])}")
    return False


def reason(messages: list[str]) -> str:
    """The error within Ray's words about it: a line of a traceback that names the exception, or the last line."""
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"wideresnet\.errors\.\w+: ", line)]
    return errors[0].partition(": ")[2] if errors else (lines or ["no reason was given"])[-1]


def _deleted(drain: float) -> bool:
    """Whether the replicas ended, each after its last answer or ``drain`` seconds.

    In a thread: what is asked of a cluster whose head is gone may never return.
    """
    asked = threading.Thread(target=_ask_to_delete, daemon=True)
    asked.start()
    asked.join(drain + _GRACE)
    return not asked.is_alive()


def _ask_to_delete() -> None:
    from ray import serve

    serve.delete(NAME, _blocking=False)            # its own patience ends after 60 s
    while NAME in serve.status().applications:
        time.sleep(0.1)
