"""Requests that are not served, and how HTTP is told (RFC 9457; the v2 routes have a form of their own)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

from wideresnet.errors import ImageError, WrnError

# What can go wrong -> HTTP's status. The names stand in metrics, logs and problem types.
KINDS = {
    "picture": 400,
    "request": 400,
    "token": 401,
    "model": 404,
    "route": 404,
    "method": 405,
    "slow": 408,
    "large": 413,
    "type": 415,
    "parameters": 422,
    "full": 429,
    "gone": 499,                                   # nginx's, for a client that did not wait; nobody reads it
    "fault": 500,
    "loading": 503,
    "draining": 503,
    "deadline": 504,
}
# The rest of the body is not read.
_CUT_OFF = {"slow", "large"}
_LATER = {"full": "1", "loading": "1", "draining": "5"}     # seconds


class ApiError(WrnError):
    """A request that is not served; ``kind`` is one of ``KINDS``."""

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.kind = kind

    def __reduce__(self) -> tuple[type[WrnError], tuple[str, ...]]:
        return type(self), (self.kind, self.message, self.hint)


FAULT = ApiError("fault", "the service failed at this request", "its log says more under the request's id")


def refused(error: Exception) -> ApiError:
    """Any exception as what the client is told: images are the client's, all that is unforeseen is ours."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ImageError):
        return ApiError("picture", error.message, error.hint)
    return ApiError("fault", error.message, error.hint) if isinstance(error, WrnError) else FAULT


def problem(error: ApiError, path: str, more: Mapping[str, Any] | None = None) -> Response:
    """The answer for ``error`` on the route ``path``; ``more`` are further members of the document."""
    status = KINDS[error.kind]
    headers = {"Connection": "close"} if error.kind in _CUT_OFF else {}
    if error.kind in _LATER:
        headers["Retry-After"] = _LATER[error.kind]
    if error.kind == "token":
        headers["WWW-Authenticate"] = "Bearer"
    if path == "/v2" or path.startswith("/v2/"):
        words = f"{error.message} ({error.hint})" if error.hint else error.message
        return JSONResponse({"error": words}, status, headers)
    document = {
        "type": f"urn:wideresnet:problem:{error.kind}",
        "title": "Client Closed Request" if status == 499 else HTTPStatus(status).phrase,
        "status": status,
        "detail": error.message,
        "hint": error.hint,
        **(more or {}),
    }
    return JSONResponse(document, status, headers, media_type="application/problem+json")
