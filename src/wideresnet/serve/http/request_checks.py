"""Checks of a request before its handler runs: the Host header, the query, and errors where no route matches."""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Iterable, Sequence

from starlette.datastructures import QueryParams
from starlette.types import Scope

from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.settings import ServeSettings

# The query parameters of each route; other routes take none. Public pages are not checked: links in browsers add
# parameters of their own.
PARAMETERS = {"/v1/classify": ("k", "model", "lang", "coverage"), "/v1/explain": ("class", "k", "model", "lang")}
CONTROL = "/v2/repository/models/"                 # of paths that need the admin token
PROBES = {"/healthz", "/v2/health/live", "/v2/health/ready"}
_REPEATABLE = {"class"}
_SINGLE = {b"authorization", b"content-encoding", b"inference-header-content-length", b"x-label"}    # of headers
_HOST = re.compile(r"(\[[0-9A-Za-z.:%~_-]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")     # RFC 3986, 3.2.2
_UPLOAD = "POST /v1/classify takes an image: curl --data-binary @FILE URL"
# Part of a path that Triton serves -> the alternative here.
_TRITON_ONLY = {
    "/repository/models/": "'wrn serve --admin-token-file FILE' allows it; SIGHUP reloads all models",
    "sharedmemory": "send tensors in the body of POST /v2/models/MODEL/infer",
    "/trace/": "GET /metrics has the times of each stage",
    "/logging": "'wrn serve --log json' writes a line for each request",
}


def check_host(scope: Scope, allowed: Collection[str] = ()) -> None:
    """Raise ApiError unless the request has exactly one valid Host header (RFC 9112, 3.2); HTTP/1.0 may have none.

    With ``allowed``, its name must be one of them, whatever the port; probes may give any, since they often have the
    address of a container.
    """
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    if len(hosts) > 1 or (not hosts and scope.get("http_version") == "1.1"):
        number = f"{len(hosts)} Host headers" if hosts else "no Host header"
        raise ApiError("request", f"the request has {number}", "send one Host header: Host: NAME:PORT")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise ApiError("request", f"invalid Host header: {hosts[0][:80]!r}", "send Host: NAME:PORT")
    if not allowed or scope["path"] in PROBES:
        return
    if (name := re.sub(":[0-9]*$", "", hosts[0]).lower() if hosts else "") not in allowed:
        raise ApiError("host", f"the host {name[:80]!r} is not allowed", "use a name given by 'wrn serve --allow-host'")


def check_repeated(names: Iterable[bytes]) -> None:
    """Raise ApiError for a header given twice of which only one would count; ``names``: those of all, in lower case."""
    single = [name for name in names if name in _SINGLE]
    if repeated := [name.decode() for name in single if single.count(name) > 1]:
        raise ApiError("request", f"the header {repeated[0]!r} is given {len(repeated)} times", "send it once")


def check_authorization(header: str, settings: ServeSettings, is_control: bool = False) -> None:
    """Raise ApiError unless the value of ``Authorization`` is the token that the settings require, if any.

    ``is_control``: of a request that changes models, which needs the admin token where there is one.
    """
    needs_admin = settings.admin_token is not None and is_control
    token = settings.admin_token if needs_admin else settings.token
    if token is None:
        return
    scheme, _, credentials = header.partition(" ")
    sent, valid = credentials.strip().encode(), filter(None, (token, settings.admin_token))
    matches = [hmac.compare_digest(sent, secret.get_secret_value().encode()) for secret in valid]
    if not any(matches) or scheme.lower() != "bearer":
        message = f"{'the admin' if needs_admin else 'a bearer'} token is required"
        raise ApiError("token", message, "send the header Authorization: Bearer TOKEN")


def check_query(route: str, query: QueryParams) -> None:
    """Raise ApiError for a parameter that ``route`` does not take, and for a repeated one that it takes once."""
    parameters = PARAMETERS.get(route, ())
    for name in query:
        if name not in parameters:
            hint = f"it takes {', '.join(parameters)}: ?k=5" if parameters else "send it without a query"
            raise ApiError("parameters", f"{route} has no parameter {name[:80]!r}", hint)
        if name not in _REPEATABLE and (count := len(query.getlist(name))) > 1:
            raise ApiError("parameters", f"the parameter {name!r} is given {count} times", f"give {name} once")


def parse_number(text: str, maximum: int) -> int | None:
    """Return a whole number from 0 to ``maximum``, at most 18 digits, or None for any other text."""
    valid = len(text) <= 18 and text.isascii() and text.isdigit() and int(text) <= maximum
    return int(text) if valid else None


def parse_decimal(text: str) -> float | None:
    """Return a number of digits with at most one point, or None for any other text that Python takes for a number."""
    return float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,18})?", text) else None


def route_error(method: str, path: str) -> ApiError:
    """Return the error for a path without a route."""
    message = "no such path"
    if path.startswith("/v2/"):
        for part, hint in _TRITON_ONLY.items():
            if part in path:
                return ApiError("route", f"this part of Triton's protocol is not served: {path[:80]!r}", hint)
        if method == "POST":
            return ApiError("route", message, "POST /v2/models/MODEL/infer takes images; GET /docs lists all routes")
    elif method in ("POST", "PUT"):
        return ApiError("route", message, f"{_UPLOAD}; GET /docs lists all routes")
    return ApiError("route", message, "GET /docs lists all routes")


def method_error(method: str, path: str, allowed: Sequence[str]) -> ApiError:
    """Return the error for a method that ``path`` does not take."""
    hint = _UPLOAD if path == "/v1/classify" else f"send {' or '.join(allowed)}"
    return ApiError("method", f"method {method} is not allowed here", hint)
