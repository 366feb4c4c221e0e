"""A client of the service, on the standard library alone.

    client = Client("http://127.0.0.1:8000")
    client.classify("cat.jpg", k=3)["results"][0]["predictions"]
    await client.classify_async("cat.jpg", "dog.jpg")
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import threading
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from wideresnet.errors import ConfigError, WrnError
from wideresnet.images.decode import read_encoded

LATER = {429, 503}                                 # the service is full, or not ready
OURS = "application/problem+json"                  # what an error of the service itself is


class ServiceError(WrnError):
    """The service did not answer, or not with what was asked; ``status`` is HTTP's, 0 for no answer."""

    status = 0


class Client:
    """Asks one service; may be shared by threads, each of which keeps a connection of its own.

    An answer of 429 or 503, a lost connection, and a 500 that a proxy gives for a replica that it lost are tried again
    up to ``retries`` times, after a pause that doubles from a tenth of a second up to 10 s, with chance in it, and is
    never shorter than the service asks for.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", token: str = "", timeout: float = 60.0, retries: int = 6):
        self._url = urlsplit(url)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise ConfigError(f"{url!r} is no address of a service", hint="http://127.0.0.1:8000")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout, self._retries = timeout, retries
        self._mine = threading.local()

    def classify(self, *images: str | Path | bytes, k: int = 5, model: str = "", lang: str = "en") -> dict[str, Any]:
        """The answer of ``POST /v1/classify`` for files or encoded images, all in one request.

        Raises ServiceError for a request that is refused, ImageError for a file that cannot be read.
        """
        query = urlencode({"k": k, "lang": lang, **({"model": model} if model else {})})
        boundary = uuid.uuid4().hex
        parts = [_part(place, image, boundary) for place, image in enumerate(images)]
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        return self._ask("POST", f"/v1/classify?{query}", body, f"multipart/form-data; boundary={boundary}")

    async def classify_async(
        self, *images: str | Path | bytes, k: int = 5, model: str = "", lang: str = "en"
    ) -> dict[str, Any]:
        """``classify`` without blocking the event loop."""
        return await asyncio.to_thread(self.classify, *images, k=k, model=model, lang=lang)

    def models(self) -> dict[str, Any]:
        """The answer of ``GET /v1/models``."""
        return self._ask("GET", "/v1/models")

    def close(self) -> None:
        """End this thread's connection; the next question opens another."""
        self._connection().close()

    def _ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> dict[str, Any]:
        headers = self._headers | ({"Content-Type": kind} if kind else {})
        for attempt in range(self._retries + 1):
            connection = self._connection()
            try:
                connection.request(method, self._url.path.rstrip("/") + path, body, headers)
                answer = connection.getresponse()
                status, asked, data = answer.status, answer.headers.get("Retry-After", ""), answer.read()
                lost = status == 500 and answer.headers.get_content_type() != OURS
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status, asked, data, lost = 0, "", str(error or type(error).__name__).encode(), True
            if attempt == self._retries or not (lost or status in LATER):
                break
            pause = min(10.0, 0.1 * 2**attempt) * random.uniform(0.5, 1.0)
            time.sleep(max(pause, float(asked) if asked.isdecimal() else 0.0))
        return _answer(status, data)

    def _connection(self) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if found is None:
            made = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
            found = self._mine.connection = made(self._url.hostname or "", self._url.port, timeout=self._timeout)
        return found


def _part(place: int, image: str | Path | bytes, boundary: str) -> bytes:
    """One file of a multipart body."""
    if isinstance(image, bytes):
        name, data = f"image {place}", image
    else:
        name, data = str(image), read_encoded(Path(image))
    for mark in '"\r\n':                           # as browsers do
        name = name.replace(mark, quote(mark))
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode("utf-8", "replace") + data + b"\r\n"


def _answer(status: int, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        document = {"detail": data[:200].decode("utf-8", "replace")}
    if status == 200:
        return dict(document)
    words = f"the service answers {status or 'nothing'}: {document.get('detail')}"
    error = ServiceError(words, document.get("hint", ""))
    error.status = status
    raise error
