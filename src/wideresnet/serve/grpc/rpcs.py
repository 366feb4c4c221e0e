"""The remote procedure calls: each checks the token, is admitted, reads its message and answers like its HTTP route.

All are handled as streams of requests: the message of a unary call is then read after its admission, not before.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.json_format import ParseDict

from wideresnet import __version__
from wideresnet.serve import protocol
from wideresnet.serve.admission import Permit, RequestContext
from wideresnet.serve.grpc.descriptors import HEALTH, INFERENCE, message_classes
from wideresnet.serve.grpc.health import status, watch_handler
from wideresnet.serve.grpc.messages import parse_message, request_document, response_message
from wideresnet.serve.http.errors import ERROR_STATUS, ApiError, as_api_error
from wideresnet.serve.http.middleware import RequestIds, report_response
from wideresnet.serve.http.request_checks import check_authorization, check_repeated, route_error
from wideresnet.serve.inference import infer_request, parse_in_turn
from wideresnet.serve.repository_routes import change_model, index_documents
from wideresnet.serve.responses import output_tensors
from wideresnet.serve.service import Service
from wideresnet.serve.shadow import LABEL_HEADER
from wideresnet.serve.versions import split_name
from wideresnet.serve.worker import ModelWorker

# HTTP status of an error -> status code; INVALID_ARGUMENT for all others.
STATUS_CODES = {
    401: "UNAUTHENTICATED", 404: "NOT_FOUND", 408: "DEADLINE_EXCEEDED", 429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
PROBES = ("ServerLive", "ServerReady", "Check")    # need no token
CHANGES = {"RepositoryModelLoad": "load", "RepositoryModelUnload": "unload"}       # need the admin token
LATENCY = 0.1                                      # seconds: a client that leaves so near its deadline has reached it
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """One call, with the seconds that its client still waits."""

    service: Service
    context: RequestContext
    permit: Permit
    message: Any
    seconds: float

    def model(self) -> ModelWorker:
        """Return the model that the message names. Raises ApiError."""
        return self.service.find_model(self.message.name, self.context, self.message.version)

TRACE_HEADERS = {"traceparent", "tracestate", "user-agent"}


class Rpcs:
    """The calls of one service; ``handlers`` of each gRPC service by its name."""

    def __init__(self, service: Service) -> None:
        self._service, self._ids, self._reading = service, RequestIds(), Counter[bool]()
        self.handlers = {
            INFERENCE: {method: self._handler(INFERENCE, method) for method in (*DOCUMENTS, *CHANGES, "ModelInfer")},
            HEALTH: {"Check": self._handler(HEALTH, "Check"), "Watch": watch_handler(service)},
        }

    def _handler(self, service: str, method: str) -> Any:
        """Return gRPC's handler of a method: it reads, answers, and turns exceptions into status codes."""
        request_class, response_class = message_classes(service, method)
        make_document = DOCUMENTS.get(method, _check)

        async def handle(_messages: object, rpc: Any) -> bytes | None:
            metadata = dict(rpc.invocation_metadata())
            context = RequestContext(self._ids.choose(str(metadata.get("x-request-id", ""))))
            context.label_header = metadata.get(LABEL_HEADER.lower())
            context.route, client = f"/{service}/{method}", _host(rpc.peer())
            rpc.set_trailing_metadata((("x-request-id", context.id),))
            try:
                check_repeated(name.encode() for name, _ in rpc.invocation_metadata())
                if method not in PROBES:
                    header = str(metadata.get("authorization", ""))
                    check_authorization(header, self._service.settings, method in CHANGES)
                admission = self._service.admission
                with admission.admit(context) if method == "ModelInfer" else Permit(admission, context) as permit:
                    message = await self._read(rpc, request_class, permit)
                    call = Call(self._service, context, permit, message, _seconds_left(rpc))
                    if method == "ModelInfer":
                        response = await model_infer(call)
                    elif method in CHANGES:
                        await _change_model(call, CHANGES[method])
                        response = response_class()
                    else:
                        response = ParseDict(make_document(call), response_class())
                return bytes(response.SerializeToString())
            except asyncio.CancelledError:
                context.error_kind = "deadline" if _seconds_left(rpc) < LATENCY else "gone"
                raise
            except Exception as error:
                await _abort(rpc, error, context)
                return None
            finally:
                headers = [(name.encode(), str(metadata[name]).encode()) for name in TRACE_HEADERS & {*metadata}]
                scope: dict[str, Any] = {"type": "grpc", "client": (client,), "headers": headers}
                scope |= {"method": "POST", "path": context.route}
                report_response(self._service, scope, context, ERROR_STATUS.get(context.error_kind, 200))

        return grpc.stream_unary_rpc_method_handler(handle)

    async def _read(self, rpc: Any, kind: Any, permit: Permit) -> Any:
        """Return the message of a call.

        Raises ApiError, also while as many other clients send a message as images fit into the queue.
        """
        settings, is_probe = self._service.settings, permit.context.route.endswith(PROBES)
        if self._reading[is_probe] >= settings.capacity:       # of each kind, so that neither shuts out the other
            raise ApiError("full", f"the limit on uploads is reached ({self._reading[is_probe]})", "retry after 1 s")
        self._reading[is_probe] += 1
        try:
            async with asyncio.timeout(settings.upload_deadline):
                data = await rpc.read()
                if data is not grpc.aio.EOF:
                    permit.add_bytes(len(data))
                    if await rpc.read() is not grpc.aio.EOF:
                        raise ApiError("request", "the call has more than one message", "send one")
        except TimeoutError:
            message = f"the message was not received within {settings.upload_deadline:g} seconds"
            raise ApiError("slow", message, "send fewer or smaller images") from None
        finally:
            self._reading[is_probe] -= 1
        if data is grpc.aio.EOF:
            # gRPC cancels this task within this time if the client left, or if it refused a message as too large.
            await asyncio.sleep(LATENCY)
            raise ApiError("request", "the call has no message", "send one")
        return parse_message(kind, data)


async def _abort(rpc: Any, error: Exception, context: RequestContext) -> None:
    """End a call with the status of an error."""
    api_error = as_api_error(error)
    context.error_kind = api_error.kind
    if api_error.kind == "fault":
        _log.error("request %s failed", context.id, exc_info=error)
    code = grpc.StatusCode[STATUS_CODES.get(ERROR_STATUS[api_error.kind], "INVALID_ARGUMENT")]
    await rpc.abort(code, api_error.line)


def _seconds_left(rpc: Any) -> float:
    """Return the seconds to the client's deadline."""
    seconds = rpc.time_remaining()
    return math.inf if seconds is None else float(seconds)


def _host(peer: str) -> str:
    """Return the address in gRPC's name of a client: ipv4:127.0.0.1:50000, or ipv6:%5B::1%5D:50000."""
    return unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]")


async def model_infer(call: Call) -> Any:
    """``ModelInfer``"""
    service, message, most = call.service, call.message, call.service.settings.images_per_request
    model = service.find_model(message.model_name, call.context, message.model_version)
    side, outputs = model.classifier.card.preprocess.crop, protocol.outputs_of(model.classifier)
    end = call.context.seconds + min(call.seconds, service.settings.deadline)

    def parse() -> protocol.InferenceRequest:
        return protocol.parse_document(*request_document(message, most), side, most, outputs)

    parsed = await parse_in_turn(service, message.ByteSize() - sum(map(len, message.raw_input_contents)), parse)
    values = await infer_request(service, model, parsed, call.permit, seconds=end - call.context.seconds)
    return response_message(parsed, model.name, output_tensors(parsed, values, model.classifier.labels))


async def _change_model(call: Call, verb: str) -> None:
    if call.service.settings.admin_token is None:
        raise route_error("POST", f"/v2/repository/models/{call.message.model_name}/{verb}")
    call.service.admission.check_draining()
    _check_repository(call)
    await change_model(call.service, verb, call.message.model_name, call.message.parameters)


def _check_repository(call: Call) -> None:
    if name := call.message.repository_name:
        raise ApiError("model", f"no repository called {name[:80]!r}", "leave repository_name out: there is one only")


def _index(call: Call) -> dict[str, Any]:
    _check_repository(call)
    return {"models": index_documents(call.service, call.message.ready)}


def _check(call: Call) -> dict[str, Any]:
    name = call.message.service
    if (answer := status(call.service, name)) == "SERVICE_UNKNOWN":
        raise ApiError("model", f"no model called {name[:80]!r}", "give the name of a model, or none for the server")
    return {"status": answer}


def _server_metadata(call: Call) -> dict[str, Any]:
    return protocol.server_metadata(__version__, call.service.settings.admin_token is not None)


def _model_ready(call: Call) -> dict[str, Any]:
    try:
        call.model()
    except ApiError as error:                      # a client may wait for a model: no error, as in Triton
        if error.kind not in ("model", "loading"):
            raise
        return {"ready": False}
    return {"ready": call.service.ready}


def _model_metadata(call: Call) -> dict[str, Any]:
    model = call.model()
    return protocol.model_metadata(model.name, model.classifier, call.service.versions[split_name(model.name)[0]])


def _model_config(call: Call) -> dict[str, Any]:
    model, most = call.model(), call.service.settings.images_per_request
    return {"config": protocol.model_config(model.name, model.classifier, most)}


def _statistics(call: Call) -> dict[str, Any]:
    return call.service.statistics_document(call.message.name or None, call.message.version, call.context)


# Method -> the document of its response.
DOCUMENTS: dict[str, Callable[[Call], dict[str, Any]]] = {
    "ServerLive": lambda call: {"live": True},
    "ServerReady": lambda call: {"ready": call.service.ready},
    "ServerMetadata": _server_metadata,
    "ModelReady": _model_ready,
    "ModelMetadata": _model_metadata,
    "ModelConfig": _model_config,
    "ModelStatistics": _statistics,
    "RepositoryIndex": _index,
}
