"""Errors of the API and their HTTP responses (RFC 9457; the v2 routes have a form of their own)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

from wideresnet.errors import ImageError, WrnError

# Error kind, as metrics, logs and problem types name it -> HTTP status.
ERROR_STATUS = {
    "picture": 400, "request": 400, "load": 400, "token": 401, "model": 404, "route": 404, "method": 405, "slow": 408,
    "large": 413, "type": 415, "host": 421, "parameters": 422, "full": 429,
    "gone": 499,                                   # nginx's code for a client that disconnected; nobody reads it
    "fault": 500, "loading": 503, "draining": 503, "deadline": 504,
}  # fmt: skip
_CLOSE_CONNECTION = {"slow", "large"}              # the rest of the body is not read
_RETRY_AFTER = {"full": "1", "loading": "1", "draining": "5"}  # seconds


class ApiError(WrnError):
    """A request that is refused or failed; ``kind`` is a key of ``ERROR_STATUS``."""

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.kind = kind

    def __reduce__(self) -> tuple[type[WrnError], tuple[str, ...]]:
        return type(self), (self.kind, self.message, self.hint)


_INTERNAL_ERROR = ApiError("fault", "internal server error", "search the server's log for the request's id")


def as_api_error(error: Exception) -> ApiError:
    """Return ``error`` as an ApiError: images are the client's fault, everything unforeseen is the server's."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ImageError):
        return ApiError("picture", error.message, error.hint)
    return ApiError("fault", error.message, error.hint) if isinstance(error, WrnError) else _INTERNAL_ERROR


def problem_response(error: ApiError, path: str, members: Mapping[str, Any] | None = None) -> Response:
    """Return the response for ``error`` on ``path``; ``members`` are added to the problem document."""
    status = ERROR_STATUS[error.kind]
    headers = {"Connection": "close"} if error.kind in _CLOSE_CONNECTION else {}
    if error.kind in _RETRY_AFTER:
        headers["Retry-After"] = _RETRY_AFTER[error.kind]
    if error.kind == "token":
        headers["WWW-Authenticate"] = "Bearer"
    if path == "/v2" or path.startswith("/v2/"):
        return JSONResponse({"error": error.line}, status, headers)
    document = {
        "type": f"urn:wideresnet:problem:{error.kind}",
        "title": "Client Closed Request" if status == 499 else HTTPStatus(status).phrase,
        "status": status, "detail": error.message, "hint": error.hint, **(members or {}),
    }  # fmt: skip
    return JSONResponse(document, status, headers, media_type="application/problem+json")
