"""Search for int8 settings that pass the accuracy gate, within a time budget, and resumable.

1. Settings with every layer in int8 are tried in turn. They are equally fast, so the first that passes is taken. If
   the first two lose far more than the gate accepts, single layers are at fault: the others are not tried.
2. If none passes, the layers are ranked by the loss that quantising each of them alone causes, starting from the
   settings closest to float32. The most sensitive layers stay in float32: 1, 2, 4, ... until the gate passes.
3. Bisection then finds the smallest number of float32 layers that passes. Fewer float32 layers are faster.

Every trial and every layer's loss is written to ``notes.json`` as soon as it is known. A killed search repeats at
most the step it was in; trials are looked up by their settings, and the gate's limit is applied again, so that a
search with another limit reuses them too.
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
from wideresnet.tasks.quantize.accuracy_gate import AccuracyGate, apply_limit, compute_reference_logits

SAMPLES_FACTOR = 3                                 # trials with more, or fewer, calibration images
CLEAR_FAILURE = 10                                 # times the accepted loss; other ranges of activations gain less
CLEAR_FAILURES = 2                                 # at the beginning, after which only layers in float32 can help


class TrialRunner(Protocol):
    """Builds int8 models and measures them."""

    def attempt(self, settings: QuantiseSettings) -> Generator[Progress, None, Trial]:
        """Build a model and run the gate. Raises BundleError if its logits deviate too far from float32."""

    def losses(self, settings: QuantiseSettings, measured: Sequence[LayerLoss]) -> Iterator[LayerLoss]:
        """Yield the loss of quantising each layer alone, except the ``measured``."""


def candidates(start: QuantiseSettings, images: int) -> list[QuantiseSettings]:
    """Return settings with every layer in int8, most promising first, for ``images`` calibration images."""
    settings = [start, *(replace(start, estimator=estimator) for estimator in ("mse", "max", "mean"))]
    if images > start.samples:
        settings.append(replace(start, samples=min(images, SAMPLES_FACTOR * start.samples)))
    settings += [replace(start, preset="mixed"), replace(start, estimator="percentile")]
    settings += [replace(start, estimator=estimator, bias_correction="fast") for estimator in ("mse", "mean")]
    settings.append(replace(start, samples=max(1, start.samples // SAMPLES_FACTOR)))
    return list(dict.fromkeys(settings))


@dataclass(frozen=True)
class SearchLog:
    """The trials and layer losses of a search. ``key`` identifies its model, images and tools."""

    key: str
    trials: tuple[Trial, ...] = ()
    layers: tuple[LayerLoss, ...] = ()


_LOG = TypeAdapter(SearchLog)
NOTES, REFERENCE_LOGITS = "notes.json", "reference.npy"


class SearchState:
    """The notes of a search in a folder, replaced atomically after every step."""

    def __init__(self, folder: Path, key: str) -> None:
        """Read the notes in ``folder``; notes of another ``key``, or damaged ones, are discarded."""
        self.folder, self.log = folder, SearchLog(key)
        try:
            log = _LOG.validate_json((folder / NOTES).read_bytes())
        except (OSError, ValidationError):
            log = None
        if log and log.key == key:
            self.log = log
        else:
            (folder / REFERENCE_LOGITS).unlink(missing_ok=True)
            self._save()

    def add(self, entry: Trial | LayerLoss) -> None:
        """Append an entry and save."""
        if isinstance(entry, Trial):
            self.log = replace(self.log, trials=(*self.log.trials, entry))
        else:
            self.log = replace(self.log, layers=(*self.log.layers, entry))
        self._save()

    def reference_logits(self, gate: AccuracyGate) -> Generator[Progress, None, NDArray[np.float32]]:
        """Return the reference's logits, computed by the first call and read by later ones."""
        file = self.folder / REFERENCE_LOGITS
        if not file.exists():
            computed = yield from compute_reference_logits(gate)
            with atomic_path(file) as part, part.open("wb") as stream:
                np.save(stream, computed)
        return np.load(file, allow_pickle=False)

    def remove(self) -> None:
        """Remove the files of the search; other files in the folder stay."""
        for name in (NOTES, REFERENCE_LOGITS):
            for file in (name, f".{name}.lock", f".{name}.part"):      # the latter of killed processes
                (self.folder / file).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _save(self) -> None:
        save_text(self.folder / NOTES, _LOG.dump_json(self.log).decode())


@dataclass
class Search:
    """A search; ``deadline`` is a time of ``time.monotonic``. A step that has begun is finished."""

    runner: TrialRunner
    state: SearchState
    gate: AccuracyGate
    deadline: float
    trials: list[Trial] = field(default_factory=list)

    def run(self, settings: Sequence[QuantiseSettings]) -> Generator[Progress, None, bool]:
        """Search until the fastest passing settings are found or all have been tried; False at the deadline."""
        for candidate in settings:
            trial = yield from self._attempt(candidate)
            if trial is None:
                return False
            if passed(trial):
                return True
            if len(self.trials) == CLEAR_FAILURES and all(map(self._fails_clearly, self.trials)):
                break
        base = self.base(settings[0])
        layers = yield from self._ranked_layers(base)
        return bool(layers) and (yield from self._fewest_float_layers(base, layers))

    def best(self) -> Trial:
        """Return the fastest trial that passes, else the closest to float32. Raises BundleError if none is valid."""
        if all(trial.gate is None for trial in self.trials):
            hint = "nothing was written; give other or more calibration images, or a larger --budget"
            raise BundleError("the logits of every int8 graph deviate too far from float32", hint)
        return min(self.trials, key=_rank)

    def base(self, start: QuantiseSettings) -> QuantiseSettings:
        """Return the settings closest to float32 among those with every layer in int8; ``start`` if none is valid."""
        trials = [trial for trial in self.trials if trial.gate and not trial.settings.kept]
        return min(trials, key=lambda t: t.gate.mean_kl if t.gate else 0.0).settings if trials else start

    def _fails_clearly(self, trial: Trial) -> bool:
        """Return whether the graph is invalid or loses far more than the gate accepts."""
        report = trial.gate
        if report is None or report.limit is None:
            return report is None
        return report.loss > CLEAR_FAILURE * max(report.accepted, 1 / report.n)

    def _attempt(self, settings: QuantiseSettings) -> Generator[Progress, None, Trial | None]:
        """Return a trial, from the notes or run now; None at the deadline."""
        trial = next((noted for noted in self.state.log.trials if noted.settings == settings), None)
        if trial is None:
            if self._is_late():
                return None
            start, number = time.monotonic(), len(self.trials) + 1
            try:
                trial = yield from map_events(
                    self.runner.attempt(settings), lambda event: replace(event, activity=f"trial {number}")
                )
            except BundleError:
                trial = Trial(settings, None)
            trial = replace(trial, seconds=time.monotonic() - start)
            self.state.add(trial)
        # The notes may be of a search with another limit.
        trial = replace(trial, gate=apply_limit(trial.gate, self.gate) if trial.gate else None)
        self.trials.append(trial)
        return trial

    def _ranked_layers(self, base: QuantiseSettings) -> Generator[Progress, None, list[str]]:
        """Return the names of the layers, most sensitive first; none at the deadline."""
        for loss in self.runner.losses(base, self.state.log.layers):
            self.state.add(loss)
            yield Progress("sensitivity of layers", len(self.state.log.layers), 0)
            if self._is_late():
                return []
        return [layer.name for layer in sorted(self.state.log.layers, key=lambda layer: -layer.mean_kl)]

    def _fewest_float_layers(self, base: QuantiseSettings, layers: Sequence[str]) -> Generator[Progress, None, bool]:
        """Double the number of float32 layers until the gate passes, then bisect; False at the deadline."""
        fails, passes, count = 0, len(layers) + 1, 1
        while passes - fails > 1:
            trial = yield from self._attempt(replace(base, kept=tuple(layers[:count])))
            if trial is None:
                return False
            fails, passes = (fails, count) if passed(trial) else (count, passes)
            count = min(2 * count, len(layers)) if passes > len(layers) else (fails + passes) // 2
        return True

    def _is_late(self) -> bool:
        # There must be one trial, otherwise there would be nothing to write.
        return bool(self.trials) and time.monotonic() >= self.deadline


def passed(trial: Trial) -> bool:
    """Return whether the graph was valid and passed the gate."""
    return trial.gate is not None and trial.gate.passed


def _rank(trial: Trial) -> tuple[bool, int, float]:
    """Return the key that sorts the best trial first: one that passes, with few layers in float32, of a small loss."""
    layers = len(trial.settings.kept) if passed(trial) else 0
    return not passed(trial), layers, trial.gate.loss if trial.gate else math.inf
