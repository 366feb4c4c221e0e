"""Records as text: what a person looks for is there."""

from __future__ import annotations

from dataclasses import replace

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
from wideresnet.report import text

INFO = ModelInfo(
    name="wide.model", architecture="wide_resnet50_2", parameters=68_883_240, macs=11_398_000_000,
    thop_macs=11_456_000_000, classes=1000, preprocess=Preprocess(resize=256, crop=224), labels="imagenet",
    licence="BSD-3-Clause", where="to download", published=(Published(0.78468, 0.94086, "torchvision V1"),),
)  # fmt: skip


def test_a_prediction_is_one_line_with_the_likeliest_class_first() -> None:
    answer = Prediction("cat.png", (LabelScore(3, "cat", 0.987), LabelScore(5, "dog", 0.013)))
    shown = text.of_prediction(answer)
    assert shown.split(maxsplit=1) == ["cat.png", "cat 98.7 % · dog 1.3 %"]


def test_a_failure_has_its_hint_only_where_there_is_one() -> None:
    assert text.of_failure(Failure("a.png", "cut short")) == "a.png: cut short"
    assert text.of_failure(Failure("a.png", "cut short", "copy it")) == "a.png: cut short\n  hint: copy it"


def test_an_evaluation_states_its_conditions() -> None:
    engine = EngineInfo("openvino", "2026.1", "CPU", "bf16", 2)
    shown = text.of_evaluation(EvalReport("m", "d", engine, 200, 157, 190, (Failure("a", "b"),), 3.0))
    for part in ("m on d", "78.500 %", "157 of 200", "95.000 %", "openvino 2026.1, bf16, 2 threads", "1 failures"):
        assert part in shown


def test_an_evaluation_of_nothing_is_text_too() -> None:
    engine = EngineInfo("openvino", "2026.1", "CPU", "f32", 2)
    assert "0 of 0" in text.of_evaluation(EvalReport("m", "d", engine, 0, 0, 0))


def test_a_model_is_shown_with_its_three_counts_and_their_rules() -> None:
    shown = text.of_model(INFO)
    for part in ("68,883,240", "11.398 G at 224 px", "11.456 G", "22.796 G", "78.468 / 94.086 %", "torchvision V1"):
        assert part in shown
    assert shown.endswith(text.RULES)


def test_what_was_measured_here_stands_before_what_was_published() -> None:
    measured = replace(INFO, measured=(Measured("test set", 1000, 801, 950, "openvino", "f32"),))
    row = text.of_models([measured]).splitlines()[1]
    assert "80.100  95.000  measured, test set" in row
    assert "80.10 / 95.00 %  (test set, n = 1000, openvino, f32)" in text.of_model(measured)


def test_the_papers_figures_keep_their_two_digits() -> None:
    paper = replace(INFO, published=(Published(0.781, 0.9397, "paper, Table 8"),))
    row = text.of_models([paper]).splitlines()[1]
    assert "78.10" in row
    assert "78.100" not in row


def test_columns_line_up() -> None:
    lines = text.columns([("name", "n"), ("a", "1000"), ("longer", "1")], right={1}).splitlines()
    assert lines == ["name       n", "a       1000", "longer     1"]
