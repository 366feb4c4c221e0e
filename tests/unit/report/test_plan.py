"""A plan in words: one line a phase, rates as they go, and times in units that people use."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from wideresnet.records.plan import Phase, TrainingPlan
from wideresnet.report.plan import duration, to_json, to_text

PLAN = TrainingPlan(
    architecture="wrn_16_2", data="cifar10", classes=10, parameters=691_674, precision="bf16", batch_size=128,
    train=50_000, test=10_000, steps_per_epoch=390,
    phases=(
        Phase(0, 6, 20, (0.0001, 0.2, 0.15), 39_000_000, 0.1, 5),
        Phase(7, 18, 32, (0.15, 0.15, 1e-5), 101_000_000, 0.256, 5),
        Phase(19, 19, 32, (0.004, 0.004, 0.004), 101_000_000, 0.256, 5),
    ),
    evaluations=4, evaluation_seconds=6.4, peak_rss_mb=700.0, pictures_mb=405.0,
)  # fmt: skip


def test_the_words() -> None:
    assert to_text(PLAN).splitlines() == [
        "wrn_16_2, 691,674 parameters, bf16, batch 128",
        "cifar10: 50,000 images of 10 classes, 10,000 to test",
        "",
        "epochs  pixels  rate                 steps   MACs  s a step  images/s",
        "1-7         20  0.0001 → 0.2 → 0.15  2,730   39 M     0.100     1,280",
        "8-19        32  0.15 → 1e-05         4,680  101 M     0.256       500",
        "20-20       32  0.004                  390  101 M     0.256       500",
        "",
        "7,800 steps and 4 evaluations of 6 s: about 27 min at the speed measured just now",
        "memory: about 1,105 MB, of which 405 are the images",
    ]


def test_seeds_take_their_number_of_runs() -> None:
    assert to_text(replace(PLAN, runs=3)).splitlines()[-2] == "3 seeds, one after another: about 80 min"
    assert "seeds" not in to_text(PLAN)
    assert to_json(replace(PLAN, runs=3))["runs"] == 3


def test_images_on_a_disk_are_no_memory() -> None:
    *_, last = to_text(replace(PLAN, pictures_mb=0, disk_mb=98_000)).splitlines()
    assert last == "memory: about 700 MB; the decoded images take 98,000 MB of the disk instead"


def test_the_document_holds_the_sums_too() -> None:
    document = json.loads(json.dumps(to_json(PLAN)))
    assert (document["schema"], document["steps"], document["memory_mb"]) == (1, 7800, 1105.0)
    assert document["seconds"] == pytest.approx(390 * (7 * 0.1 + 13 * 0.256) + 4 * 6.4)
    assert document["phases"][0]["rates"] == [0.0001, 0.2, 0.15]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (129_599, "36.0 h"), (864e3, "10.0 days")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
