"""gRPC's health checking protocol: the server has the name "", each model its own."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from wideresnet.serve.grpc.descriptors import HEALTH, INFERENCE, message_classes
from wideresnet.serve.service import Service

MAX_WATCHERS = 100
_INTERVAL = 0.2                                    # seconds in which a watcher learns of a change


def status(service: Service, name: str) -> str:
    """Return the status of the server or of a model, in the protocol's words."""
    if name not in ("", INFERENCE, *service.models, *service.versions):
        return "SERVICE_UNKNOWN"
    return "SERVING" if service.ready else "NOT_SERVING"


def watch_handler(service: Service) -> Any:
    """Return gRPC's handler of ``Watch``, which sends each change of a status until the server shuts down."""
    request_class, response_class = message_classes(HEALTH, "Watch")
    free = asyncio.Semaphore(MAX_WATCHERS)

    async def watch(request: Any, rpc: Any) -> None:
        if free.locked():
            await rpc.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_WATCHERS} clients are watching (call Check)")
        async with free:
            previous = ""
            while previous not in ("NOT_SERVING", "SERVICE_UNKNOWN") or not service.admission.draining:
                if (now := status(service, request.service)) != previous:
                    await rpc.write(response_class(status=now))
                    previous = now
                await asyncio.sleep(_INTERVAL)

    return grpc.unary_stream_rpc_method_handler(watch, request_class.FromString, response_class.SerializeToString)
