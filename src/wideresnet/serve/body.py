"""Bytes off the wire, within limits: whole bodies, the files of a multipart body, and what was compressed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from wideresnet.serve.house import Visit
from wideresnet.serve.problems import Refused
from wideresnet.serve.settings import ServeSettings

Named = tuple[str, bytes]                          # a file's name and its bytes

# What curl and browsers say of bytes that they were told nothing of, and what pictures are called.
_RAW = ("", "application/octet-stream", "application/x-www-form-urlencoded")
_WINDOW = 32 + zlib.MAX_WBITS                      # zlib finds out itself whether it is gzip's or its own form


async def read_body(request: Request, visit: Visit, settings: ServeSettings, take: Callable[[bytes], object]) -> None:
    """Hand the body to ``take`` piece by piece. Raises Refused when it is too large, too slow, or ends early."""
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
        raise Refused("slow", f"the body was not there within {settings.upload_deadline:g} seconds") from None
    except ClientDisconnect:
        raise Refused("gone", "the client left before its body was whole") from None


async def read_whole(request: Request, visit: Visit, settings: ServeSettings) -> bytes:
    """The body as it came."""
    pieces: list[bytes] = []
    await read_body(request, visit, settings, pieces.append)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def read_pictures(request: Request, visit: Visit, settings: ServeSettings) -> list[Named]:
    """The files of a multipart body, or the whole body as one file without a name.

    Raises Refused for another type of body, for one without files or with too many, and as ``read_body``.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refused("type", "a compressed body is taken on the v2 routes only", "pictures are compressed already")
    content_type = request.headers.get("content-type", "")
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        parts = Parts(options.get(b"boundary", b""), settings.most_pictures)
        await read_body(request, visit, settings, parts.write)
        return parts.finish()
    name = kind.decode("latin-1").lower()
    if name not in _RAW and not name.startswith("image/"):
        raise Refused("type", f"no picture is of the type {name!r}", "send a picture's bytes, or multipart/form-data")
    return [("", await read_whole(request, visit, settings))]


class Parts:
    """The files of a multipart body (RFC 7578), as its bytes come in."""

    def __init__(self, boundary: bytes, most: int) -> None:
        self._files: list[Named] = []
        self._most, self._ended = most, False
        self._header, self._value, self._disposition, self._content = bytearray(), bytearray(), b"", bytearray()
        if not boundary:
            raise Refused("request", "a multipart body needs a boundary in its Content-Type")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_part_data": lambda data, start, end: self._content.extend(data[start:end]),
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _broken(error) from error

    def write(self, piece: bytes) -> None:
        """The next bytes of the body. Raises Refused for what is no multipart body of files, or too many."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _broken(error) from error

    def finish(self) -> list[Named]:
        """All files. Raises Refused when the body stopped short, or held none."""
        if not self._ended:
            raise Refused("request", "the multipart body is cut short: its closing boundary is missing")
        if not self._files:
            raise Refused("parameters", "the multipart body holds no file", "curl -F file=@cat.jpg …")
        return self._files

    def _begin(self) -> None:
        if len(self._files) == self._most:
            raise Refused("large", f"more than {self._most} pictures in one request", "send several requests")
        self._disposition, self._content = b"", bytearray()

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            field = options.get(b"name", b"").decode("utf-8", "replace")
            raise Refused("parameters", f"the form field {field!r} is no file", "parameters belong into the URL: ?k=5")
        self._files.append((options[b"filename"].decode("utf-8", "replace"), bytes(self._content)))

    def _end(self) -> None:
        self._ended = True


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """A body as it was before ``Content-Encoding``. Raises Refused for what cannot be, or is larger than ``limit``."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise Refused("type", f"no encoding called {encoding!r} is known", "gzip and deflate are")
    machine = zlib.decompressobj(_WINDOW)
    try:
        result = machine.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refused("request", f"the {encoding} body is damaged: {error}") from error
    if len(result) > limit:
        raise too_large(limit)
    if not machine.eof:
        raise Refused("request", f"the {encoding} body is cut short")
    return result


def too_large(limit: int) -> Refused:
    """More bytes than allowed."""
    return Refused("large", f"the body is larger than the limit of {limit:,} bytes", "send fewer or smaller pictures")


def _broken(error: Exception) -> Refused:
    return Refused("request", f"the multipart body is damaged: {error}")
