"""The routes, each thin: read the request, let threads work, render the answer."""

from __future__ import annotations

import asyncio
import gzip
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Lifespan

from wideresnet import __version__
from wideresnet.logits import top_k
from wideresnet.records import Labels
from wideresnet.report.escape import json_text
from wideresnet.serve import protocol
from wideresnet.serve.admission import Visit
from wideresnet.serve.explain import MAX_MAPS, Wanted, wanted_classes
from wideresnet.serve.http.errors import ApiError, problem, refused
from wideresnet.serve.http.middleware import OPEN, RequestMiddleware
from wideresnet.serve.http.openapi import openapi, page_of
from wideresnet.serve.http.request_body import hint_for, inflate, read_images, read_whole
from wideresnet.serve.http.request_checks import PARAMETERS, check_query, no_route, wrong_method
from wideresnet.serve.http.static_files import FILES, POLICY, read_file
from wideresnet.serve.metrics import CONTENT_TYPE
from wideresnet.serve.service import Service
from wideresnet.serve.worker import STAGES, ModelWorker

Handler = Callable[[Service, Request, Visit], Awaitable[Response]]

MAX_K = 100
MAX_BATCH = 8                                      # of a tensor's images: several streams share a larger one
_WORTH_COMPRESSING = 1024                          # bytes
_log = logging.getLogger(__name__)


def make_app(service: Service, lifespan: Lifespan[Starlette] | None = None) -> ASGIApp:
    """The service as an ASGI application; whoever runs it loads the models."""
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/healthz", health),
        ("GET", "/metrics", metrics),
        ("GET", "/openapi.json", description),
        ("GET", "/docs", page),
        ("GET", "/v1/models", models),
        ("POST", "/v1/classify", classify),
        *(("GET", path, file) for path in FILES),
        ("GET", "/v2", metadata),
        ("GET", "/v2/health/live", live),
        ("GET", "/v2/health/ready", all_ready),
        ("POST", "/v2/repository/index", repository_index),
        ("GET", "/v2/models/stats", statistics),
    ]
    if service.settings.explain:
        table.append(("POST", "/v1/explain", explain))
    for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        table += [("GET", model, model_metadata), ("GET", f"{model}/ready", model_ready)]
        table += [("GET", f"{model}/config", model_config), ("GET", f"{model}/stats", statistics)]
        table += [("POST", f"{model}/infer", infer)]
    routes = [Route(path, _served(service, path, handler), methods=[method]) for method, path, handler in table]
    starlette = Starlette(routes=routes, exception_handlers={HTTPException: _no_route}, lifespan=lifespan)
    starlette.router.redirect_slashes = False
    app: ASGIApp = RequestMiddleware(starlette, service)
    if service.settings.cors:
        app = CORSMiddleware(app, allow_origins=service.settings.cors, allow_methods=["*"], allow_headers=["*"])
    return app


def _served(service: Service, path: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """``handler`` with every exception made an answer, and what the request holds given back before that is sent."""

    async def endpoint(request: Request) -> Response:
        visit: Visit = request.scope["visit"]
        visit.route = path
        try:
            if path not in OPEN:
                check_query(path, request.query_params)
            return await handler(service, request, visit)
        except Exception as error:
            found = refused(error)
            visit.kind = found.kind
            if found.kind == "fault":
                _log.error("request %s failed", visit.id, exc_info=error)
            return problem(found, request.url.path)
        finally:
            visit.leave()

    return endpoint


async def _no_route(request: Request, error: Exception) -> Response:
    """Starlette's own: no such path, or not this method."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = sorted((error.headers or {}).get("Allow", "").split(", "))
        found = wrong_method(request.method, request.url.path, allowed)
        answer = problem(found, request.url.path)
        answer.headers["Allow"] = ", ".join(allowed)
    else:
        found = no_route(request.method, request.url.path)
        answer = problem(found, request.url.path)
    request.scope["visit"].kind = found.kind
    return answer


async def classify(service: Service, request: Request, visit: Visit) -> Response:
    """``POST /v1/classify``"""
    query = request.query_params
    model = service.model(query.get("model"), visit)
    answer = partial(_predictions, labels=model.labels(query.get("lang", "en")), k=_k(query.get("k", "5")))
    visit.enter()
    upload = await read_images(request, visit, service.settings, PARAMETERS[visit.route])
    read = visit.seconds
    outcomes = await service.work(model, [data for _, data in upload.files], answer, request, visit)
    results, failed = [], []
    for (name, data), outcome in zip(upload.files, outcomes, strict=True):
        if outcome.error is None:
            results.append({"name": name, "predictions": outcome.answer})
            continue
        error = _image_error(outcome.error, data)
        failed.append(error)
        results.append({"name": name, "error": error.message, "hint": error.hint})
    if failed:
        visit.kind = failed[0].kind
    if len(failed) == len(outcomes):
        return problem(failed[0], request.url.path, {"results": results} if len(results) > 1 else {})
    stages = {stage: max(outcome.seconds[stage] for outcome in outcomes) for stage in STAGES}
    times = {"read": read, **stages, "total": visit.seconds}
    milliseconds = {stage: round(1000 * seconds, 3) for stage, seconds in times.items()}
    return _json({"model": model.identity, "results": results, "milliseconds": milliseconds, **upload.document()})


def _k(text: str, most: int = MAX_K) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= most:
        raise ApiError("parameters", f"k must be a whole number from 1 to {most}, got {text[:20]!r}", "?k=5")
    return int(text)


def _predictions(logits: NDArray[np.float32], labels: Labels, k: int) -> list[dict[str, Any]]:
    """float32 [1, C] -> the k likeliest classes, likeliest first; ``id`` where the labels have ids (WordNet's)."""
    return [
        {
            "index": each.index,
            **({"id": labels.ids[each.index]} if labels.ids else {}),
            "label": each.label,
            "probability": each.probability,
        }
        for each in top_k(logits, labels, k)[0]
    ]


def _image_error(error: Exception, data: bytes) -> ApiError:
    """What is wrong with an image; whatever else went wrong is raised, and the end of the whole request."""
    found = refused(error)
    if found.kind == "fault":
        raise error
    return ApiError(found.kind, found.message, hint_for(data) or found.hint)


async def explain(service: Service, request: Request, visit: Visit) -> Response:
    """``POST /v1/explain``"""
    query = request.query_params
    model = service.model(query.get("model"), visit)
    labels, k = model.labels(query.get("lang", "en")), _k(query.get("k", "1"), MAX_MAPS)
    if "class" in query and "k" in query:
        raise ApiError("parameters", "k has no effect beside class", "leave out k")
    wanted = Wanted(wanted_classes(query.getlist("class"), model.classifier.labels), k, labels)
    visit.enter()
    upload = await read_images(request, visit, service.settings, PARAMETERS[visit.route])
    (_, image), *more = upload.files
    if more:
        words = f"one image is explained at a time, got {1 + len(more)}"
        raise ApiError("parameters", words, "send a request for each")
    read = visit.seconds
    visit.refuse_when_full(1)
    future = service.explainers.submit(model, image, wanted, visit)
    (outcome,) = await service.outcomes([future], model, request)
    if outcome.error is not None:
        raise _image_error(outcome.error, image)
    times = {"read": read, **outcome.seconds, "total": visit.seconds}
    milliseconds = {stage: round(1000 * seconds, 3) for stage, seconds in times.items()}
    return _json(
        {"model": model.identity, **(outcome.answer or {}), "milliseconds": milliseconds, **upload.document()}
    )


async def infer(service: Service, request: Request, visit: Visit) -> Response:
    """``POST /v2/models/M[/versions/V]/infer``"""
    model, settings = _model_of_path(service, request, visit), service.settings
    card, labels = model.classifier.card, model.classifier.labels
    visit.enter()
    body = await read_whole(request, visit, settings)
    if encoding := request.headers.get("content-encoding"):
        body = await asyncio.to_thread(inflate, body, encoding.lower(), settings.max_bytes)
        visit.carry(len(body))
    length = request.headers.get(protocol.HEADER_LENGTH)
    asked = await asyncio.to_thread(protocol.parse, body, length, card.preprocess.crop, settings.most_images)
    del body
    outcomes = await service.work(model, asked.parts(MAX_BATCH), lambda logits: logits, request, visit)
    for place, outcome in enumerate(outcomes):
        if outcome.error is not None:
            data = asked.source[place] if isinstance(asked.source, list) else b""
            error = _image_error(outcome.error, data)
            raise ApiError(error.kind, f"image {place}: {error.message}", error.hint)
    logits = np.concatenate([outcome.answer for outcome in outcomes if outcome.answer is not None])
    encodings = request.headers.get("accept-encoding", "")
    body, headers = await asyncio.to_thread(_rendered, asked, model.name, logits, labels, encodings)
    return Response(body, headers=headers)


def _rendered(
    asked: protocol.Asked, name: str, logits: NDArray[np.float32], labels: Labels, encodings: str
) -> tuple[bytes, dict[str, str]]:
    """The body of the answer, compressed where the client asks for that and it is worth it; and its headers."""
    body, headers = protocol.render(asked, name, logits, labels)
    accepted = {each.partition(";")[0].strip().lower() for each in encodings.split(",")}
    if len(body) < _WORTH_COMPRESSING or not accepted & {"gzip", "deflate"}:
        return body, headers
    if "gzip" in accepted:
        return gzip.compress(body, 1), headers | {"Content-Encoding": "gzip"}
    return zlib.compress(body, 1), headers | {"Content-Encoding": "deflate"}


async def models(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /v1/models``"""
    found = []
    for model in service.models.values():
        card = model.classifier.card
        more = {
            "classes": card.classes,
            "labels": card.labels_name or None,
            "languages": model.languages,
            "preprocess": asdict(card.preprocess),
            "licence": card.licence or None,
            "published": [asdict(each) for each in card.published],
            "measured": [asdict(each) for each in card.measured],
        }
        found.append(model.identity | more)
    default = next(iter(service.models), None)
    return _json({"default": default, "explain": service.settings.explain, "models": found})


async def file(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /``, and the files that the page consists of."""
    body, kind = read_file(visit.route)
    return Response(body, media_type=kind, headers={"Content-Security-Policy": POLICY})


async def health(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /healthz``: 200 as long as the process answers."""
    return _json({"status": "ok", "ready": service.ready})


async def metrics(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /metrics``"""
    return Response(service.metrics.page(), headers={"Content-Type": CONTENT_TYPE})


async def description(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /openapi.json``"""
    return _json(openapi(service.settings, tuple(service.models)))


async def page(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /docs``"""
    return HTMLResponse(page_of(openapi(service.settings, tuple(service.models))))


async def metadata(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /v2``"""
    return _json(protocol.server_metadata(__version__))


async def live(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /v2/health/live``"""
    return _json({"live": True})


async def all_ready(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /v2/health/ready``"""
    return _json({"ready": service.ready}, 200 if service.ready else 503)


async def model_metadata(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /v2/models/M[/versions/V]``"""
    model = _model_of_path(service, request, visit)
    return _json(
        protocol.model_metadata(model.name, model.classifier.card, model.classifier.engine.info.runtime)
    )


async def model_config(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /v2/models/M[/versions/V]/config``"""
    model, most = _model_of_path(service, request, visit), service.settings.most_images
    runtime = model.classifier.engine.info.runtime
    return _json(protocol.model_config(model.name, model.classifier.card, runtime, most))


async def statistics(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /v2/models[/M[/versions/V]]/stats``"""
    one = "model" in request.path_params
    models = [_model_of_path(service, request, visit)] if one else list(service.models.values())
    found = [{"name": each.name, "version": protocol.VERSION, **each.statistics.document()} for each in models]
    return _json({"model_stats": found})


async def repository_index(service: Service, request: Request, visit: Visit) -> Response:
    """``POST /v2/repository/index``"""
    ready = protocol.parse_index(await read_whole(request, visit, service.settings))
    state = {"state": "READY"} if service.ready else {"state": "UNAVAILABLE", "reason": "the service is about to end"}
    found = [{"name": name, "version": protocol.VERSION, **state} for name in service.models]
    return _json(found if service.ready or not ready else [])


async def model_ready(service: Service, request: Request, visit: Visit) -> Response:
    """``GET /v2/models/M[/versions/V]/ready``"""
    model = _model_of_path(service, request, visit)
    return _json({"name": model.name, "ready": service.ready}, 200 if service.ready else 503)


def _model_of_path(service: Service, request: Request, visit: Visit) -> ModelWorker:
    model = service.model(request.path_params["model"], visit)
    version = request.path_params.get("version", protocol.VERSION)
    if version != protocol.VERSION:
        message = f"{model.name} has no version {version[:20]!r}"
        raise ApiError("model", message, f"ask for /versions/{protocol.VERSION}")
    return model


def _json(document: Mapping[str, Any] | list[dict[str, str]], status: int = 200) -> Response:
    return Response(json_text(document), status, media_type="application/json")
