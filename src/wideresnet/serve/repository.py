"""The models that a service is told to serve, those of ``-m`` and of a folder (``--models``), and which it serves.

A model that cannot be opened leaves the one that is open: nothing is dropped before its successor is open, and a
request keeps the model that it began with.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import islice
from pathlib import Path

from wideresnet.bundle.files import CARD
from wideresnet.errors import ConfigError, WrnError, os_errors_as
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.metrics import Metrics
from wideresnet.serve.models import URL_NAME, make_decode_slots, open_model, open_models
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.versions import split_name
from wideresnet.serve.worker import ModelWorker

MAX_FOLDERS = 256                                  # of a model folder, and versions of a model
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


Listing = tuple[dict[str, dict[str, Path]], dict[str, str], list[str]]     # see ``list_models``


def list_models(folder: Path, preferred: Collection[str] = ()) -> Listing:
    """Return the folders of models, by model and by name, the newest version first; refused names; and notes.

    Refused names have a reason; notes are about other folders that are not served. Of more than ``MAX_FOLDERS``, those
    of the models ``preferred`` come first, and the rest is a note. Raises ConfigError where the folder cannot be read,
    and where it is itself a bundle.
    """
    folder = folder.absolute()                     # not the name of a published model
    with os_errors_as(ConfigError, f"cannot read the model folder {folder}", "name a folder with bundles in it"):
        names = _folders(folder)
    if os.path.exists(folder / CARD):
        raise ConfigError(f"{folder} is a bundle, not a folder of bundles", hint=f"-m {folder}")
    models, refused, notes = dict[str, dict[str, Path]](), dict[str, str](), list[str]()
    if len(names) > MAX_FOLDERS:
        notes.append(f"{folder} has {len(names):,} sub-folders: {len(names) - MAX_FOLDERS:,} are not looked at")
    for name in sorted(names, key=lambda name: (name not in preferred, name))[:MAX_FOLDERS]:
        path, versions = folder / name, list[str]()
        if not URL_NAME.fullmatch(name):
            refused[name] = f"{name!r} is not a valid name in a URL"
            continue
        if not os.path.isfile(path / CARD):
            with suppress(OSError):                # reported when it is opened
                versions = _folders(path)
        numbers = sorted((int(version) for version in versions if _NUMBER.fullmatch(version)), reverse=True)
        if len(numbers) > MAX_FOLDERS:
            notes.append(f"{path} has {len(numbers):,} versions: the oldest {len(numbers) - MAX_FOLDERS:,} are ignored")
        models[name] = {f"{name}/{number}": path / str(number) for number in numbers[:MAX_FOLDERS]} or {name: path}
        if numbers and (strays := [version for version in versions if not _NUMBER.fullmatch(version)]):
            notes.append(f"not served from {path}, since versions are named 1, 2, 3 …: {len(strays)}, as {strays[0]!r}")
    return models, refused, notes


def _folders(folder: Path) -> list[str]:
    """Return the names of folders in ``folder``; os.scandir asks for the kind of links only."""
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        return sorted(item.name for item in visible if item.is_dir(follow_symlinks=False) or os.path.isdir(item))


def inspect_files(folder: Path) -> tuple[object, ...]:
    """Return a value that changes with a model: sizes and times of its files, and the hash of its card."""
    state = list[object]()
    with suppress(OSError):
        for file in sorted(islice(folder.rglob("*"), MAX_FOLDERS)):
            state.append((file, file.stat().st_size, file.stat().st_mtime_ns))
        state.append(hashlib.sha256((folder / CARD).read_bytes()).digest())
    return tuple(state)


def newest_first(names: Collection[str]) -> list[str]:
    """Return the names of models by model, of each the newest version first."""
    return sorted(names, key=lambda name: (split_name(name)[0], -int(split_name(name)[1])))


def unknown_model(name: str) -> ApiError:
    """Return the error for a name that no model has, served or not."""
    return ApiError("model", f"no model called {name[:80]!r}", "POST /v2/repository/index lists all models")


def describe_error(error: Exception) -> str:
    """Return an error as part of a line of the log."""
    return error.line if isinstance(error, WrnError) else f"{type(error).__name__}: {error}"


class ModelRepository:
    """The configured models, the served ones, and the difference. Used on the event loop; models open in threads.

    ``serve`` gets the served models by name whenever they change: those of -m, then those of the folder.
    """

    def __init__(
        self, settings: ServeSettings, log: Callable[[str], None], metrics: Metrics,
        serve: Callable[[dict[str, ModelWorker]], None],
    ) -> None:  # fmt: skip
        self._settings, self._log, self._metrics, self._serve = settings, log, metrics, serve
        self._decode_slots, self._lock = make_decode_slots(settings), asyncio.Lock()
        self._models: dict[str, ModelWorker] = {}
        self._sources: dict[str, str] = {}         # of the models of -m
        self._tried: dict[str, object] = {}        # name -> ``inspect_files`` when it was opened, or did not open
        self._absent: set[str] = set()             # open, and missing when the folder was last looked at
        self._notes: set[str] = set()
        self._unloaded: set[str] = set()           # by request
        self.refused: dict[str, str] = {}          # names of the folder that no model can have -> why
        self._problems: dict[str, str] = {}        # name -> why the configured model is not the served one
        self.default: str | None = None            # the first model of -m
        self.loaded = False

    async def load(self) -> None:
        """Open the models of -m again, all or none; then update those of the folder. Raises WrnError."""
        async with self._lock:
            try:
                opened = await asyncio.to_thread(open_models, self._settings, self._log, self._decode_slots)
            except Exception as error:
                reason = f"the reload failed: {describe_error(error)}"
                self._problems |= dict.fromkeys({*self._sources} - self._unloaded, reason)
                self._publish()
                raise
            sources = {name: model.source for name, model in opened.items()}
            listing = await self._list()
            of_folder = {name: model for name, model in self._models.items() if name not in self._sources}
            self._sources, self.default, self._models = sources, next(iter(sources), None), opened | of_folder | opened
            self._tried = {name: state for name, state in self._tried.items() if name not in self._problems}
            self._unloaded, self._problems = set(), {}
            await self._update(listing, final=True)
            self.loaded = True
            self._publish()

    async def poll(self) -> None:
        """Update the models of the folder. Where it cannot be read, log that once: the open models stay."""
        async with self._lock:
            try:
                listing = await self._list()
            except ConfigError as error:
                if self._log_notes([f"{error.message}; the open models stay"]):
                    self._metrics.count_reload("failed")
            else:
                await self._update(listing)

    async def load_model(self, name: str) -> None:
        """Open a model again, even if nothing has changed. Raises WrnError."""
        async with self._lock:
            try:
                listing = ({}, self.refused, []) if name in self._sources else await self._list()
            except ConfigError as error:
                raise ApiError("load", f"cannot load {name}: {error.message}", error.hint or "") from error
            if name not in {*self._sources, *listing[0]}:
                raise unknown_model(name)
            self._unloaded -= self._versions(name, self._unloaded)
            for version in self._versions(name, self._tried):
                del self._tried[version]
            if name in self._sources:
                await self._open(name, self._sources[name])
                self._publish()
            else:
                await self._update(listing, only=name)
            if failed := self._versions(name, self._problems):
                raise ApiError("load", f"cannot load {name}: {self._problems[newest_first(failed)[0]]}")

    async def unload_model(self, name: str) -> None:
        """Serve no version of a model any more, until it is loaded again. Raises ApiError for an unknown name."""
        async with self._lock:
            if not (names := self._versions(name, self.names())):
                raise unknown_model(name)
            self._unloaded |= names
            self._drop(names)
            self._publish()

    def names(self) -> list[str]:
        """Return the names of all models, the served ones first."""
        return [*self._models, *sorted({*self._problems, *self._unloaded} - {*self._models})]

    def reason(self, name: str) -> str:
        """Return why a model, or a version of it, is not served as it is configured, or ""."""
        reasons = self.refused | self._problems | dict.fromkeys(self._unloaded, "unloaded")
        return next((reasons[version] for version in reasons if name in (version, split_name(version)[0])), "")

    @staticmethod
    def _versions(model: str, names: Collection[str]) -> set[str]:
        return {name for name in names if split_name(name)[0] == model}

    async def _list(self) -> Listing:
        """Return the content of the folder; nothing without one. Raises ConfigError."""
        if self._settings.folder is None:
            return {}, {}, []
        served = {split_name(name)[0] for name in self._models}
        return await asyncio.to_thread(list_models, self._settings.folder, served)

    async def _update(self, listing: Listing, *, only: str | None = None, final: bool = False) -> None:
        """Open new and changed models of the folder, and drop removed ones; ``only``: one model.

        A model is dropped when it is missing the second time, since replacing a folder by another takes two renames;
        ``final``: at once.
        """
        models, self.refused, notes = listing
        notes = notes + [f"{name} is not served: {reason}" for name, reason in self.refused.items()]
        taken = sorted({*models} & {*self._sources})
        self._log_notes(notes + [f"the folder's {name} is not served: a model of -m has this name" for name in taken])
        unloaded, expected = {split_name(name)[0] for name in self._unloaded}, {*self._sources}
        for model in sorted({*models} - unloaded - {*self._sources}):
            opened = 0
            for name, path in models[model].items() if only in (None, model) else ():
                if opened < self._settings.versions:
                    expected.add(name)
                    await self._open_changed(name, path)
                    opened += name in self._models
        unreadable = expected & {*self._problems}      # of these models, versions that were open stay
        surplus = {*self._models, *self._problems} - expected
        surplus = surplus if only is None else self._versions(only, surplus)
        surplus -= {name for name in surplus if split_name(name)[0] in unreadable}
        missing = surplus & {*self._models} - {name for names in models.values() for name in names}
        dropped = surplus if final else surplus - missing | missing & self._absent
        self._absent = missing
        self._drop(dropped)
        self._publish()

    async def _open_changed(self, name: str, path: Path) -> None:
        state = await asyncio.to_thread(inspect_files, path)
        if self._tried.get(name) != state:
            self._tried[name] = state
            await self._open(name, str(path))

    async def _open(self, name: str, source: str) -> None:
        """Open a model and serve it; if that fails, report why and keep the open one."""
        try:
            model = await asyncio.to_thread(open_model, name, source, self._settings, self._log, self._decode_slots)
        except Exception as error:                 # whatever a runtime raises: the other models go on
            self._report(name, describe_error(error))
        else:
            self._models = self._models | {name: model}
            self._problems.pop(name, None)
            self._publish()

    def _drop(self, names: Collection[str]) -> None:
        for name in sorted({*names} & {*self._models}):
            self._log(f"{name} is no longer served")
        self._models = {name: model for name, model in self._models.items() if name not in names}
        for name in names:
            self._problems.pop(name, None)
            self._tried.pop(name, None)

    def _report(self, name: str, reason: str) -> None:
        """Log and count that a model cannot be opened, once for each reason."""
        if self._problems.get(name) != reason:
            self._problems[name] = reason
            self._metrics.count_load_failure(name)
            stays = " and ".join(sorted(self._versions(split_name(name)[0], self._models)))
            self._log(f"cannot open {name}: {reason}; {stays + ' stays open' if stays else 'it is not served'}")

    def _log_notes(self, notes: Collection[str]) -> bool:
        """Log the notes that the latest ones did not have; return whether there are any."""
        new, self._notes = [note for note in notes if note not in self._notes], {*notes}
        for note in new:
            self._log(note)
        return bool(new)

    def _publish(self) -> None:
        if self.loaded:                            # not before all models are open
            names = [name for name in self._sources if name in self._models]
            names += newest_first({*self._models} - {*self._sources})
            self._serve({name: self._models[name] for name in names})
            self._metrics.set_problems(self.names(), self._problems)
