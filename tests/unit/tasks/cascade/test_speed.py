"""The speed of a cascade is measured on the images of its certification, of which as many are passed on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fakes import TINY, tiny_bundle, tiny_cascade, tiny_images
from wideresnet.datasets.labelled import LabelledData
from wideresnet.logits import certainty
from wideresnet.output.progress import run_shown
from wideresnet.records import Cascade, CascadeSpeed, InferenceSettings, Item
from wideresnet.tasks.cascade import speed
from wideresnet.tasks.load.load import open_classifier


@pytest.mark.parametrize(("sample", "seconds", "rounds"), [(20, 1e9, 9), (20, 0.0, 3), (1024, 0.0, 3)])
def test_both_take_turns_over_images_of_which_the_same_fraction_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, sample: int, seconds: float, rounds: int
) -> None:
    crops = tiny_images(60, 32)
    sure = certainty(open_classifier(tiny_bundle(TINY["wrn_10_1"])).logits(crops), "margin", 1.5)
    bundle = tiny_cascade(thresholds=(float(np.quantile(sure, 0.3)),))
    members = (sure < np.quantile(sure, 0.3)).astype(np.int64)
    items, opened = [Item(str(number), crop) for number, crop in enumerate(crops)], []
    monkeypatch.setattr(speed, "SAMPLE", sample)
    monkeypatch.setattr(speed, "SECONDS", seconds)

    def open_recorded(*arguments: Any) -> Any:
        opened.append(open_classifier(*arguments))
        return opened[-1]

    monkeypatch.setattr(speed, "open_classifier", open_recorded)
    data = LabelledData("noise", items, 10)
    result = run_shown(speed.measure_speed(bundle, data, items, members, InferenceSettings()), "", False)
    count = min(sample, 60)
    assert (result.n, result.batch) == (count, 8)
    assert len(result.accurate) == len(result.cascade) == len(result.ratios) == rounds
    assert min(result.accurate + result.cascade) > 0
    passed_on = opened[0].engine.passed_on
    assert passed_on.n == count * (rounds + 1)     # and a round that is not counted
    assert passed_on.images == pytest.approx(0.3 * passed_on.n, abs=rounds + 1)


def test_rates_are_medians_and_ratios_those_of_each_turn() -> None:
    made = CascadeSpeed((100.0, 50.0, 110.0), (400.0, 150.0, 330.0), 8, 8, 1, 1, "cpu")
    cascade = tiny_cascade().card.cascade
    assert isinstance(cascade, Cascade)
    assert cascade.images_per_s == {"accurate": None, "cascade": None}
    object.__setattr__(cascade, "speed", made)
    assert cascade.images_per_s == {"accurate": 100.0, "cascade": 330.0}
    assert made.ratios == (3.0, 3.0, 4.0)
