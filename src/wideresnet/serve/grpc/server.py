"""The gRPC port: limits, reflection, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection

from wideresnet.errors import ConfigError, errors_as
from wideresnet.serve.grpc.descriptors import HEALTH, INFERENCE, descriptor_pool
from wideresnet.serve.grpc.rpcs import Rpcs
from wideresnet.serve.http.limits import IDLE
from wideresnet.serve.service import Service
from wideresnet.serve.tls import Certificate

FLUSH_SECONDS = 2.0                                # for responses that are written and not yet sent
CANCEL_SECONDS = 0.2                               # for cancelled calls to end; otherwise each logs a traceback
_MOST = 2**31 - 1                                  # of a number among gRPC's options


@asynccontextmanager
async def grpc_server(service: Service, address: str) -> AsyncIterator[None]:
    """Serve over gRPC at ``address`` (HOST:PORT) on this event loop. Raises ConfigError if it cannot be bound."""
    options = {
        "grpc.max_receive_message_length": min(service.settings.max_bytes, _MOST),     # also when decompressed
        "grpc.max_send_message_length": -1,
        "grpc.max_connection_idle_ms": round(1000 * IDLE),
        # Only workers share the port: a second server would take a part of the calls.
        "grpc.so_reuseport": int(service.settings.figures is not None),
    }
    server = grpc.aio.server(options=list(options.items()))
    for name, methods in Rpcs(service).handlers.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    reflection.enable_server_reflection((INFERENCE, HEALTH, reflection.SERVICE_NAME), server, descriptor_pool())
    with errors_as(RuntimeError, ConfigError, f"cannot listen on {address}", "--grpc-port 0 takes any free port"):
        if certificate := service.certificate:
            server.add_secure_port(address, _credentials(certificate))
        else:
            server.add_insecure_port(address)
    await server.start()
    if not service.settings.figures:               # the parent of workers says it once
        service.log_message(f"listening on {'grpcs' if certificate else 'grpc'}://{address}")
    try:
        yield
    finally:
        given_up = service.admission.requests      # by the drain
        await server.stop(None if given_up else FLUSH_SECONDS)
        if given_up:
            await asyncio.sleep(CANCEL_SECONDS)


def _credentials(certificate: Certificate) -> Any:
    """Return credentials whose certificate is the one read last: gRPC asks for it in each handshake."""

    def configuration() -> Any:
        return grpc.ssl_server_certificate_configuration([certificate.pem])

    return grpc.dynamic_ssl_server_credentials(configuration(), configuration)
