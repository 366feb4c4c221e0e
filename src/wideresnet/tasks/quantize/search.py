"""Looking for int8 settings that pass the gate: the fastest that do, within a budget, and resumable.

First come settings that leave every layer int8: they are equally fast, so that the first to pass is kept. If none
passes, the layers are ranked by what each alone costs, and the most sensitive of them stay in float32: 1, 2, 4, …
until the gate passes, then fewer by bisection. Fewer layers in float32 are faster.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from wideresnet.errors import BundleError
from wideresnet.output.atomic import atomic_path, save_text
from wideresnet.records import LayerLoss, Progress, QuantiseSettings, Trial, map_events
from wideresnet.tasks.quantize.accuracy_gate import AccuracyGate, answers, judged
from wideresnet.tasks.quantize.sensitivity import ranked

MORE = 3                                           # one trial takes so many times the calibration images, one a part


class Maker(Protocol):
    """Who makes int8 models and measures them."""

    def attempt(self, settings: QuantiseSettings) -> Generator[Progress, None, Trial]:
        """Make one and hold it to the gate. Raises BundleError when it does not pass its verification."""
        ...

    def losses(self, settings: QuantiseSettings, known: Sequence[LayerLoss]) -> Iterator[LayerLoss]:
        """What quantising each layer alone costs, but for those that are known."""
        ...


def candidates(start: QuantiseSettings, images: int) -> list[QuantiseSettings]:
    """Settings with every layer int8, the likeliest first; ``pictures`` are there to calibrate with."""
    found = [start, *(replace(start, estimator=each) for each in ("mse", "max", "mean"))]
    if images > start.samples:
        found.append(replace(start, samples=min(images, MORE * start.samples)))
    found += [replace(start, preset="mixed"), replace(start, estimator="percentile")]
    found += [replace(start, estimator=each, bias_correction="fast") for each in ("mse", "mean")]
    found.append(replace(start, samples=max(1, start.samples // MORE)))
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Notes:
    """What a search has found so far. ``key`` stands for the model and the images it holds for."""

    key: str
    trials: tuple[Trial, ...] = ()
    layers: tuple[LayerLoss, ...] = ()


_NOTES = TypeAdapter(Notes)
NOTES, ANSWERS = "notes.json", "reference.npy"


class Notebook:
    """Notes in a folder, written whole after every step: whenever the search is killed, it goes on from there."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.notes = folder, Notes(key)
        try:
            found = _NOTES.validate_json((folder / NOTES).read_bytes())
        except (OSError, ValidationError):
            found = None
        if found and found.key == key:
            self.notes = found
        else:
            (folder / ANSWERS).unlink(missing_ok=True)
            self._save()

    def add(self, entry: Trial | LayerLoss) -> None:
        """Keep one more finding."""
        if isinstance(entry, Trial):
            self.notes = replace(self.notes, trials=(*self.notes.trials, entry))
        else:
            self.notes = replace(self.notes, layers=(*self.notes.layers, entry))
        self._save()

    def answers(self, judge: AccuracyGate) -> Generator[Progress, None, NDArray[np.float32]]:
        """The reference's logits: computed once, then read."""
        file = self.folder / ANSWERS
        if not file.exists():
            found = yield from answers(judge)
            with atomic_path(file) as part, part.open("wb") as stream:
                np.save(stream, found)
        known: NDArray[np.float32] = np.load(file, allow_pickle=False)
        return known

    def remove(self) -> None:
        """Take the notes away; whatever else is in the folder stays."""
        for name in (NOTES, ANSWERS):
            (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _save(self) -> None:
        save_text(self.folder / NOTES, _NOTES.dump_json(self.notes).decode())


@dataclass
class Search:
    """One search; ``deadline`` is a time of ``time.monotonic``. A step that was begun is finished."""

    maker: Maker
    notebook: Notebook
    judge: AccuracyGate
    deadline: float
    trials: list[Trial] = field(default_factory=list)

    def run(self, settings: Sequence[QuantiseSettings]) -> Generator[Progress, None, bool]:
        """Try until one passes and none that is faster is left, or nothing is left to try.

        False when the time is up before.
        """
        for each in settings:
            trial = yield from self._attempt(each)
            if trial is None:
                return False
            if passed(trial):
                return True
        base = self.base()
        layers = yield from self._ranked(base)
        return bool(layers) and (yield from self._fewest(base, layers))

    def best(self) -> Trial:
        """The fastest that passes, or the nearest to it. Raises BundleError when no graph was sound."""
        if all(trial.gate is None for trial in self.trials):
            raise BundleError(
                "no int8 graph that was tried is the model it was made from",
                hint="nothing was written; give other or more calibration images, or a larger --budget",
            )
        return min(self.trials, key=lambda t: (not passed(t), len(t.settings.kept) if passed(t) else 0, _distance(t)))

    def base(self) -> QuantiseSettings:
        """The settings nearest to the original that keep no layer in float32."""
        plain = [trial for trial in self.trials if trial.gate and not trial.settings.kept]
        return min(plain, key=lambda t: t.gate.mean_kl if t.gate else 0.0).settings if plain else QuantiseSettings()

    def _attempt(self, settings: QuantiseSettings) -> Generator[Progress, None, Trial | None]:
        """One trial, out of the notebook or made now; None when the time is up."""
        known = next((each for each in self.notebook.notes.trials if each.settings == settings), None)
        if known is None:
            if self._late():
                return None
            start, number = time.monotonic(), len(self.trials) + 1
            try:
                known = yield from map_events(
                    self.maker.attempt(settings), lambda event: replace(event, what=f"trial {number}")
                )
            except BundleError:
                known = Trial(settings, None)
            known = replace(known, seconds=time.monotonic() - start)
            self.notebook.add(known)
        # The limit may be another than when it was tried.
        trial = replace(known, gate=judged(known.gate, self.judge) if known.gate else None)
        self.trials.append(trial)
        return trial

    def _ranked(self, base: QuantiseSettings) -> Generator[Progress, None, list[str]]:
        """The layers, most sensitive first; none when the time is up."""
        for loss in self.maker.losses(base, self.notebook.notes.layers):
            self.notebook.add(loss)
            yield Progress("sensitivity of layers", len(self.notebook.notes.layers), 0)
            if self._late():
                return []
        return [layer.name for layer in ranked(self.notebook.notes.layers)]

    def _fewest(self, base: QuantiseSettings, layers: Sequence[str]) -> Generator[Progress, None, bool]:
        """Keep more and more layers in float32 until the gate passes, then as few as will do."""
        fails, passes, count = 0, len(layers) + 1, 1
        while passes - fails > 1:
            trial = yield from self._attempt(replace(base, kept=tuple(layers[:count])))
            if trial is None:
                return False
            fails, passes = (fails, count) if passed(trial) else (count, passes)
            count = min(2 * count, len(layers)) if passes > len(layers) else (fails + passes) // 2
        return True

    def _late(self) -> bool:
        # One trial there must be, or there would be nothing to write.
        return bool(self.trials) and time.monotonic() >= self.deadline


def passed(trial: Trial) -> bool:
    """Whether its graph was sound and within the gate."""
    return trial.gate is not None and trial.gate.passed


def _distance(trial: Trial) -> float:
    """How far off the original, by what the gate looks at."""
    gate = trial.gate
    if gate is None:
        return math.inf
    return 1 - gate.agreement if gate.drop is None else gate.drop
