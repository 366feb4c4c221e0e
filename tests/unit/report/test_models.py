"""Models as a table, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

from wideresnet.records import Measured, ModelInfo, Preprocess, Published
from wideresnet.report import models

INFO = ModelInfo(
    name="wide.model", architecture="wide_resnet50_2", parameters=68_883_240, macs=11_398_000_000,
    thop_macs=11_456_000_000, classes=1000, preprocess=Preprocess(resize=256, crop=224), labels="imagenet",
    licence="BSD-3-Clause", where="to download", published=(Published(0.78468, 0.94086, "torchvision V1"),),
)  # fmt: skip
CIFAR = ModelInfo(
    name="some.model", architecture="wrn_10_1", parameters=77_850, macs=11_000_000, thop_macs=12_000_000,
    classes=10, preprocess=Preprocess(resize=40, crop=32), labels="cifar10", licence="Apache-2.0", where="here",
    published=(Published(0.78468, 0.94086, "a paper"),), measured=(Measured("test set", 200, 157, 190, "e", "f32"),),
)  # fmt: skip


def test_a_model_is_shown_with_its_three_counts_and_their_rules() -> None:
    shown = models.to_text(INFO)
    for part in ("68,883,240", "11.398 G at 224 px", "11.456 G", "22.796 G", "78.468 / 94.086 %", "torchvision V1"):
        assert part in shown
    assert shown.endswith(models.RULES)


def test_what_was_measured_here_stands_before_what_was_published() -> None:
    measured = replace(INFO, measured=(Measured("test set", 1000, 801, 950, "openvino", "f32"),))
    assert "80.10  95.00  measured" in models.to_table([measured])
    assert "80.10 / 95.00 %  (test set, n = 1000, openvino, f32)" in models.to_text(measured)


def test_a_model_has_the_documented_fields() -> None:
    values = models.to_json(CIFAR)
    promised = "name parameters macs thop_macs flops input preprocess labels licence published"
    assert set(promised.split()) <= values.keys()
    assert values["flops"] == 2 * values["macs"]
    assert values["input"]["shape"] == ["N", 32, 32, 3]
    assert values["published"] == [{"top1": 78.468, "top5": 94.086, "source": "a paper"}]
    assert (values["preprocess"]["resize"], values["preprocess"]["crop"]) == (40, 32)
    json.dumps(values, allow_nan=False)
