"""The page of a fine-tuning run: what was chosen by what, and the figures of images that chose nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

from wideresnet.datasets.labels import read_labels
from wideresnet.records import EngineInfo, EvalReport, Failure, FinetuneReport, PathPoint, Scored
from wideresnet.report.finetuning import shown_evaluation, to_html, to_json, to_text
from wideresnet.tasks.evaluate.metrics import accumulate

ENGINE = EngineInfo("openvino", "2026.1", "CPU", "f32", 2)


def evaluation(data: str, right: int, n: int = 20) -> EvalReport:
    ranks = [(1, 1, (3, 5)) if k < right else (2, 2, (5, 3)) for k in range(n)]
    scores = [Scored(f"{data}/{k}.png", 3, *rank, (0.9, 0.1)) for k, rank in enumerate(ranks)]
    return accumulate(scores, EvalReport("wrn.pets", data, ENGINE, 0, 0, 0))


PROBE = FinetuneReport(
    run="run", bundle="run/bundle", model="wrn.pets", mode="probe", source="wrn.cifar10", data="pets",
    labels=read_labels("cifar10"), train=80, val=20, evaluation=evaluation("pets val", 18),
    path=(PathPoint(10, 80, 40, 1.5), PathPoint(1, 80, 60, 0.7), PathPoint(0.1, 80, 61, 0.9)),
    notes={"source weights": "a1b2"}, chosen="L2 of 1 was chosen by 80 <training> images", seconds=3.2,
)  # fmt: skip
FULL = replace(
    PROBE, mode="full", path=(), log=({"epoch": 0, "loss": 2.0, "top1": 0.5, "seconds": 60.0},
                                      {"epoch": 1, "loss": 1.0, "top1": float("nan"), "seconds": 60.0}),
)  # fmt: skip


def shown(report: FinetuneReport) -> str:
    page = to_html(report, {})
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("<body>")[2].partition("<script>")[0])))


def test_a_probe_shows_its_path_and_which_strength_was_taken() -> None:
    text = shown(PROBE)
    for part in ("wrn.pets: a new classifier on the features of wrn.cifar10", "top-1 on pets val 90.000 %", "18 right",
                 "L2 of 1 was chosen by 80 <training> images", "1 0.7000 75.00 % taken", "source weights a1b2",
                 "cat, taken for dog", "80 for training, 20 for validation; all could be read"):  # fmt: skip
        assert part in text, text
    assert text.count("taken ") - text.count("taken for") >= 1
    assert "augmented" not in text


def test_the_whole_network_shows_its_curves() -> None:
    text = shown(FULL)
    for part in ("the whole network, from the weights of", "2 epochs in 2.0 minutes", "Loss",
                 "The epochs as a table"):  # fmt: skip
        assert part in text
    assert "Regularisation" not in text


def test_images_that_chose_nothing_are_what_the_page_is_about() -> None:
    report = replace(PROBE, test=evaluation("new ones", 10))
    assert shown_evaluation(PROBE).data == "pets val"
    assert shown_evaluation(report).data == "new ones"
    text = shown(report)
    assert "top-1 on new ones 50.000 %" in text
    assert "Everything from here on is of new ones" in text
    assert "The numbers as files: finetuning.json , evaluation.json , classes.csv , confusions.csv" in text


def test_failures_of_training_images_are_listed_once() -> None:
    bad = Failure("train/bad.png", "not an image")
    text = shown(replace(PROBE, failures=(bad,)))
    assert text.count("train/bad.png") == 1
    assert "1 could not be read" in text


def test_lines_and_document_hold_the_figures() -> None:
    lines = to_text(PROBE)
    assert "top-1 90.00 % (95 %: 69.90 to 97.21, n = 20) on pets val" in lines
    assert "run/bundle: the model" in lines
    nothing = replace(PROBE, evaluation=evaluation("pets val", 0, 0))
    assert "unknown: no image could be answered" in to_text(nothing)
    values = to_json(replace(PROBE, test=evaluation("new ones", 10)))
    assert (values["evaluation"]["top1"], values["test"]["top1"], values["classes"]) == (90.0, 50.0, 10)
    assert values["path"][1] == {"l2": 1, "n": 80, "correct": 60, "loss": 0.7, "top1": 75.0}
    assert to_json(FULL)["epochs"] == 2
    assert to_json(PROBE)["test"] is None


def test_the_classes_are_counted() -> None:
    text = shown(replace(PROBE, class_counts=(8, 9, 7, 8, 8, 8, 8, 8, 8, 8)))
    assert "80 training images of 10 classes: from 7 (bird) to 9 (automobile) a class." in text
