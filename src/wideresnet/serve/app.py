"""The routes. Each reads its request, lets threads work, and renders the response."""

from __future__ import annotations

import asyncio
import gzip
import logging
import math
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from wideresnet import __version__
from wideresnet.logits import top_k
from wideresnet.prediction_sets import add_uncertainty
from wideresnet.records import Batch, Labels, ModelCard, Prediction
from wideresnet.report.escape import json_text
from wideresnet.report.shadow import to_html
from wideresnet.serve import protocol
from wideresnet.serve.admission import RequestContext
from wideresnet.serve.explain import MAX_MAPS, MapSelection, parse_classes
from wideresnet.serve.http.errors import ApiError, as_api_error, problem_response
from wideresnet.serve.http.middleware import PUBLIC_PATHS, RequestMiddleware
from wideresnet.serve.http.openapi import openapi_document, render_docs
from wideresnet.serve.http.request_body import inflate, read_body, read_images
from wideresnet.serve.http.request_checks import PARAMETERS, check_query, method_error, parse_number, route_error
from wideresnet.serve.http.static_files import PAGE_POLICY, STATIC_FILES, read_static_file
from wideresnet.serve.inference import image_error, infer_request, parse_coverage, parse_in_turn
from wideresnet.serve.jobs import Outcome
from wideresnet.serve.metrics import CONTENT_TYPE
from wideresnet.serve.repository_routes import load_or_unload, repository_index
from wideresnet.serve.responses import Outputs, render_response
from wideresnet.serve.service import Service
from wideresnet.serve.versions import split_name
from wideresnet.serve.worker import ModelWorker, describe_class
from wideresnet.serve.worker_metrics import render_sum

Handler = Callable[[Service, Request, RequestContext], Awaitable[Response]]

MAX_K = 100
_MIN_COMPRESSED = 1024                             # bytes; shorter responses are not compressed
_log = logging.getLogger(__name__)


def make_app(service: Service, lifespan: Lifespan[Any] | None = None) -> ASGIApp:
    """Return the service as an ASGI application. The caller loads the models."""
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/healthz", health),
        ("GET", "/metrics", metrics),
        ("GET", "/openapi.json", openapi_json),
        ("GET", "/docs", docs),
        ("GET", "/v1/models", models),
        ("POST", "/v1/classify", classify),
        *(("GET", path, static_file) for path in STATIC_FILES),
        ("GET", "/v2", server_metadata),
        ("GET", "/v2/health/live", server_live),
        ("GET", "/v2/health/ready", server_ready),
        ("POST", "/v2/repository/index", repository_index),
        ("GET", "/v2/models/stats", statistics),
    ]
    if service.shadow:
        table.append(("GET", "/shadow", shadow_page))
    if service.settings.explain:
        table.append(("POST", "/v1/explain", explain))
    if service.settings.admin_token is not None:
        for verb in "load", "unload":
            table.append(("POST", f"/v2/repository/models/{{model:path}}/{verb}", partial(load_or_unload, verb=verb)))
    for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        table += [("GET", model, model_metadata), ("GET", f"{model}/ready", model_ready)]
        table += [("GET", f"{model}/config", model_config), ("GET", f"{model}/stats", statistics)]
        table += [("POST", f"{model}/infer", infer)]
    return RequestMiddleware(Routes(service, table, lifespan), service)


class Routes:
    """An ASGI application: a path without parameters is looked up, others and errors are left to Starlette's router."""

    def __init__(
        self, service: Service, table: Sequence[tuple[str, str, Handler]], lifespan: Lifespan[Any] | None
    ) -> None:
        self._endpoints = {(method, path): Endpoint(service, path, handler) for method, path, handler in table}
        self.routes = [Route(path, endpoint, methods=[method]) for (method, path), endpoint in self._endpoints.items()]
        self._router = Router(self.routes, redirect_slashes=False, lifespan=lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan."""
        is_http = scope["type"] == "http"
        if is_http and (endpoint := self._endpoints.get((scope["method"], scope["path"]))):
            await endpoint(scope, receive, send)
            return
        scope["app"] = self                        # the router then raises what it does not route
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            await _routing_error(Request(scope), error)(scope, receive, send)


class Endpoint:
    """An ASGI application that checks the query, runs ``handler``, and turns exceptions into responses."""

    def __init__(self, service: Service, path: str, handler: Handler) -> None:
        self._service, self._path, self._handler = service, path, handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        context: RequestContext = scope["context"]
        request, context.route = Request(scope, receive, send), self._path
        try:
            if scope["query_string"] and self._path not in PUBLIC_PATHS:
                check_query(self._path, request.query_params)
            response = await self._handler(self._service, request, context)
        except Exception as error:
            api_error = as_api_error(error)
            context.error_kind = api_error.kind
            if api_error.kind == "fault":
                _log.error("request %s failed", context.id, exc_info=error)
            response = problem_response(api_error, request.url.path)
        await response(scope, receive, send)


def _routing_error(request: Request, error: HTTPException) -> Response:
    """Return the response where there is no route, or the route does not take the method."""
    method, path = request.method, request.url.path
    if error.status_code == 405:
        allowed = sorted((error.headers or {}).get("Allow", "").split(", "))
        api_error, headers = method_error(method, path, allowed), {"Allow": ", ".join(allowed)}
    else:
        api_error, headers = route_error(method, path), {}
    request.scope["context"].error_kind = api_error.kind
    response = problem_response(api_error, path)
    response.headers.update(headers)
    return response


async def classify(service: Service, request: Request, context: RequestContext) -> Response:
    """``POST /v1/classify``"""
    query = request.query_params
    model = service.find_model(query.get("model"), context)
    labels, k = model.labels(query.get("lang", "en")), _parse_k(query.get("k", "5"), MAX_K)
    coverage = parse_coverage(query.get("coverage"), model, "?coverage=95")
    with service.admission.admit(context) as permit:
        upload = await read_images(request, permit, service.settings, PARAMETERS[context.route])
        read_seconds = context.seconds
        images = [data for _, data in upload.files]
        answer = partial(_answer, labels=labels, k=k, card=model.classifier.card, coverage=coverage)
        outcomes = await service.infer(model, images, answer, request, permit)
    results, errors = [], []
    for (name, data), outcome in zip(upload.files, outcomes, strict=True):
        if outcome.error is None:
            results.append({"name": name, **(outcome.result or {})})
            continue
        error = image_error(outcome.error, data)
        errors.append(error)
        results.append({"name": name, "error": error.message, "hint": error.hint})
    if errors:
        context.error_kind = errors[0].kind
    if len(errors) == len(outcomes):
        return problem_response(errors[0], request.url.path, {"results": results} if len(results) > 1 else {})
    times = _milliseconds(context, read_seconds, outcomes)
    rest = json_text({"results": results, "milliseconds": times, **upload.response_members()})
    return Response(f'{{"model": {model.identity_json}, {rest[1:]}', media_type="application/json")


def _parse_k(text: str, maximum: int) -> int:
    if not (k := parse_number(text, maximum)):
        raise ApiError("parameters", f"k must be an integer from 1 to {maximum}, got {text[:20]!r}", "?k=5")
    return k


def _answer(
    logits: NDArray[np.float32], batch: Batch, labels: Labels, k: int, card: ModelCard, coverage: float
) -> dict[str, Any]:
    """float32 [1, C] -> the k likeliest classes, likeliest first, and the members of cascades and calibrated models."""
    (scores,) = top_k(logits, labels, k)
    document: dict[str, Any] = {"predictions": [describe_class(score, labels) for score in scores]}
    if card.cascade and batch.members is not None:
        document["passed_on"] = int(batch.members[0]) == len(card.cascade.members) - 1
    if card.uncertainty is None:
        return document
    (answer,) = add_uncertainty([Prediction("", scores)], batch, logits, labels, card.uncertainty, coverage)
    members = {"set": answer.set} if answer.set is not None else {}
    return document | {"p_known": answer.p_known, "unknown": answer.unknown} | members


def _milliseconds(context: RequestContext, read_seconds: float, outcomes: Sequence[Outcome[Any]]) -> dict[str, float]:
    """Return the times of a response; of several images the longest of each stage."""
    names = dict.fromkeys(stage for outcome in outcomes for stage in outcome.seconds)
    stages = {stage: max(outcome.seconds.get(stage, 0.0) for outcome in outcomes) for stage in names}
    times = {"read": read_seconds, **stages, "total": context.seconds}
    return {stage: round(1000 * seconds, 3) for stage, seconds in times.items()}


async def explain(service: Service, request: Request, context: RequestContext) -> Response:
    """``POST /v1/explain``"""
    query = request.query_params
    model = service.find_model(query.get("model"), context)
    labels, k = model.labels(query.get("lang", "en")), _parse_k(query.get("k", "1"), MAX_MAPS)
    if model.classifier.card.cascade:
        raise ApiError("parameters", f"no maps of {model.name}: it is a cascade", "name one of its members")
    if pool := model.classifier.card.variant.get("pool"):
        raise ApiError("parameters", f"no maps of {model.name}: its pooling is {pool}", "name a model with pool avg")
    if "class" in query and "k" in query:
        raise ApiError("parameters", "k has no effect beside class", "leave out k")
    if context.label_header is not None:
        raise ApiError("parameters", "X-Label would have no effect: maps are not compared", "send it without X-Label")
    selection = MapSelection(parse_classes(query.getlist("class"), model.classifier.labels), k, labels)
    with service.admission.admit(context) as permit:
        upload = await read_images(request, permit, service.settings, PARAMETERS[context.route])
        if len(upload.files) > 1:
            raise ApiError("parameters", f"one image per request, got {len(upload.files)}", "send a request for each")
        read_seconds, ((_, image),) = context.seconds, upload.files
        future = service.explanations.submit(model, image, selection, permit)
        (outcome,) = await service.wait_for([future], model, request)
    if outcome.error is not None:
        raise image_error(outcome.error, image)
    document = {"model": model.identity, **(outcome.result or {}), **upload.response_members()}
    return _json({**document, "milliseconds": _milliseconds(context, read_seconds, [outcome])})


async def infer(service: Service, request: Request, context: RequestContext) -> Response:
    """``POST /v2/models/M[/versions/V]/infer``"""
    model, settings = _find_model_of_path(service, request, context), service.settings
    with service.admission.admit(context) as permit:
        body = await read_body(request, permit, settings)
        end = context.seconds + settings.deadline
        if (encoding := request.headers.get("content-encoding", "").lower()) not in ("", "identity"):
            body = await asyncio.to_thread(inflate, body, encoding, settings.max_bytes)
            permit.add_bytes(len(body))
        parsed = await _parse(service, body, request.headers.get(protocol.HEADER_LENGTH), model)
        del body
        outputs = await infer_request(service, model, parsed, permit, request, end - context.seconds)
        encodings = request.headers.get("accept-encoding", "")
        body, headers = await asyncio.to_thread(_render_outputs, parsed, model, outputs, encodings)
        return Response(body, headers=headers)


async def _parse(service: Service, body: bytes, length: str | None, model: ModelWorker) -> protocol.InferenceRequest:
    size = len(body) if length is None else parse_number(length, len(body)) or 0
    side, outputs = model.classifier.card.preprocess.crop, protocol.outputs_of(model.classifier)
    most = service.settings.images_per_request
    return await parse_in_turn(service, size, lambda: protocol.parse_request(body, length, side, most, outputs))


def _render_outputs(
    parsed: protocol.InferenceRequest, model: ModelWorker, outputs: Outputs, encodings: str
) -> tuple[bytes, dict[str, str]]:
    """Return the response's body and headers, compressed where the client accepts that and it pays off."""
    body, headers = render_response(parsed, model.name, outputs, model.classifier.labels)
    offers = [offer.lower().replace(" ", "").partition(";q=") for offer in encodings.split(",")]
    accepted = {name for name, _, quality in offers if not quality or quality.strip("0.")}     # q=0: not acceptable
    if len(body) < _MIN_COMPRESSED or not accepted & {"gzip", "deflate"}:
        return body, headers
    if "gzip" in accepted:
        return gzip.compress(body, 1), headers | {"Content-Encoding": "gzip"}
    return zlib.compress(body, 1), headers | {"Content-Encoding": "deflate"}


async def models(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /v1/models``"""
    documents = []
    for model in service.models.values():
        card = model.classifier.card
        details = {
            "classes": card.classes, "labels": card.labels_name or None, "languages": model.languages,
            "preprocess": asdict(card.preprocess), "licence": card.licence or None,
            "published": [asdict(accuracy) for accuracy in card.published],
            "measured": [asdict(accuracy) for accuracy in card.measured],
        }  # fmt: skip
        if calibration := card.uncertainty:
            largest = min(99.9, math.floor(1000 * calibration.sets.n / (calibration.sets.n + 1)) / 10)
            details["calibration"] = {
                "data": calibration.test, "n": calibration.n_test, "ece": calibration.after.ece,
                "refused": calibration.unknown.refused, "max_coverage": largest,
            }  # fmt: skip
        documents.append(model.identity | details)
    default = next((model.name for model in service.versions.get(service.default or "", {}).values()), None)
    return _json({"default": default, "explain": service.settings.explain, "models": documents})


async def static_file(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /`` and the files of the page"""
    body, media_type = read_static_file(context.route)
    return Response(body, media_type=media_type, headers={"Content-Security-Policy": PAGE_POLICY})


async def health(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /healthz``: 200 as long as the process responds"""
    return _json({"status": "ok", "ready": service.ready})


async def metrics(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /metrics``"""
    folder = service.settings.figures
    content = render_sum(service.metrics, folder) if folder else service.metrics.render()
    return Response(content, headers={"Content-Type": CONTENT_TYPE})


async def shadow_page(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /shadow``"""
    if not service.shadow:
        raise ApiError("route", "no model has a shadow")
    report, labels = service.shadow.report, service.shadow.labels
    labels = labels or service.find_model(report.models[0], context).classifier.labels      # 503 while models load
    return HTMLResponse(await asyncio.to_thread(to_html, report, labels))


async def openapi_json(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /openapi.json``"""
    return _json(openapi_document(service.settings, tuple(service.versions)))


async def docs(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /docs``"""
    document = openapi_document(service.settings, tuple(service.versions))
    return HTMLResponse(render_docs(document, str(request.base_url)))


async def server_metadata(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /v2``"""
    return _json(protocol.server_metadata(__version__, service.settings.admin_token is not None))


async def server_live(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /v2/health/live``"""
    return _json({"live": True})


async def server_ready(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /v2/health/ready``"""
    return _json({"ready": service.ready}, 200 if service.ready else 503)


async def model_metadata(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /v2/models/M[/versions/V]``"""
    model = _find_model_of_path(service, request, context)
    return _json(protocol.model_metadata(model.name, model.classifier, service.versions[request.path_params["model"]]))


async def model_config(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /v2/models/M[/versions/V]/config``"""
    model = _find_model_of_path(service, request, context)
    return _json(protocol.model_config(model.name, model.classifier, service.settings.images_per_request))


async def statistics(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /v2/models[/M[/versions/V]]/stats``"""
    path = request.path_params
    return _json(service.statistics_document(path.get("model"), path.get("version"), context))


async def model_ready(service: Service, request: Request, context: RequestContext) -> Response:
    """``GET /v2/models/M[/versions/V]/ready``"""
    model = _find_model_of_path(service, request, context)
    return _json({"name": split_name(model.name)[0], "ready": service.ready}, 200 if service.ready else 503)


def _find_model_of_path(service: Service, request: Request, context: RequestContext) -> ModelWorker:
    return service.find_model(request.path_params["model"], context, request.path_params.get("version"))


def _json(document: Mapping[str, Any], status: int = 200) -> Response:
    return Response(json_text(document), status, media_type="application/json")
