"""A client of the HTTP service, on the standard library alone.

    client = Client("http://127.0.0.1:8000")
    client.classify("cat.jpg", k=3)["results"][0]["predictions"]
    await client.classify_async("cat.jpg", "dog.jpg")
"""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import os
import random
import re
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from ssl import CertificateError, SSLEOFError
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from wideresnet.errors import ConfigError, WrnError, errors_as
from wideresnet.images.decode import read_encoded
from wideresnet.prediction_sets import check_fraction

_RETRY_STATUS = {429, 503}                         # the queue is full, or the service is not ready
_UNTRUSTED = {18, 19, 20, 21}                       # X.509: self-signed, or by an issuer that is not known
_PROBLEM_TYPE = "application/problem+json"         # content type of the service's own errors


class ServiceError(WrnError):
    """No response of the service, or an error; ``status`` is HTTP's, 0 for no response."""

    status = 0


class Client:
    """A client of one service; threads may share it, each uses a connection of its own.

    Responses of 429 and 503, lost connections, and a proxy's 500 for a replica that it lost are retried up to
    ``retries`` times. The pause before a retry is random up to a limit that doubles from 0.1 to 10 seconds, and at
    least as long as ``Retry-After``; where that is longer than ``timeout`` (seconds), the error is raised at once.
    Raises ConfigError for arguments of another kind.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", token: str = "", timeout: float = 60.0, retries: int = 6):
        self._url = _split_url(url)
        if not isinstance(token, str) or not re.fullmatch("[ -~]*", token):      # no header can have it
            raise ConfigError("the token contains other than printable ASCII", hint="strip() removes a line break")
        if not (isinstance(timeout, int | float) and 0 < timeout < math.inf):
            raise ConfigError(f"timeout is a number of seconds above 0, got {timeout!r}", hint="60 are usual")
        if not isinstance(retries, int) or retries < 0:
            raise ConfigError(f"retries are 0 or more, got {retries!r}", hint="6 are usual")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout, self._retries = timeout, retries
        self._local = threading.local()

    def classify(
        self, *images: str | Path | bytes, k: int = 5, model: str = "", lang: str = "en", coverage: float = 0
    ) -> dict[str, Any]:
        """Return the document of ``POST /v1/classify`` for files or encoded images, sent in one request.

        ``coverage``, such as 0.95, asks a calibrated model for prediction sets. Raises ServiceError for an error of the
        service, ImageError for a file that cannot be read.
        """
        check_fraction(coverage)
        sets = {"coverage": f"{100 * coverage:.12g}"} if coverage else {}
        query = urlencode({"k": k, "lang": lang, **({"model": model} if model else {}), **sets})
        boundary = uuid.uuid4().hex
        parts = [_multipart_file(index, image, boundary) for index, image in enumerate(images)]
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        answer = self._request("POST", f"/v1/classify?{query}", body, f"multipart/form-data; boundary={boundary}")
        results = answer.get("results")
        if isinstance(results, list) and len(results) == len(images):
            for index, (image, result) in enumerate(zip(images, results, strict=True)):
                result["name"] = _name(index, image)       # a multipart body changes folders and quotes
        return answer

    async def classify_async(
        self, *images: str | Path | bytes, k: int = 5, model: str = "", lang: str = "en", coverage: float = 0
    ) -> dict[str, Any]:
        """``classify`` in a thread, which does not block the event loop."""
        return await asyncio.to_thread(self.classify, *images, k=k, model=model, lang=lang, coverage=coverage)

    def models(self) -> dict[str, Any]:
        """Return the document of ``GET /v1/models``."""
        return self._request("GET", "/v1/models")

    def close(self) -> None:
        """Close this thread's connection; the next request opens another."""
        self._connection().close()

    def _request(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> dict[str, Any]:
        headers = self._headers | ({"Content-Type": content_type} if content_type else {})
        for attempt in range(self._retries + 1):
            connection = self._connection()
            try:
                response, data = _exchange(connection, method, self._url.path.rstrip("/") + path, body, headers)
                status = response.status
                retry_after = response.headers.get("Retry-After", "")
                lost = status == 500 and response.headers.get_content_type() != _PROBLEM_TYPE
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                untrusted = getattr(error, "verify_code", 0) in _UNTRUSTED
                hint = "SSL_CERT_FILE=FILE names certificates to trust" if untrusted else ""
                detail = {"detail": str(error) or type(error).__name__, "hint": hint}
                status, data, retry_after = 0, json.dumps(detail).encode(), ""
                lost = not isinstance(error, CertificateError)
            least_pause = float(retry_after) if retry_after.isdecimal() else 0.0
            if attempt == self._retries or least_pause > self._timeout or not (lost or status in _RETRY_STATUS):
                break
            time.sleep(max(min(10.0, 0.1 * 2**attempt) * random.uniform(0.5, 1.0), least_pause))
        return _parse_response(status, data)

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None
        connection, process = getattr(self._local, "connection", (None, 0))
        if connection is None or process != os.getpid():       # a fork would get answers to its parent
            connect = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
            connection = connect(self._url.hostname or "", self._url.port, timeout=self._timeout)
            self._local.connection = connection, os.getpid()
        return connection


def _split_url(url: str) -> SplitResult:
    """Return the parts of a service's URL. Raises ConfigError, also for parts that would have no effect."""
    name = url.rpartition("@")[2]                  # without a password
    with errors_as(ValueError, ConfigError, f"not an http or https URL: {name!r}", "give one as http://127.0.0.1:8000"):
        parts = urlsplit(url)
        without_effect = parts.query or parts.fragment or parts.username is not None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or without_effect:
            raise ValueError("only scheme, host, port and path have an effect")
    return parts


def _name(index: int, image: str | Path | bytes) -> str:
    return f"image {index}" if isinstance(image, bytes | bytearray) else str(image)


def _multipart_file(index: int, image: str | Path | bytes, boundary: str) -> bytes:
    """Return one file as a part of a multipart body."""
    name = _name(index, image)
    data = bytes(image) if isinstance(image, bytes | bytearray) else read_encoded(Path(image))
    for character in '"\r\n':                      # percent-encoded, as browsers do
        name = name.replace(character, quote(character))
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode("utf-8", "replace") + data + b"\r\n"


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send a request and read its response, which may come before the body is sent, such as 413."""
    try:
        connection.request(method, path, body, headers)
    except (ConnectionError, SSLEOFError):
        with suppress(OSError, http.client.HTTPException, AttributeError):     # without a connection: no socket
            response = connection.getresponse()
            data = response.read()
            connection.close()
            return response, data
        raise
    response = connection.getresponse()
    return response, response.read()


def _parse_response(status: int, data: bytes) -> dict[str, Any]:
    document: Any = None
    with suppress(ValueError):
        document = json.loads(data)
    if status == 200 and isinstance(document, dict):
        return document
    if not isinstance(document, dict):             # a proxy's, or a login page
        document = {"detail": data[:200].decode("utf-8", "replace")}
    reply = f"the service answers {status}" if status else "no response from the service"
    error = ServiceError(f"{reply}: {document.get('detail')}", document.get("hint", ""))
    error.status = status
    raise error
