"""The routes of Triton's model repository extension."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from wideresnet.report.escape import json_text
from wideresnet.serve.admission import Permit, RequestContext
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.http.request_body import read_body
from wideresnet.serve.service import Service
from wideresnet.serve.versions import name_and_version


class _IndexRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    ready: bool = False


def parse_index_request(body: bytes) -> bool:
    """Return whether ``POST /v2/repository/index`` asks for ready models only. Raises ApiError."""
    try:
        # A longer body is cut and so refused: pydantic makes an error object for each unknown member.
        return _IndexRequest.model_validate_json(body[:1000] or b"{}").ready
    except ValidationError as error:
        raise ApiError("request", "invalid index request", 'send {"ready": true}, or no body') from error


async def repository_index(service: Service, request: Request, context: RequestContext) -> Response:
    """``POST /v2/repository/index``"""
    with Permit(service.admission, context) as permit:
        only_ready = parse_index_request(await read_body(request, permit, service.settings))
    state = {"state": "READY"} if service.ready else {"state": "UNAVAILABLE", "reason": "the server is shutting down"}
    documents = [name_and_version(name) | state for name in service.models]
    return Response(json_text(documents if service.ready or not only_ready else []), media_type="application/json")
