"""A file of records that grows over hours, appears complete, and is resumed after any interruption.

The work goes to ``FILE.part``, which is only appended to: JSON lines, first the identity of the run, then a record
each. At a checkpoint everything so far is flushed to the disk (fsync). After a kill or a power failure the file holds
valid lines up to the last checkpoint at least; on resume it is cut before the first line that is not valid, and the
records after that are computed again. At the end the working file is converted to FILE through ``atomic_path`` and
then removed. A kill amid the conversion leaves the working file, and the next run converts it again, to the same file.
So the format of FILE plays no part in resuming, at the cost of the space for both and one pass over the records.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from wideresnet.errors import ConfigError
from wideresnet.output.answers import ANSWER_LAYOUT
from wideresnet.output.atomic import atomic_path, check_file
from wideresnet.output.lock import lock_output
from wideresnet.output.parquet import arrow_schema, write_parquet
from wideresnet.output.row_format import PARQUET, RecordLayout
from wideresnet.records import Failure, Item, Prediction, RunIdentity, Scored
from wideresnet.report.escape import json_text

# A kill costs the work since the last checkpoint: a tenth of the run so far, and at most CHECKPOINT_S.
CHECKPOINT_S = 5.0
FIRST_CHECKPOINT_S = 0.1
HEADER_START = b'{"run": '


class ResumableWriter:
    """An open working file with its number of records, and of failures among them.

    At most ``seconds`` lie between two checkpoints; 0: one after each record.
    """

    def __init__(self, file: Path, run: Mapping[str, Any], layout: RecordLayout, seconds: float) -> None:
        self.path, self.records, self.failures = part_of(file), 0, 0
        self._file, self.format, self._layout, self._seconds = file, run["format"], layout, seconds
        self._begun = self._saved = time.monotonic()
        self._out = self.path.open("ab")

    def begin(self, run: Mapping[str, Any]) -> None:
        """Cut off what is not valid; without a record, write the header of a new run."""
        size = 0
        with self.path.open("rb") as lines:
            for line in lines:
                value = _parsed(line)
                if value is None:
                    break
                if size:
                    self.records += 1
                    self.failures += bool(value.get("error"))
                size += len(line)
        self._out.truncate(size if self.records else 0)
        if not self.records:
            self._out.write(json_text({"run": run}).encode() + b"\n")
            self.checkpoint()

    def add(self, record: Prediction | Scored | Failure) -> None:
        """Append a record; it is on the disk at the next checkpoint."""
        self._out.write(json_text(asdict(record)).encode() + b"\n")
        self.records += 1
        self.failures += isinstance(record, Failure)
        now = time.monotonic()
        if now - self._saved >= min(self._seconds, FIRST_CHECKPOINT_S + (now - self._begun) / 10):
            self.checkpoint()

    def checkpoint(self) -> None:
        """Flush everything so far to the disk."""
        self._out.flush()
        os.fsync(self._out.fileno())
        self._saved = time.monotonic()

    def unanswered(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield ``items`` without those answered before this run was resumed.

        Paths are compared in order, so that memory does not grow. Once the images are no longer the same, a hash of
        each further path is kept (about 0.2 GB a million); answers to images that were removed stay.
        """
        earlier = self._earlier_paths(self.records)
        pending, answered = next(earlier, None), Counter[bytes]()
        for item in items:
            if pending == item.path:
                pending = next(earlier, None)
                continue
            if pending is not None:
                answered.update(map(_digest, chain([pending], earlier)))
                pending = None
            if answered[_digest(item.path)]:
                answered[_digest(item.path)] -= 1
            else:
                yield item

    def _earlier_paths(self, count: int) -> Iterator[str]:
        with self.path.open("rb") as lines:
            next(lines)
            for _, line in zip(range(count), lines, strict=False):
                yield json.loads(line)["path"]

    def finish(self) -> None:
        """Convert the working file to the final one, and remove it."""
        self.checkpoint()
        with atomic_path(self._file) as part, self.path.open("rb") as lines:
            next(lines)
            records = (self._layout.from_json(json.loads(line)) for line in lines)
            if self.format == PARQUET:
                rows = (row for record in records for row in self._layout.to_rows(record))
                write_parquet(part, rows, self._layout.columns, self._layout.metadata)
            else:
                with part.open("w", encoding="utf-8", newline="") as out:
                    self._layout.text_formats[self.format].write(records, out)
        self.path.unlink()

    def close(self) -> None:
        """Keep the records for a later run; without any, remove the working file."""
        try:
            if self.records and self.path.exists():
                self.checkpoint()
            else:
                self.path.unlink(missing_ok=True)
        finally:
            self._out.close()


@contextmanager
def open_resumable(
    file: Path, format: str, run: Mapping[str, Any], *,
    resume: bool = False, layout: RecordLayout = ANSWER_LAYOUT, seconds: float = CHECKPOINT_S,
) -> Iterator[ResumableWriter]:  # fmt: skip
    """Yield a writer of ``file``: a new one, or with ``resume`` one that continues an earlier run of the same ``run``.

    ``run`` is the identity of the run, as JSON values. ``file`` appears when the block ends; an exception leaves the
    working file. Raises ConfigError if there is an unfinished run, or another one, and when the disk refuses.
    """
    check_target(file, format)
    part, identity = part_of(file), json.loads(json.dumps({**run, "format": format}))
    try:
        with lock_output(file, command=True):
            _check_unfinished(part, identity, resume)
            with closing(ResumableWriter(file, identity, layout, seconds)) as writer:
                writer.begin(identity)
                yield writer
                writer.finish()
    except OSError as error:
        hint = "what was answered is kept; --resume goes on" if part.exists() else ""
        raise ConfigError(f"cannot write {file}: {error.strerror or error}", hint) from error


def check_target(file: Path, format: str) -> None:
    """Raise ConfigError if no working file beside ``file`` can be written, MissingExtra if Parquet cannot."""
    if format == PARQUET:
        arrow_schema({})
    check_file(file)
    if not file.parent.is_dir():
        raise ConfigError(f"cannot write {file}: no folder {file.parent}", hint="make the folder first")


def part_of(file: Path) -> Path:
    """Return the path of the working file of the unfinished ``file``."""
    return file.with_name(f"{file.name}.part")


def _check_unfinished(part: Path, run: dict[str, Any], resume: bool) -> None:
    """Raise ConfigError if ``part`` may not be continued or replaced."""
    if not part.exists():
        return
    remove = "remove it to begin anew"
    if part.is_dir():
        raise ConfigError(f"{part} is of an older version, whose runs cannot be resumed", hint=remove)
    with part.open("rb") as lines:
        header, first = next(lines, b""), next(lines, b"")
    earlier = (_parsed(header) or {}).get("run")
    if not isinstance(earlier, dict):
        if header.endswith(b"\n") or not HEADER_START.startswith(header[: len(HEADER_START)]):
            raise ConfigError(f"{part} is not an unfinished run", hint=remove)
        return                                     # killed amid the header
    if _parsed(first) is None:
        return                                     # killed before the first record
    if not resume:
        raise ConfigError(f"an unfinished run is in {part}", hint=f"--resume goes on with it; {remove}")
    for change in RunIdentity(run).differences(earlier):
        values = f"its {change.key} is {change.earlier!r}, this run's is {change.now!r}"
        hint = f"resume with the same model and options, or {remove}"
        raise ConfigError(f"{part} is of another run: {values}", hint)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return the object on a complete line of JSON, or None."""
    try:
        value = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _digest(path: str) -> bytes:
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=16).digest()
