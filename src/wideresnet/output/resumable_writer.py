"""A file of answers that grows over hours: written as they come, whole at the end, resumed after any interruption.

    answers.csv.part/
      data              the text so far; for Parquet 000000.parquet, 000001.parquet, ... instead
      seen              16 bytes an image: a hash of its path, in order
      state.json        how much of these counts, and of which run they are

``state.json`` is replaced in one step after the others have reached the disk. Whatever lies beyond it was not
finished and is cut off when the run is resumed; so a run may be killed at any moment. At the end it names the
whole file first; then that one takes its place, and the folder goes in one step.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from wideresnet.errors import ConfigError
from wideresnet.output.answers import ANSWERS
from wideresnet.output.atomic import check_file, save_text
from wideresnet.output.parquet_parts import Shards
from wideresnet.output.row_format import PARQUET, Sheet
from wideresnet.records import Failure, Item, Prediction, Scored

Answer = Prediction | Scored | Failure
DIGEST = 16                                        # bytes of a path's hash
# A kill costs the work since the last checkpoint: a tenth of the run so far, and at most this much.
CHECKPOINT_S = 5.0
FIRST_S = 0.1


@dataclass
class State:
    """What counts of a run's files: answers and failures among them, bytes of ``data``, number of shards.

    ``whole`` names the file in the folder that is to take its place, once all answers are in it.
    """

    run: dict[str, Any]
    answers: int = 0
    failures: int = 0
    size: int = 0
    shards: int = 0
    whole: str = ""


@dataclass
class Journal:
    """An open file of answers. At most ``seconds`` lie between two checkpoints; 0: one after each answer."""

    file: Path
    format: str
    state: State
    data: BinaryIO | None
    seen: BinaryIO
    shards: Shards | None
    sheet: Sheet = ANSWERS
    seconds: float = CHECKPOINT_S
    begun: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    torn: bool = False                             # amid an answer: a checkpoint would count half of it

    @property
    def folder(self) -> Path:
        """Where the work lies until the file is whole."""
        return part_of(self.file)

    def add(self, answer: Answer) -> None:
        """One more answer, in its format; on the disk at the next checkpoint."""
        self.torn = True
        if self.data is not None:
            self._write(self.sheet.formats[self.format].one(answer, self.state.answers))
        if self.shards is not None:
            self.shards.add(self.sheet.rows(answer))
        self.seen.write(digest(answer.path))
        self.state.answers += 1
        self.state.failures += isinstance(answer, Failure)
        self.torn = False
        now = time.monotonic()
        if now - self.saved >= min(self.seconds, FIRST_S + (now - self.begun) / 10):
            self.checkpoint()

    def checkpoint(self) -> None:
        """Have everything so far reach the disk, and count it."""
        if self.data is not None:
            _sync(self.data)
            self.state.size = self.data.tell()
        if self.shards is not None:
            self.state.shards = self.shards.flush()
        _sync(self.seen)
        self._save()
        self.saved = time.monotonic()

    def unanswered(self, items: Iterable[Item]) -> Iterator[Item]:
        """``items`` without those answered before this run was resumed.

        In step with the paths seen, so that memory does not grow. Where the images are no longer the same ones,
        by all paths seen from there on (about 0.2 GB a million); answers to images that have gone stay.
        """
        if self.state.whole:
            return
        known: Counter[bytes] = Counter()
        with (self.folder / "seen").open("rb") as seen:
            left = self.state.answers
            for item in items:
                key = digest(item.path)
                if left and seen.read(DIGEST) == key:
                    left -= 1
                    continue
                if left:
                    seen.seek(-DIGEST, os.SEEK_CUR)
                    known.update(seen.read(DIGEST) for _ in range(left))
                    left = 0
                if known[key]:
                    known[key] -= 1
                else:
                    yield item

    def finish(self) -> None:
        """Put the whole file in its place and remove the rest. Killed amid it, the next run does the rest of it."""
        if self.data is not None:
            self.checkpoint()
            self.torn = True                       # what follows is no answer
            self._write(self.sheet.formats[self.format].tail)
            _sync(self.data)
            self.state.whole = "data"
        if self.shards is not None:
            self.checkpoint()
            self.shards.merge(self.folder / "whole.parquet")
            self.state.whole = "whole.parquet"
        self._save()
        self._close()
        with suppress(FileNotFoundError):          # it was put in place before a kill
            os.replace(self.folder / self.state.whole, self.file)
        _remove(self.folder)

    def close(self) -> None:
        """Keep what there is, for a run that goes on later."""
        if self.seen.closed:
            return
        try:
            if not self.torn and self.state.answers:
                self.checkpoint()
        finally:
            self._close()

    def _save(self) -> None:
        save_text(self.folder / "state.json", json.dumps(asdict(self.state)))

    def _close(self) -> None:
        for file in filter(None, (self.data, self.seen)):
            with suppress(OSError):                # what is not on the disk by now does not count
                file.close()

    def _write(self, text: str) -> None:
        assert self.data is not None
        self.data.write(text.encode())


@contextmanager
def open_journal(
    file: Path,
    format: str,
    run: Mapping[str, Any],
    *,
    resume: bool = False,
    sheet: Sheet = ANSWERS,
    seconds: float = CHECKPOINT_S,
) -> Iterator[Journal]:
    """The journal of ``file``: new, or with ``resume`` where an earlier run of the same ``run`` ended.

    ``sheet`` says how an answer is written. ``run`` is whatever decides the answers, as JSON values. In place when the
    block ends; an exception in it leaves the folder for another try. Raises ConfigError when an unfinished run is in
    the way or is another one, and when the disk refuses.
    """
    check_journal(file)
    folder = part_of(file)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0)
    try:
        with lock, ExitStack() as ending:          # from the last to the first
            ending.callback(Path(lock.lock_file).unlink, missing_ok=True)
            state = _begin(folder, json.loads(json.dumps({**run, "format": format})), resume)
            ending.callback(_remove_empty, folder, state)
            journal = _open(file, format, state, sheet, seconds)
            ending.callback(journal.close)
            yield journal
            journal.finish()
    except Timeout as error:
        raise ConfigError(f"another run is writing {file} at this moment") from error
    except OSError as error:
        raise ConfigError(
            f"cannot write {file}: {error.strerror or error}",
            hint="what was answered is kept; --resume goes on" if folder.exists() else "",
        ) from error


def check_journal(file: Path) -> None:
    """Raise ConfigError where no journal of ``file`` can be opened; its folder is not made."""
    check_file(file)
    if not file.parent.is_dir():
        raise ConfigError(f"cannot write {file}: no folder {file.parent}", hint="make the folder first")


def part_of(file: Path) -> Path:
    """The folder of the unfinished ``file``."""
    return file.with_name(f"{file.name}.part")


def digest(path: str) -> bytes:
    """A hash of a path, ``DIGEST`` bytes."""
    return hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=DIGEST).digest()


def _begin(folder: Path, run: dict[str, Any], resume: bool) -> State:
    """The state to go on from; a folder for a new run."""
    file = folder / "state.json"
    if not file.exists():
        shutil.rmtree(folder, ignore_errors=True)  # killed before anything counted
        folder.mkdir()
        return State(run)
    if not resume:
        raise ConfigError(
            f"an unfinished run is in {folder}", hint="--resume goes on with it; remove the folder to begin anew"
        )
    try:
        state = State(**json.loads(file.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", hint="remove the folder to begin anew") from error
    for name, size in (("seen", DIGEST * state.answers), ("data", state.size)):
        if size > (os.path.getsize(folder / name) if (folder / name).exists() else 0) and not state.whole:
            raise ConfigError(f"{folder / name} is shorter than it was", hint="remove the folder to begin anew")
    for key in run | state.run:
        if run.get(key) != state.run.get(key):
            raise ConfigError(
                f"{folder} is of another run: its {key} is {state.run.get(key)!r}, asked is {run.get(key)!r}",
                hint="resume with the same model and options, or remove the folder to begin anew",
            )
    return state


def _open(file: Path, format: str, state: State, sheet: Sheet, seconds: float) -> Journal:
    """Cut off what does not count, and write on after it."""
    folder = part_of(file)
    if state.whole:
        return Journal(file, format, state, None, io.BytesIO(), None, sheet, seconds)
    seen = _append(folder / "seen", DIGEST * state.answers)
    if format == PARQUET:
        return Journal(file, format, state, None, seen, Shards(folder, state.shards, sheet.columns), sheet, seconds)
    data = _append(folder / "data", state.size)
    journal = Journal(file, format, state, data, seen, None, sheet, seconds)
    if not state.size:
        journal._write(sheet.formats[format].head)
    return journal


def _append(path: Path, size: int) -> BinaryIO:
    path.touch()
    file = path.open("r+b")
    file.truncate(size)
    file.seek(size)
    return file


def _remove_empty(folder: Path, state: State) -> None:
    if not state.answers:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder in one step, so that no half of it is ever gone on with."""
    if folder.exists():
        gone = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(gone, ignore_errors=True)
        os.replace(folder, gone)
        shutil.rmtree(gone, ignore_errors=True)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())

