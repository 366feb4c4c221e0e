"""Bytes off the wire, within limits: whole bodies, the files of a multipart body, and what was compressed."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from wideresnet.serve.admission import Visit
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.settings import ServeSettings

Named = tuple[str, bytes]                          # a file's name and its bytes

# What curl and browsers say of bytes that they were told nothing of, and what images are called.
_RAW = ("", "application/octet-stream", "application/x-www-form-urlencoded")
MAX_FIELDS = 100                                   # text fields of a multipart body
_UNSTRIPPED = 2048                                 # bytes; a larger JPEG without any CR and LF is 1 in 10 million
_JPEG = b"\xff\xd8\xff"
_FORM = re.compile(rb"[\w.\[\]-]+=")               # of a form: image=…
_BINARY = "send the image's own bytes: curl --data-binary @FILE"
_STRIPPED = "curl -d @FILE takes line breaks and zero bytes out of a file: use curl --data-binary @FILE"
_JSON = f"{_BINARY}; base64 in JSON goes to POST /v2/models/MODEL/infer, as GET /docs shows"
_UNCODED = "send it again, or without Content-Encoding"
_MULTIPART = "let the client write the Content-Type: curl -F file=@FILE"
_WINDOW = 32 + zlib.MAX_WBITS                      # zlib finds out itself whether it is gzip's or its own form


async def read_body(request: Request, visit: Visit, settings: ServeSettings, take: Callable[[bytes], object]) -> None:
    """Hand the body to ``take`` piece by piece. Raises ApiError when it is too large, too slow, or ends early."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > settings.max_bytes:
        raise too_large(settings.max_bytes)
    try:
        async with asyncio.timeout(settings.upload_deadline):
            async for piece in request.stream():
                visit.carry(len(piece))
                if visit.bytes_read > settings.max_bytes:
                    raise too_large(settings.max_bytes)
                take(piece)
    except TimeoutError:
        words = f"the body was not there within {settings.upload_deadline:g} seconds"
        raise ApiError("slow", words, "send fewer or smaller images") from None
    except ClientDisconnect:
        raise ApiError("gone", "the client left before its body was whole") from None


async def read_whole(request: Request, visit: Visit, settings: ServeSettings) -> bytes:
    """The body as it came."""
    pieces: list[bytes] = []
    await read_body(request, visit, settings, pieces.append)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@dataclass(frozen=True)
class Upload:
    """The images of one request, with the names of the text fields beside them, which have no effect."""

    files: list[Named]
    ignored: Sequence[str] = ()

    def document(self) -> dict[str, list[str]]:
        """What an answer says of it."""
        return {"ignored_fields": list(self.ignored)} if self.ignored else {}


async def read_images(
    request: Request, visit: Visit, settings: ServeSettings, parameters: Sequence[str] = ()
) -> Upload:
    """The files of a multipart body, or the whole body as one file without a name.

    Raises ApiError for another type of body, for one without files or with too many, for a text field named as one of
    the query ``parameters``, for an image that lost its line breaks, and as ``read_body``.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ApiError("type", "a compressed body is taken on the v2 routes only", "send it without Content-Encoding")
    content_type = request.headers.get("content-type", "")
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        parts = Parts(options.get(b"boundary", b""), settings.most_images, parameters)
        await read_body(request, visit, settings, parts.write)
        return Upload(parts.finish(), parts.ignored)
    name = kind.decode("latin-1").lower()
    if name not in _RAW and not name.startswith("image/"):
        hint = _JSON if "json" in name else f"{_BINARY}, or curl -F file=@FILE"
        raise ApiError("type", f"no image is of the type {name!r}", hint)
    data = await read_whole(request, visit, settings)
    if len(data) > _UNSTRIPPED and data.startswith(_JPEG) and _without_breaks(data):
        # Of a progressive JPEG libjpeg would make an image all the same.
        raise ApiError("picture", "the JPEG came without its line breaks", _STRIPPED)
    return Upload([("", data)])


def hint_for(data: bytes) -> str:
    """What to do about bytes that are no readable image because of the way they were sent; "" for others."""
    head = data[:64].lstrip(b" \t\r\n\"'")
    if head.startswith((b"data:image/", b"/9j/", b"iVBORw0KGgo", b"R0lGOD", b"UklGR")):
        return f"this is base64: decode it with base64 -d, and {_BINARY}"
    if head.startswith((b"{", b"[")):
        return _JSON
    if data.startswith((_JPEG, b"\x89PNG", b"GIF8", b"RIFF")) and _without_breaks(data):
        return _STRIPPED
    return _BINARY if not data or _FORM.match(head) else ""


def _without_breaks(data: bytes) -> bool:
    return b"\n" not in data and b"\r" not in data


class Parts:
    """The files of a multipart body (RFC 7578), as its bytes come in. ``ignored``: names of its text fields."""

    def __init__(self, boundary: bytes, most: int, parameters: Sequence[str] = ()) -> None:
        self.ignored: list[str] = []
        self._files: list[Named] = []
        self._most, self._parameters, self._ended = most, parameters, False
        self._header, self._value, self._content = bytearray(), bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}     # of the present part
        self._name: str | None = None              # of the present file
        if not boundary:
            raise ApiError("request", "a multipart body needs a boundary in its Content-Type", _MULTIPART)
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._take,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _broken(error) from error

    def write(self, piece: bytes) -> None:
        """The next bytes of the body. Raises ApiError for what is no multipart body of files, or too many."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _broken(error) from error

    def finish(self) -> list[Named]:
        """All files. Raises ApiError when the body stopped short, or held none."""
        if not self._ended:
            words = "the multipart body is cut short: its closing boundary is missing"
            raise ApiError("request", words, _MULTIPART)
        if not self._files:
            fields = f", only the text fields {', '.join(self.ignored)[:200]}" if self.ignored else ""
            raise ApiError(
                "parameters", f"the multipart body holds no file{fields}", "curl -F file=@FILE, with the @, sends one"
            )
        return self._files

    def _begin(self) -> None:
        self._headers, self._name, self._content = {}, None, bytearray()

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        kind = self._headers.get(b"content-type", b"").lower()
        if b"filename" in options or kind.startswith((b"image/", b"application/octet-stream")):
            if len(self._files) == self._most:
                raise ApiError("large", f"more than {self._most} images in one request", "send several requests")
            self._name = options.get(b"filename", b"").decode("utf-8", "replace")
            return
        field = options.get(b"name", b"").decode("utf-8", "replace")[:80]
        if field in self._parameters:
            words = f"the form field {field!r} would have no effect"
            raise ApiError("parameters", words, f"parameters belong into the URL: ?{field}=VALUE")
        if len(self.ignored) == MAX_FIELDS:
            raise ApiError("large", f"more than {MAX_FIELDS} text fields in one request", "curl -F file=@FILE alone")
        self.ignored.append(field)

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None:
            self._content.extend(data[start:end])

    def _end_part(self) -> None:
        if self._name is not None:
            self._files.append((self._name, bytes(self._content)))

    def _end(self) -> None:
        self._ended = True


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """A body as it was before ``Content-Encoding``. Raises ApiError for what cannot be, or is larger than ``limit``."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise ApiError("type", f"no encoding called {encoding[:40]!r} is known", "send Content-Encoding: gzip, or none")
    machine = zlib.decompressobj(_WINDOW)
    try:
        result = machine.decompress(body, limit + 1)
    except zlib.error as error:
        raise ApiError("request", f"the {encoding} body is damaged: {error}", _UNCODED) from error
    if len(result) > limit:
        raise too_large(limit)
    if not machine.eof:
        raise ApiError("request", f"the {encoding} body is cut short", _UNCODED)
    return result


def too_large(limit: int) -> ApiError:
    """More bytes than allowed."""
    return ApiError("large", f"the body is larger than the limit of {limit:,} bytes", "send fewer or smaller images")


def _broken(error: Exception) -> ApiError:
    return ApiError("request", f"the multipart body is damaged: {error}", _MULTIPART)
