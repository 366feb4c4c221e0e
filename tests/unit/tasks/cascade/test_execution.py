"""A cascade runs in every task as its members and its rule say, whatever the batches, threads and shards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fakes import CASCADES, tiny_cascade, tiny_members
from wideresnet.bundle import Bundle
from wideresnet.classifier import Classifier
from wideresnet.cluster.operations import Evaluate
from wideresnet.datasets.labelled import LabelledData
from wideresnet.engines import EngineOptions
from wideresnet.errors import ConfigError
from wideresnet.logits import certainty
from wideresnet.records import EngineInfo, Failure, InferenceSettings, Item, Prediction, Scored
from wideresnet.tasks.classify.classify import classify
from wideresnet.tasks.evaluate.comparison import score_both
from wideresnet.tasks.evaluate.evaluate import score
from wideresnet.tasks.load.load import open_classifier

BROKEN = (4, 5, 20)
COUNT = 30


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Files of several sizes, three of them no images."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(COUNT):
        file = folder / f"{number:02}.jpg"
        if number in BROKEN:
            file.write_bytes(b"no image")
            continue
        coarse = rng.integers(0, 256, (3, 4, 3), np.uint8)
        Image.fromarray(coarse).resize((60 + number, 50), Image.Resampling.BICUBIC).save(file)
    return [Item(str(file), file, number % 10) for number, file in enumerate(sorted(folder.iterdir()))]


@pytest.fixture(scope="module", params=CASCADES)
def cascade(request: pytest.FixtureRequest, items: list[Item]) -> Bundle:
    chosen = tiny_members(request.param)
    thresholds = []
    for member in chosen[:-1]:
        logits = open_classifier(member).logits([item.source for item in readable(items)], "ignore")
        thresholds.append(float(np.quantile(certainty(logits, "margin", 1.5), 0.5)))
    return tiny_cascade(*chosen, thresholds=thresholds)


def readable(items: list[Item]) -> list[Item]:
    return [item for number, item in enumerate(items) if number not in BROKEN]


def by_hand(cascade: Bundle, items: list[Item]) -> tuple[NDArray[np.float32], list[int]]:
    """Logits and answering member of each readable image, from the logits of every member alone."""
    images: list[Any] = [item.source for item in readable(items)]
    logits = [open_classifier(member).logits(images, "ignore") for member in cascade.members]
    assert cascade.card.cascade
    rows, members = [], []
    for index in range(len(images)):
        for number, threshold in enumerate((*cascade.card.cascade.point.thresholds, 0.0)):
            if certainty(logits[number][index : index + 1], "margin", 1.5)[0] >= threshold:
                break
        rows.append(logits[number][index])
        members.append(number)
    assert len(set(members)) == len(cascade.members)
    return np.stack(rows), members


@pytest.mark.parametrize("settings", [
    InferenceSettings(batch_size=1, exif="ignore"), InferenceSettings(batch_size=4, exif="ignore"),
    InferenceSettings(batch_size=100, exif="ignore"), InferenceSettings(batch_size=4, exif="ignore", mode="sync"),
])  # fmt: skip
def test_answers_and_failures_come_in_order(cascade: Bundle, items: list[Item], settings: InferenceSettings) -> None:
    expected = by_hand(cascade, items)[0].argmax(1).tolist()
    for options in (EngineOptions(threads=1), EngineOptions(threads=2, hint="throughput", streams=2)):
        answers = list(classify(open_classifier(cascade, options=options), items, settings, k=1))
        assert [answer.path for answer in answers] == [item.path for item in items]
        assert [number for number, answer in enumerate(answers) if isinstance(answer, Failure)] == list(BROKEN)
        best = [answer.predictions[0].index for answer in answers if isinstance(answer, Prediction)]
        assert best == expected


def test_python_gives_the_logits_of_the_member_that_answers(cascade: Bundle, items: list[Item]) -> None:
    classifier = open_classifier(cascade)
    images: list[Any] = [item.source for item in readable(items)]
    logits, members = by_hand(cascade, items)
    np.testing.assert_array_equal(classifier.logits(images, "ignore", batch_size=5), logits)
    batches = classifier._batches(images, "ignore", 5)
    assert [m for batch, _ in classifier.stream(batches) if batch.members is not None for m in batch.members] == members
    crops = np.zeros((2, classifier.card.preprocess.crop, classifier.card.preprocess.crop, 3), np.uint8)
    if len(cascade.card.specs) > 1:
        with pytest.raises(ConfigError, match="several crops"):
            classifier.classify(crops)
    else:
        assert len(classifier.classify(crops)) == 2


def scores(answers: Any) -> list[Any]:
    return [replace(a, seconds=0.0) if isinstance(a, Scored) else a for a in answers]


def test_an_evaluation_has_the_same_scores_resumed_and_in_shards(cascade: Bundle, items: list[Item]) -> None:
    data, classifier = LabelledData("noise", items, 10), open_classifier(cascade)
    complete = scores(score(classifier, data, 4))
    assert [a.top[0] for a in complete if isinstance(a, Scored)] == by_hand(cascade, items)[0].argmax(1).tolist()
    for first in (1, 4, 19):
        assert scores(score(classifier, data, 4, first)) == complete[first:]
    settings = InferenceSettings(batch_size=3, exif="ignore")
    opened = Evaluate(settings, "noise", data.present).open(cascade, 1)
    shards = [items[start : start + 7] for start in range(0, COUNT, 7)]
    assert [row for shard in shards for row in scores(opened.run(shard))] == complete


def test_a_comparison_runs_a_cascade_on_its_own_crops(cascade: Bundle, items: list[Item]) -> None:
    data = LabelledData("noise", items, 10)
    alone, classifier = open_classifier(cascade.members[-1]), open_classifier(cascade)
    for pair in ((alone, classifier), (classifier, alone)):
        both = list(score_both(*pair, data, 4))
        for index, model in enumerate(pair):
            assert scores(row[index] for row in both) == scores(score(model, data, 4))


def test_the_engine_of_a_cascade_is_that_of_its_last_member(cascade: Bundle) -> None:
    info = open_classifier(cascade, options=EngineOptions(threads=1)).engine.info
    assert isinstance(info, EngineInfo)
    assert (info.runtime, info.threads) == ("openvino", 1)
    assert "wrn_16_2.tiny-cascade" in repr(Classifier(cascade.card, cascade.labels, open_classifier(cascade).engine))
