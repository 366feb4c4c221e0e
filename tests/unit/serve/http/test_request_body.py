"""Request bodies: multipart read in pieces of any size, and compressed bodies within their limit."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.http.request_body import MultipartReader, inflate

FILES = [("a.jpg", b"first"), ("二.png", b"\r\n--xy\r\n--x"), ("", b"")]


def body(files: list[tuple[str, bytes]], boundary: bytes = b"xyz") -> bytes:
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\nContent-Type: image/png\r\n\r\n%s\r\n'
        % (boundary, name.encode(), content)
        for name, content in files
    ]
    return b"".join(parts) + b"--%s--\r\n" % boundary


@given(st.lists(st.integers(0, 600), max_size=6).map(sorted))
@settings(deadline=None)
def test_files_are_the_same_however_the_body_is_cut(cuts: list[int]) -> None:
    complete, parts = body(FILES), MultipartReader(b"xyz", 3)
    for start, end in zip([0, *cuts], [*cuts, len(complete)], strict=True):
        parts.write(complete[start:end])
    assert parts.finish() == FILES


def test_one_file_more_than_allowed_is_refused_before_it_is_read() -> None:
    parts = MultipartReader(b"xyz", 2)
    with pytest.raises(ApiError) as caught:
        parts.write(body(FILES))
    assert caught.value.kind == "large"


@pytest.mark.parametrize("boundary", [b"", b"x" * 300])
def test_invalid_boundaries_are_refused(boundary: bytes) -> None:
    with pytest.raises(ApiError):
        MultipartReader(boundary, 2)


@given(st.binary(max_size=300), st.integers(0, 300), st.binary(max_size=20))
@settings(max_examples=150, deadline=None)
def test_damaged_bodies_are_read_or_refused(noise: bytes, index: int, inserted: bytes) -> None:
    complete = body(FILES)
    for damaged in (noise, b"--xyz\r\n" + noise, complete[:index] + inserted + complete[index:], complete[:index]):
        parts = MultipartReader(b"xyz", 8)
        with suppress(ApiError):
            parts.write(damaged)
            assert all(isinstance(name, str) for name, _ in parts.finish())


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ("filename*=UTF-8''%e7%8c%ab.jpg", "猫.jpg"),
        ("filename=\"cat.jpg\"; filename*=utf-8'zh-CN'%E7%8C%AB.jpg", "猫.jpg"),
        ("filename*=\"UTF-8''%e7%8c%ab%20a.jpg\"", "猫 a.jpg"),
        ("filename*0=\"cat\"; filename*1=\".jpg\"", "cat"),
        ("FileName*=utf-8''", ""),
    ],
)
def test_a_part_with_an_encoded_file_name_is_a_file(parameters: str, name: str) -> None:
    parts = MultipartReader(b"xyz", 3)
    disposition = f"Content-Disposition: form-data; name=\"f\"; {parameters}"
    parts.write(f"--xyz\r\n{disposition}\r\n\r\ncontent\r\n--xyz--\r\n".encode())
    assert parts.finish() == [(name, b"content")]
    assert not parts.ignored


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_compressed_bodies_are_inflated_up_to_the_limit(encoding: str, compress: object) -> None:
    assert inflate(compress(b"x" * 1000), encoding, 1000) == b"x" * 1000
    bomb = compress(bytes(10**8))
    with pytest.raises(ApiError) as caught:
        inflate(bomb, encoding, 1000)
    assert caught.value.kind == "large"


@pytest.mark.parametrize(
    ("data", "encoding", "kind"),
    [
        (b"none", "gzip", "request"),
        (gzip.compress(b"whole", mtime=0)[:-9], "gzip", "request"),
        (gzip.compress(b"whole", mtime=0) + b"more", "gzip", "request"),
        (gzip.compress(b"first", mtime=0) * 2, "gzip", "request"),
        (zlib.compress(b"whole") + b"more", "deflate", "request"),
        (b"", "gzip", "request"),
        (b"", "br", "type"),
        (b"", "gzip, gzip", "type"),
    ],
)
def test_invalid_compressed_bodies_are_refused(data: bytes, encoding: str, kind: str) -> None:
    with pytest.raises(ApiError) as caught:
        inflate(data, encoding, 1000)
    assert caught.value.kind == kind
