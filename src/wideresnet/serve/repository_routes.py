"""Triton's model repository extension: its routes, and what they share with gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from wideresnet.report.escape import json_text
from wideresnet.serve.admission import Permit, RequestContext
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.http.request_body import read_body
from wideresnet.serve.protocol import parse_json
from wideresnet.serve.service import Service
from wideresnet.serve.versions import name_and_version, split_name


def parse_index_request(body: bytes) -> bool:
    """Return whether ``POST /v2/repository/index`` asks for ready models only. Raises ApiError."""
    return bool(_parse_member(body[:1000], "ready", False, 'send {"ready": true}, or no body'))


def _parse_member(body: bytes, name: str, default: object, hint: str) -> Any:
    """Return the only member of a JSON object, ``default`` without one; a ``body`` that is cut is refused.

    Raises ApiError, also where the member is of another type than ``default``.
    """
    document = parse_json(body or b"{}", hint)
    if not isinstance(document, dict) or {*document} - {name} or type(document.get(name, default)) is not type(default):
        raise ApiError("request", "invalid request", hint)
    return document.get(name, default)


async def repository_index(service: Service, request: Request, context: RequestContext) -> Response:
    """``POST /v2/repository/index``"""
    with Permit(service.admission, context) as permit:
        only_ready = parse_index_request(await read_body(request, permit, service.settings))
    return Response(json_text(index_documents(service, only_ready)), media_type="application/json")


def index_documents(service: Service, only_ready: bool) -> list[dict[str, str]]:
    """Return name, version and state of the models."""
    documents, repository = [], service.repository
    for name in dict.fromkeys((*service.models, *repository.names(), *repository.refused)):
        ready = service.ready and name in service.models
        reason = "the server is shutting down" if service.admission.draining else repository.reason(name)
        state = {"state": "READY" if ready else "UNAVAILABLE"} | ({"reason": reason} if reason else {})
        if ready or not only_ready:
            documents.append(name_and_version(name) | state)
    return documents


async def load_or_unload(service: Service, request: Request, context: RequestContext, verb: str) -> Response:
    """``POST /v2/repository/models/M/load`` or ``/unload``, which is the ``verb``"""
    service.admission.check_draining()
    with Permit(service.admission, context) as permit:
        body = await read_body(request, permit, service.settings)
        parameters = _parse_member(body[:10_000], "parameters", {}, 'send {"parameters": {}}, or no body')
        await change_model(service, verb, request.path_params["model"], parameters)
    return Response("{}", media_type="application/json")


async def change_model(service: Service, verb: str, name: str, parameters: Collection[str]) -> None:
    """Load or unload a model, as ``verb`` says; a client that disconnects does not end it. Raises ApiError."""
    # No model depends on another: there is nothing to unload with it.
    if unknown := {*parameters} - ({"unload_dependents"} if verb == "unload" else set()):
        message = f"the parameter {min(unknown)[:80]!r} is not supported"
        raise ApiError("parameters", message, "leave it out: a bundle has all settings of its model")
    if "/" in name:
        message = f"{name[:80]!r} is no name of a model, whose versions are loaded and unloaded together"
        raise ApiError("model", message, f"{verb} {split_name(name)[0][:80]!r}")
    repository = service.repository
    change = repository.load_model if verb == "load" else repository.unload_model
    await asyncio.shield(asyncio.ensure_future(change(name)))
