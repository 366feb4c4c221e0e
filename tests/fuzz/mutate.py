"""Mutations: of bytes, and of the structure of the formats that the targets read."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    2**31,
    2**63,
    10**400,
    "",
    "x",
    "\ud800",
    "\0",
    "9" * 5000,
    "../x",
    [],
    [[]],
    {},
    {"": None},
    [0, 2**62],
    "1970-01-01",
)
TOKENS = (
    b"\0",
    b"\n",
    b"\r",
    b'"',
    b"'",
    b",",
    b"\t",
    b"[",
    b"{",
    b"]",
    b"}",
    b":",
    b"&a",
    b"*a",
    b"- ",
    b"<<: ",
    b"#",
    b"\xff",
    b"\x1b",
    b"\xed\xa0\x80",
    b"9" * 5000,
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"[" * 3000,
    b"\xef\xbb\xbf",
    b"2024-13-45",
)
Random = random.Random


def mutate(data: bytes, chance: Random, others: Sequence[bytes] = ()) -> bytes:
    """One to eight changes of bytes."""
    content = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        chance.choice(CHANGES)(content, chance, others or [data])
    return bytes(content)


def _position(content: bytearray, chance: Random) -> int:
    return chance.randrange(len(content) + 1)


def _flip(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _number(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    """A length, count or offset that cannot be."""
    width, start = chance.choice((1, 2, 4, 8)), _position(content, chance)
    value = chance.choice((*NUMBERS, len(content), chance.getrandbits(64))) % (1 << 8 * width)
    content[start : start + width] = value.to_bytes(width, chance.choice(("little", "big")))


def _cut(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    del content[_position(content, chance) :]


def _remove(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    start = _position(content, chance)
    del content[start : start + chance.choice((1, 2, 4, 8, 64, 512))]


def _repeat(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    start = _position(content, chance)
    part = content[start : start + chance.choice((1, 4, 16, 64, 512))]
    content[start:start] = part * chance.choice((1, 2, 10, 200))


def _splice(content: bytearray, chance: Random, others: Sequence[bytes]) -> None:
    other, start = chance.choice(others), _position(content, chance)
    content[start:] = other[chance.randrange(len(other) + 1) :]


def _token(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    start = _position(content, chance)
    content[start : start + chance.choice((0, 0, 1, 4))] = chance.choice(TOKENS)


CHANGES: tuple[Callable[[bytearray, Random, Sequence[bytes]], None], ...] = (
    _flip,
    _flip,
    _number,
    _number,
    _cut,
    _remove,
    _repeat,
    _splice,
    _token,
)


def mutate_json(document: Any, chance: Random) -> Any:
    """The document with one value replaced, removed, repeated or nested."""
    if isinstance(document, dict | list) and document and chance.random() < 0.85:
        copy = dict(document) if isinstance(document, dict) else list(document)
        key = chance.choice(list(copy)) if isinstance(copy, dict) else chance.randrange(len(copy))
        match chance.randrange(8):
            case 0:
                del copy[key]
            case 1 if isinstance(copy, dict):
                copy[str(chance.choice(VALUES))] = copy.pop(key)
            case 1:
                copy *= chance.choice((2, 100))
            case _:
                copy[key] = mutate_json(copy[key], chance)
        return copy
    return chance.choice((*VALUES, [document], {"x": document}))


def mutate_json_text(data: bytes, chance: Random) -> bytes:
    """JSON with another structure, or with changed bytes."""
    if chance.random() < 0.3:
        return mutate(data, chance)
    return json.dumps(mutate_json(json.loads(data), chance)).encode()


def mutate_zip(data: bytes, chance: Random) -> bytes:
    """One entry changed, with the checksum that it then has; or the archive itself."""
    if chance.random() < 0.3:
        return mutate(data, chance)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    index = chance.randrange(len(entries))
    name, content = entries[index]
    match chance.randrange(6):
        case 0:
            del entries[index]
        case 1:
            entries[index] = (mutate(name.encode("latin-1"), chance).decode("latin-1"), content)
        case _:
            entries[index] = (name, mutate(content, chance))
    return zip_of(entries, chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def zip_of(entries: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of these entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name.replace("\0", "") or "x", content)
    return file.getvalue()


def mutate_png(data: bytes, chance: Random) -> bytes:
    """Chunks changed, removed, repeated or moved, each with its checksum."""
    chunks, start = [], 8
    while start + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        chunks.append(data[start + 4 : start + 8 + length])
        start += length + 12
    index = chance.randrange(len(chunks))
    match chance.randrange(5):
        case 0:
            del chunks[index]
        case 1:
            chunks[index:index] = [chunks[index]] * chance.choice((1, 3, 500))
        case 2:
            chance.shuffle(chunks)
        case _:
            chunks[index] = mutate(chunks[index], chance)
    parts = (struct.pack(">I", max(0, len(c) - 4)) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return data[:8] + b"".join(parts)


def mutate_headed_json(data: bytes, chance: Random) -> bytes:
    """Safetensors: the header's JSON changed, with its length."""
    if chance.random() < 0.3:
        return mutate(data, chance)
    length = int.from_bytes(data[:8], "little")
    header = mutate_json_text(data[8 : 8 + length], chance)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]
