"""Request bodies, read within limits: raw bytes, multipart files, compressed bodies."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from wideresnet.serve.admission import Permit
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.http.request_checks import parse_number
from wideresnet.serve.settings import MiB, ServeSettings

NamedFile = tuple[str, bytes]                      # file name and content

# Content types that curl and browsers send with raw bytes; image/* is accepted too.
_RAW = ("", "application/octet-stream", "application/x-www-form-urlencoded")
MAX_FIELDS = 100                                   # text fields of a multipart body
_UNSTRIPPED = 2048                                 # bytes; a larger JPEG without any CR and LF is 1 in 10 million
_JPEG = b"\xff\xd8\xff"
_FORM = re.compile(rb"[\w.\[\]-]+=")               # of a form: image=…
# RFC 2231 and 5987, in UTF-8: RFC 7578 forbids this name, some clients send it alone, and the parser leaves it out.
_EXTENDED = re.compile(rb"""; *filename\*[\d*]* *= *"?(?:[\w-]*'[\w-]*')?([^;"]*)""", re.IGNORECASE)
_BINARY = "send the image's own bytes: curl --data-binary @FILE"
_STRIPPED = "curl -d @FILE removes line breaks and zero bytes from a file: use curl --data-binary @FILE"
_JSON = f"{_BINARY}; base64 in JSON goes to POST /v2/models/MODEL/infer, as GET /docs shows"
_UNCODED = "send it again, or without Content-Encoding"
_MULTIPART = "let the client write the Content-Type: curl -F file=@FILE"
_WINDOW = 32 + zlib.MAX_WBITS                      # zlib detects gzip and zlib headers


async def stream_body(
    request: Request, permit: Permit, settings: ServeSettings, write: Callable[[bytes], object]
) -> None:
    """Pass the body to ``write`` piece by piece.

    Raises ApiError when it is too large, exceeds the upload deadline, or ends early.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and parse_number(announced, settings.max_bytes) is None:
        raise body_too_large(settings.max_bytes)
    try:
        async with asyncio.timeout(settings.upload_deadline):
            async for piece in request.stream():
                permit.add_bytes(len(piece))
                if permit.context.bytes_read > settings.max_bytes:
                    raise body_too_large(settings.max_bytes)
                write(piece)
    except TimeoutError:
        message = f"the body was not received within {settings.upload_deadline:g} seconds"
        raise ApiError("slow", message, "send fewer or smaller images") from None
    except ClientDisconnect:
        raise ApiError("gone", "the client disconnected before its body was complete") from None


async def read_body(request: Request, permit: Permit, settings: ServeSettings) -> bytes:
    """Return the complete body. Raises ApiError as ``stream_body`` does."""
    pieces: list[bytes] = []
    await stream_body(request, permit, settings, pieces.append)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@dataclass(frozen=True)
class Upload:
    """The images of one request, and the names of its text fields, which have no effect."""

    files: list[NamedFile]
    ignored: Sequence[str] = ()

    def response_members(self) -> dict[str, list[str]]:
        """Return the members that report ignored fields in a response."""
        return {"ignored_fields": list(self.ignored)} if self.ignored else {}


async def read_images(
    request: Request, permit: Permit, settings: ServeSettings, parameters: Sequence[str] = ()
) -> Upload:
    """Read the files of a multipart body, or any other body as one file without a name.

    Raises ApiError for a body of another type, without files or with too many, with a text field named like one of
    the query ``parameters``, for a JPEG without its line breaks, and as ``stream_body`` does.
    """
    if request.headers.get("content-encoding", "").lower() not in ("", "identity"):
        raise ApiError("type", "compressed bodies are accepted on v2 routes only", "send it without Content-Encoding")
    content_type = request.headers.get("content-type", "")
    media_type, options = parse_options_header(content_type)
    if media_type == b"multipart/form-data":
        reader = MultipartReader(options.get(b"boundary", b""), settings.images_per_request, parameters)
        await stream_body(request, permit, settings, reader.write)
        return Upload(reader.finish(), reader.ignored)
    name = media_type.decode("latin-1").lower()
    if name not in _RAW and not name.startswith("image/"):
        hint = _JSON if "json" in name else f"{_BINARY}, or curl -F file=@FILE"
        raise ApiError("type", f"not an image type: {name!r}", hint)
    data = await read_body(request, permit, settings)
    if len(data) > _UNSTRIPPED and data.startswith(_JPEG) and _without_breaks(data):
        # libjpeg would decode such a progressive JPEG to a wrong image without an error.
        raise ApiError("picture", "the JPEG has lost its line breaks", _STRIPPED)
    return Upload([("", data)])


def upload_hint(data: bytes) -> str:
    """Return a hint for bytes that are no readable image because of the way they were sent, or ""."""
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


class MultipartReader:
    """An incremental reader of the files of a multipart body (RFC 7578). ``ignored``: names of its text fields."""

    def __init__(self, boundary: bytes, max_files: int, parameters: Sequence[str] = ()) -> None:
        self.ignored: list[str] = []
        self._files: list[NamedFile] = []
        self._max_files, self._parameters, self._ended = max_files, parameters, False
        self._header, self._value, self._content = bytearray(), bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}     # of the current part
        self._name: str | None = None              # of the current file
        if not boundary:
            raise ApiError("request", "a multipart body needs a boundary in its Content-Type", _MULTIPART)
        try:
            self._parser = MultipartParser(boundary, {
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header, "on_headers_finished": self._end_headers,
                "on_part_begin": self._begin_part, "on_part_data": self._append, "on_part_end": self._end_part,
                "on_end": self._end,
            })  # fmt: skip
        except FormParserError as error:
            raise _damaged(error) from error

    def write(self, piece: bytes) -> None:
        """Read the next bytes of the body. Raises ApiError for a damaged body, too many files, or too many fields."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _damaged(error) from error

    def finish(self) -> list[NamedFile]:
        """Return all files. Raises ApiError when the body is cut short or has no files."""
        if not self._ended:
            message = "the multipart body is cut short: no closing boundary"
            raise ApiError("request", message, _MULTIPART)
        if not self._files:
            fields = f", only the text fields {', '.join(self.ignored)[:200]}" if self.ignored else ""
            raise ApiError(
                "parameters", f"no file in the multipart body{fields}", "send one with the @: curl -F file=@FILE"
            )
        return self._files

    def _begin_part(self) -> None:
        self._headers, self._name, self._content = {}, None, bytearray()

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        if extended := _EXTENDED.search(disposition):
            options[b"filename"] = unquote_to_bytes(extended[1])
        media_type = self._headers.get(b"content-type", b"").lower()
        if b"filename" in options or media_type.startswith((b"image/", b"application/octet-stream")):
            if len(self._files) == self._max_files:
                raise ApiError("large", f"more than {self._max_files} images in one request", "send several requests")
            self._name = options.get(b"filename", b"").decode("utf-8", "replace")
            return
        field = options.get(b"name", b"").decode("utf-8", "replace")[:80]
        if field in self._parameters:
            message = f"the form field {field!r} would have no effect"
            raise ApiError("parameters", message, f"put parameters into the URL: ?{field}=VALUE")
        if len(self.ignored) == MAX_FIELDS:
            raise ApiError("large", f"more than {MAX_FIELDS} text fields in one request", "curl -F file=@FILE alone")
        self.ignored.append(field)

    def _append(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None:
            self._content.extend(data[start:end])

    def _end_part(self) -> None:
        if self._name is not None:
            self._files.append((self._name, bytes(self._content)))

    def _end(self) -> None:
        self._ended = True


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo ``Content-Encoding``. Raises ApiError for a damaged body, and for more than ``limit`` bytes."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ApiError("type", f"unsupported Content-Encoding: {encoding[:40]!r}", "send gzip or deflate")
    decompressor = zlib.decompressobj(_WINDOW)
    try:
        result = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise ApiError("request", f"the {encoding} body is damaged: {error}", _UNCODED) from error
    if len(result) > limit:
        raise body_too_large(limit)
    if not decompressor.eof or decompressor.unused_data:       # such as a second gzip member, which would be lost
        raise ApiError("request", f"the {encoding} body is cut short, or has more after its end", _UNCODED)
    return result


def body_too_large(limit: int) -> ApiError:
    """Return the error for a body of more than ``limit`` bytes."""
    message = f"the body is larger than the limit of {limit / MiB:.3g} MiB"
    return ApiError("large", message, "send fewer or smaller images")


def _damaged(error: Exception) -> ApiError:
    return ApiError("request", f"the multipart body is damaged: {error}", _MULTIPART)
