"""The field names that scripts rely on, and values that JSON can carry."""

from __future__ import annotations

import json

from wideresnet.records import (
    EngineInfo,
    EvalReport,
    Failure,
    LabelScore,
    Measured,
    ModelInfo,
    Prediction,
    Preprocess,
    Published,
)
from wideresnet.report import document

ENGINE = EngineInfo("openvino", "2026.1", "CPU", "bf16", 2)
REPORT = EvalReport("some.model", "test set", ENGINE, 200, 157, 190, (Failure("a.png", "no image"),), 1.23456)
INFO = ModelInfo(
    name="some.model", architecture="wrn_10_1", parameters=77_850, macs=11_000_000, thop_macs=12_000_000,
    classes=10, preprocess=Preprocess(resize=40, crop=32), labels="cifar10", licence="Apache-2.0", where="here",
    published=(Published(0.78468, 0.94086, "a paper"),), measured=(Measured("test set", 200, 157, 190, "e", "f32"),),
)  # fmt: skip


def test_an_answer() -> None:
    answer = Prediction("cat.png", (LabelScore(3, "cat", 0.75), LabelScore(5, "dog", 0.25)))
    assert document.of_answer(answer) == {
        "path": "cat.png",
        "predictions": (
            {"index": 3, "label": "cat", "probability": 0.75},
            {"index": 5, "label": "dog", "probability": 0.25},
        ),
    }


def test_a_failure() -> None:
    failure = Failure("cat.png", "cut short", "copy it again")
    assert document.of_answer(failure) == {"path": "cat.png", "error": "cut short", "hint": "copy it again"}


def test_an_evaluation_has_the_documented_fields() -> None:
    found = document.of_evaluation(REPORT)
    promised = "top1 top5 n correct1 correct5 failures interval95 seconds engine precision"
    assert set(promised.split()) <= found.keys()
    assert (found["top1"], found["top5"], found["n"], found["correct1"]) == (78.5, 95.0, 200, 157)
    assert (found["engine"], found["precision"]) == ("openvino", "bf16")
    low, high = found["interval95"]
    assert 70 < low < 78.5 < high < 85
    assert found["failures"] == [{"path": "a.png", "error": "no image", "hint": ""}]
    json.dumps(found, allow_nan=False)


def test_an_evaluation_of_nothing_is_null_and_not_nan() -> None:
    found = document.of_evaluation(EvalReport("m", "d", ENGINE, 0, 0, 0))
    assert (found["top1"], found["top5"]) == (None, None)
    json.dumps(found, allow_nan=False)


def test_a_model_has_the_documented_fields() -> None:
    found = document.of_model(INFO)
    promised = "name parameters macs thop_macs flops input preprocess labels licence published"
    assert set(promised.split()) <= found.keys()
    assert found["flops"] == 2 * found["macs"]
    assert found["input"]["shape"] == ["N", 32, 32, 3]
    assert found["published"] == [{"top1": 78.468, "top5": 94.086, "source": "a paper"}]
    assert (found["preprocess"]["resize"], found["preprocess"]["crop"]) == (40, 32)
    json.dumps(found, allow_nan=False)


def test_percent_keeps_every_printed_digit() -> None:
    assert [document.percent(share) for share in (0.78468, 1.0, 0.0, 0.9)] == [78.468, 100.0, 0.0, 90.0]
    assert document.percent(float("nan")) is None
