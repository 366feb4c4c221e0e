"""A search keeps the fastest that passes, stops at its budget, and goes on where it was killed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wideresnet.errors import BundleError
from wideresnet.records import EngineInfo, GateReport, Item, LayerLoss, Progress, QuantiseSettings, Trial, follow
from wideresnet.tasks.quantize import search as searching
from wideresnet.tasks.quantize.accuracy_gate import AccuracyGate
from wideresnet.tasks.quantize.search import Search, SearchState, candidates, passed

START = QuantiseSettings()
CANDIDATES = candidates(START, 10_000)
ENGINE = EngineInfo("fake", "1", "CPU", "int8", 1)
LAYERS = [f"layer{index}" for index in range(10)]
FOREVER = 1e18


def gate(drop: float, kl: float = 0.01) -> GateReport:
    return GateReport("d", 100, 0, 0.9, 0.9 - drop, 1.0, 1.0, drop, (drop, drop), 1.0, 0.9, kl, None, True, ENGINE)


def gate_of(limit: float) -> AccuracyGate:
    return AccuracyGate(SimpleNamespace(), "d", [Item("a", b"", 0)], limit, 0.95)      # type: ignore[arg-type]


@dataclass
class FakeMaker:
    """Drops are what ``drop`` says of the settings; layer k costs as much as its place from the end."""

    drop: Callable[[QuantiseSettings], float]
    tried: list[QuantiseSettings] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)
    broken: QuantiseSettings | None = None

    def attempt(self, settings: QuantiseSettings) -> Generator[Progress, None, Trial]:
        yield Progress("x", 1, 1)
        self.tried.append(settings)
        if settings == self.broken:
            raise BundleError("does not compute the model")
        kl = 0.001 if settings.estimator == "max" else 0.01
        return Trial(settings, gate(self.drop(settings), kl))

    def losses(self, settings: QuantiseSettings, measured: Sequence[LayerLoss]) -> Iterator[LayerLoss]:
        for place, name in enumerate(LAYERS):
            if name not in {loss.name for loss in measured}:
                self.measured.append(name)
                yield LayerLoss(name, "Conv", (1, 1, 1, 1), 0.1, mean_kl=place, relative=0.0)


def searched(maker: FakeMaker, folder: Path, limit: float = 0.002, deadline: float = FOREVER) -> tuple[Search, bool]:
    search = Search(maker, SearchState(folder, "key"), gate_of(limit), deadline)
    return search, follow(search.run(CANDIDATES))


def test_the_first_that_passes_ends_it(tmp_path: Path) -> None:
    maker = FakeMaker(lambda s: 0.0 if s.estimator == "max" else 0.01)
    search, finished = searched(maker, tmp_path)
    assert finished
    assert maker.tried == CANDIDATES[:2]
    assert search.best().settings == replace(START, estimator="max")


@pytest.mark.parametrize("needed", [1, 3, 6, 10])
def test_as_few_layers_as_will_do_are_kept_and_the_most_sensitive_first(tmp_path: Path, needed: int) -> None:
    maker = FakeMaker(lambda s: 0.0 if len(s.kept) >= needed else 0.01)
    search, finished = searched(maker, tmp_path)
    best = search.best()
    assert finished
    assert passed(best)
    assert best.settings.kept == tuple(reversed(LAYERS))[:needed]
    assert best.settings.estimator == "max", "the base is what is nearest to the original"
    assert len(maker.tried) == len(set(maker.tried))


def test_when_nothing_passes_the_nearest_is_kept_and_nothing_is_left(tmp_path: Path) -> None:
    maker = FakeMaker(lambda s: 0.05 - 0.001 * len(s.kept))
    search, finished = searched(maker, tmp_path)
    assert finished
    assert not passed(search.best())
    assert len(search.best().settings.kept) == len(LAYERS)


@pytest.mark.parametrize("invalid", [True, False])
def test_two_clear_failures_lead_to_the_layers_at_once(tmp_path: Path, invalid: bool) -> None:
    maker = FakeMaker(lambda s: 0.0 if s.kept else 0.2, broken=START if invalid else None)
    search, finished = searched(maker, tmp_path)
    assert finished
    assert maker.tried[:3] == [*CANDIDATES[:2], replace(CANDIDATES[1], kept=(LAYERS[-1],))]
    assert search.best().settings.kept == (LAYERS[-1],)


def test_a_loss_near_the_limit_lets_all_settings_be_tried(tmp_path: Path) -> None:
    maker = FakeMaker(lambda s: 0.0 if s.kept else 0.019)
    searched(maker, tmp_path, limit=0.002)
    assert maker.tried[: len(CANDIDATES)] == CANDIDATES


def test_without_a_valid_graph_layers_are_ranked_from_the_first_settings(tmp_path: Path) -> None:
    start = replace(START, samples=123)
    search = Search(FakeMaker(lambda s: 0.0), SearchState(tmp_path, "key"), gate_of(0.002), FOREVER)
    assert search.base(start) == start


def test_a_graph_that_is_not_sound_is_a_trial_that_failed(tmp_path: Path) -> None:
    maker = FakeMaker(lambda s: 0.0, broken=START)
    search, _ = searched(maker, tmp_path)
    assert [passed(trial) for trial in search.trials] == [False, True]
    assert search.best().settings == CANDIDATES[1]


def test_when_no_graph_is_sound_there_is_no_best(tmp_path: Path) -> None:
    search, _ = searched(FakeMaker(lambda s: 0.0, broken=START), tmp_path, deadline=0)
    with pytest.raises(BundleError, match="every int8 graph"):
        search.best()


@pytest.mark.parametrize("steps", [1, 4, len(CANDIDATES) + 3, len(CANDIDATES) + len(LAYERS) + 1])
def test_killed_anywhere_it_goes_on_and_does_nothing_twice(tmp_path: Path, steps: int) -> None:
    def drop(settings: QuantiseSettings) -> float:
        return 0.0 if len(settings.kept) >= 3 else 0.01

    whole, _ = searched(FakeMaker(drop), tmp_path / "whole")
    first = FakeMaker(drop)
    run = Search(first, SearchState(tmp_path / "cut", "key"), gate_of(0.002), FOREVER).run(CANDIDATES)
    for _ in range(steps):
        next(run)
    run.close()
    second = FakeMaker(drop)
    again, finished = searched(second, tmp_path / "cut")
    assert finished
    assert [t.settings for t in again.trials] == [t.settings for t in whole.trials]
    noted = [each.settings for each in SearchState(tmp_path / "cut", "key").log.trials]
    assert len(noted) == len(set(noted))
    # What was noted before the end is not made again; the step it died in may be.
    assert len(first.tried + second.tried) <= len(noted) + 1
    assert len(first.measured + second.measured) <= len(LAYERS) + 1


def test_at_the_end_of_its_time_it_stops_after_what_it_had_begun(tmp_path: Path) -> None:
    maker = FakeMaker(lambda s: 0.01)
    search, finished = searched(maker, tmp_path, deadline=0)
    assert not finished
    assert maker.tried == [START], "one trial there is always"
    assert search.best().settings == START


def test_another_limit_judges_old_trials_anew(tmp_path: Path) -> None:
    searched(FakeMaker(lambda s: 0.01), tmp_path, limit=0.002)
    maker = FakeMaker(lambda s: 0.01)
    search, _ = searched(maker, tmp_path, limit=0.02)
    assert passed(search.best())
    assert maker.tried == []


def test_notes_of_another_model_are_not_used(tmp_path: Path) -> None:
    searched(FakeMaker(lambda s: 0.0), tmp_path)
    assert len(SearchState(tmp_path, "key").log.trials) == 1
    assert SearchState(tmp_path, "other").log.trials == ()
    (tmp_path / "notes.json").write_text("{torn")
    assert SearchState(tmp_path, "key").log.trials == ()


def test_the_references_answers_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def compute(gate: AccuracyGate) -> Generator[Progress, None, Any]:
        calls.append(gate)
        yield Progress("x", 1, 1)
        return np.ones((3, 2), np.float32)

    monkeypatch.setattr(searching, "compute_reference_logits", compute)
    first, second = (follow(SearchState(tmp_path, "key").reference_logits(gate_of(0.0))) for _ in range(2))
    assert first.shape == second.shape == (3, 2)
    assert len(calls) == 1


def test_taking_the_notes_away_leaves_what_is_not_of_the_search(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"x")
    for folder in ("mine", "own"):
        SearchState(tmp_path / folder, "key").remove()
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "photo.jpg"]


def test_candidates_are_all_int8_different_and_begin_with_what_was_asked() -> None:
    asked = QuantiseSettings(samples=60, estimator="percentile")
    found = candidates(asked, 100)
    assert found[0] == asked
    assert len(set(found)) == len(found)
    assert not any(each.kept for each in found)
    assert max(each.samples for each in found) == 100
    assert {each.samples for each in candidates(asked, 60)} == {60, 20}
