"""An evaluation as text, JSON and a page: for ten classes, a thousand, a subset, and for none at all."""

from __future__ import annotations

import base64
import json
import math
import random
import re
from collections.abc import Iterable
from dataclasses import astuple, replace
from html import unescape
from pathlib import Path

import pytest

from wideresnet.datasets.labels import read_labels
from wideresnet.records import Conditions, EngineInfo, EvalReport, Failure, Labels, Masked, Preprocess, Scored
from wideresnet.report.evaluation import read_evaluation, to_html, to_json, to_text
from wideresnet.report.html.evaluation import MISTAKES, shown_paths, surest_mistakes
from wideresnet.tasks.evaluate.metrics import accumulate

CIFAR = read_labels("cifar10")
JPEG = b"\xff\xd8\xff image"
ENGINE = EngineInfo("openvino", "2026.1", "CPU", "int8", 2)
BF16 = EngineInfo("openvino", "2026.1", "CPU", "bf16", 2)
CONDITIONS = Conditions(
    "a1b2", "c3d4", "int8", Preprocess(resize=256, crop=224), "ignore", "e5f6", 100, CIFAR, 10, ("1/4", "3/4"),
    {"cpu": "<Fast> CPU", "versions": {"numpy": "2.4"}, "flags": ["avx2"], "load1": None},
)  # fmt: skip
FEW = EvalReport("some.model", "test set", BF16, 200, 157, 190, (Failure("a.png", "no image"),), 1.23456)
BLANK = EvalReport("model.tag", "some data", ENGINE, 0, 0, 0, conditions=CONDITIONS)


def scored(path: str, label: int, answer: int, sure: float = 0.9) -> Scored:
    rank = 1 if label == answer else 2
    return Scored(path, label, rank, rank, (answer, label), (sure, 1 - sure), 0.1)


# Of each class 10 images; cats (3) are taken for dogs (5) four times, ship 8 for plane 0 once.
SCORES = [
    *(scored(f"{label}/{k}.png", label, 5 if label == 3 and k < 4 else label) for label in range(10) for k in range(10))
]
SCORES[80] = scored("8/0.png", 8, 0, sure=0.97)
REPORT = accumulate(SCORES, BLANK)


def words(page: str) -> str:
    """The page without its tags."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("<body>")[2].partition("<script>")[0])))


def shown(report: EvalReport, labels: Labels = CIFAR) -> str:
    return words(to_html(report, labels, {}))


def test_the_figures_come_with_their_interval_and_conditions() -> None:
    text = shown(REPORT)
    for part in ("model.tag on some data", "95.000 %", "95 right", "95 %: 88.82 to 97.85", "100.000 %", "none failed",
                 "calibration error", "a1b2", "c3d4", "e5f6", "1/4, 3/4", "shorter side to 256 px (bilinear)",
                 "centre 224 px", "EXIF orientation ignored", "precision executed int8", "<Fast> CPU", "numpy 2.4",
                 "100 in the whole data set", "10 of the network's 10"):  # fmt: skip
        assert part in text, text
    assert "load1" not in text
    assert "masked" not in text


def test_what_makes_the_figures_doubtful_stands_among_the_conditions() -> None:
    text = shown(replace(REPORT, notes=("read as cp1252",), order="may be in another order"))
    assert "warning read as cp1252 warning may be in another order" in text
    assert "warning" not in shown(REPORT)


def test_the_worst_class_and_the_worst_pair_come_first() -> None:
    text = shown(REPORT)
    cat = "cat 10 60.0 % 31.3 to 83.2 100.0 % 75.0 % 100.0 % dog (4)"
    assert f"most often taken for {cat} ship 10 90.0 %" in text
    assert "of its class cat dog 4 40.0 % ship airplane 1 10.0 %" in text
    assert "cat, taken for dog: 4 " in text
    assert "0 other" not in text
    more = accumulate([scored(f"{k}", 3, 5) for k in range(20)], BLANK)
    assert "cat, taken for dog: 20 (12 shown)" in shown(more)


def test_a_subset_of_classes_names_both_accuracies() -> None:
    report = replace(REPORT, masked=Masked(3, 97, 100), conditions=replace(CONDITIONS, present=3))
    text = shown(report)
    for part in ("top-1, unmasked (10 classes) 95.000 %", "top-1, masked (3 classes) 97.000 %", "only those 3"):
        assert part in text, text


def test_answers_outside_the_classes_of_the_data_are_a_column_of_the_map() -> None:
    labels = read_labels("imagenet")
    text = shown(accumulate([scored("a", 0, 0), scored("b", 1, 1), scored("c", 1, 700)], BLANK), labels)
    assert "is ↓ taken for → tench goldfish other tench 1 goldfish 1 1" in text


def test_a_thousand_classes_are_a_curve_and_the_worst_of_the_table() -> None:
    labels = read_labels("imagenet")
    places = ((label, k) for label in range(1000) for k in range(3))
    answers = (scored(f"{k}/{label}", label, label if (label + k) % 7 else 0) for label, k in places)
    page = to_html(accumulate(answers, BLANK), labels, {})
    text = words(page)
    assert "The 20 worst" in text
    assert "All 1,000 classes, worst first" in text
    assert "Answers to the images of each class" not in text
    assert page.count("<tr>") < 1100
    assert len(page) < 900_000


def test_the_surest_mistakes_come_first_and_no_more_than_fit() -> None:
    pairs = [(label, answer) for label in range(10) for answer in range(10) if label != answer]
    wrong = [scored(f"{a}-{b}.png", a, b, sure=0.5 + a / 20 + b / 200) for a, b in pairs]
    report = accumulate(wrong, BLANK)
    mistakes = surest_mistakes(report)
    assert len(mistakes) == MISTAKES
    assert mistakes[0][1].path == "9-8.png"
    assert len(set(shown_paths(report))) == len(shown_paths(report))
    assert set(shown_paths(report)) >= {example.path for _, example in mistakes}


def test_images_are_inside_the_page_and_absent_ones_are_captions() -> None:
    page = to_html(REPORT, CIFAR, {"8/0.png": JPEG, "3/3.png": b"\x89PNG image"})
    assert "data:image/jpeg;base64,/9j/" in page
    assert "data:image/png;base64," in page
    assert page.count("<img") == 4, "each among the surest mistakes and among the pairs"
    assert "2 of 5 mistakes are in this page as images" in words(page)
    assert "3 others have only their names" in words(page)
    assert "3/1.png" in page
    assert not re.search(r"https?://|url\(|<script [^>]", page)


def without_probabilities(answers: Iterable[Scored]) -> list[Scored]:
    return [replace(answer, probabilities=(), masked_rank=0) for answer in answers]


@pytest.mark.parametrize("bins", ["empty", "none"])
def test_without_probabilities_there_is_no_calibration(bins: str) -> None:
    report = accumulate(without_probabilities(SCORES), replace(BLANK, engine=None, conditions=None))
    text = shown(report if bins == "empty" else replace(report, bins=()))
    for part in ("alibration", "surest mistakes", "sure", "nan"):
        assert part not in text.replace("measure", ""), text
    assert "cat, taken for dog: 4 3/3.png" in text
    assert "Answers were read from a file" in text


def test_of_no_image_there_is_a_page() -> None:
    text = shown(replace(BLANK, failures=(Failure("a.png", "cut short"),)))
    for part in ("no image was answered", "1 could not be read", "a.png cut short"):
        assert part in text, text
    assert "nan" not in text


def test_of_many_failures_a_hundred_are_listed() -> None:
    text = shown(replace(REPORT, failures=tuple(Failure(f"{k:03}.png", "cut short") for k in range(123))))
    assert "099.png" in text
    assert "100.png" not in text
    assert "… and 23 more." in text


def test_everything_is_escaped() -> None:
    nasty = '<b onclick="x">'
    labels = Labels(tuple(f"{nasty}{index}" for index in range(10)))
    report = accumulate([*SCORES, scored(nasty, 3, 5, 0.99)], replace(BLANK, model=nasty, data=nasty))
    page = to_html(replace(report, failures=(Failure(nasty, nasty),)), labels, {nasty: JPEG})
    assert "<b onclick" not in page
    assert 'onclick="' not in page
    assert 'alt="&lt;b onclick' in page


def test_a_class_that_the_labels_do_not_know_has_a_number() -> None:
    assert "class 9" in shown(REPORT, Labels(("a", "b")))


def saved(page: str, name: str) -> str:
    """The content of a download."""
    (data,) = re.findall(f'download="{name}" href="data:[^,]*,([^"]+)"', page)
    return base64.b64decode(data).decode()


def test_the_numbers_can_be_saved_from_the_page(tmp_path: Path) -> None:
    page = to_html(REPORT, CIFAR, {})
    (tmp_path / "a.json").write_text(saved(page, "evaluation.json"))
    assert read_evaluation(tmp_path / "a.json") == REPORT
    for encoding in ("utf-8-sig", "utf-16"):       # as PowerShell redirects them
        (tmp_path / "b.json").write_text(saved(page, "evaluation.json"), encoding)
        assert read_evaluation(tmp_path / "b.json") == REPORT
    assert saved(page, "classes.csv").splitlines()[:2] == [
        "index,label,n,correct1,correct5,precision,recall,f1", "0,airplane,10,10,10,90.909,100.0,95.238",
    ]  # fmt: skip
    assert saved(page, "confusions.csv").splitlines()[1:] == ["cat,dog,4,3,5", "ship,airplane,1,8,0"]


def test_a_cell_of_the_map_leads_to_the_images_of_its_confusion() -> None:
    page = to_html(REPORT, CIFAR, {})
    assert '<a href="#pair-3-5">4</a>' in page
    assert '<summary>cat, taken for dog: 4</summary><div id="pair-3-5">' in page
    assert page.count('href="#pair-') == 2


def test_precision_recall_and_f1_are_those_of_the_definitions() -> None:
    text = to_text(REPORT)
    # precision: dog 10 of 14, airplane 10 of 11, the others 1; recall: cat 0.6, ship 0.9, the others 1
    assert "mean of 10 classes: precision 96.23 %, recall 95.00 %, F1 94.83 %" in text
    values = to_json(REPORT)
    assert values["macro"] == {"precision": 96.234, "recall": 95.0, "f1": 94.831}
    assert values["classes"][5] == {
        "index": 5, "label": "dog", "n": 10, "correct1": 10, "correct5": 10, "precision": 71.429, "recall": 100.0,
        "f1": 83.333,
    }  # fmt: skip
    assert "macro F1 94.83 % precision 96.23 %, recall 95.00 %; mean of 10 classes" in shown(REPORT)


def test_scores_of_classes_agree_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = random.Random(3)
    pairs = [(label, generator.choice([label, label, 0, 7])) for label in (0, 1, 2, 4, 5) for _ in range(9)]
    report = accumulate([scored(f"{k}", *pair) for k, pair in enumerate(pairs)], BLANK)
    truth, answers = zip(*pairs, strict=True)
    present = sorted(report.by_class)
    expected = metrics.precision_recall_fscore_support(truth, answers, labels=present, zero_division=math.nan)
    for column, name in enumerate(("precision", "recall", "f1")):
        values = [getattr(report.class_scores[index], name) for index in present]
        assert values == pytest.approx(list(expected[column]), nan_ok=True)
    mean = metrics.precision_recall_fscore_support(
        truth, answers, labels=present, zero_division=0.0, average="macro"
    )
    assert report.macro_scores
    assert astuple(report.macro_scores) == pytest.approx(mean[:3])


def test_a_class_that_is_never_answered_has_no_precision() -> None:
    report = accumulate([scored("a", 0, 0), scored("b", 1, 0)], BLANK)
    assert to_json(report)["classes"][1]["precision"] is None
    assert to_json(report)["macro"] == {"precision": 25.0, "recall": 50.0, "f1": 33.333}
    unknown = replace(report, confusions=())       # answers of other programs may not be complete
    assert (to_json(unknown)["macro"], to_json(unknown)["classes"][0]["f1"]) == (None, None)
    assert "mean of" not in to_text(unknown)


def test_an_evaluation_states_its_conditions() -> None:
    engine = EngineInfo("openvino", "2026.1", "CPU", "bf16", 2)
    text = to_text(EvalReport("m", "d", engine, 200, 157, 190, (Failure("a", "b"),), 3.0))
    for part in ("m on d", "78.500 %", "157 of 200", "95.000 %", "openvino 2026.1, bf16, 2 threads", "1 failures"):
        assert part in text


def test_an_evaluation_of_nothing_is_text_too() -> None:
    engine = EngineInfo("openvino", "2026.1", "CPU", "f32", 2)
    assert "0 of 0" in to_text(EvalReport("m", "d", engine, 0, 0, 0))


def test_an_evaluation_has_the_documented_fields() -> None:
    values = to_json(FEW)
    promised = "top1 top5 n correct1 correct5 failures interval95 seconds engine precision"
    assert set(promised.split()) <= values.keys()
    assert (values["top1"], values["top5"], values["n"], values["correct1"]) == (78.5, 95.0, 200, 157)
    assert (values["engine"], values["precision"]) == ("openvino", "bf16")
    low, high = values["interval95"]
    assert 70 < low < 78.5 < high < 85
    assert values["failures"] == [{"path": "a.png", "error": "no image", "hint": ""}]
    json.dumps(values, allow_nan=False)


def test_top_5_of_too_few_answers_is_in_no_place() -> None:
    report = replace(REPORT, max_k=2)
    values = to_json(report)
    assert (values["top5"], values["correct5"], values["classes"][0]["correct5"]) == (None, None, None)
    assert "top-5 not known" in " ".join(to_text(report).split())
    assert to_html(REPORT, CIFAR, {}).count("100.0 %") > to_html(report, CIFAR, {}).count("100.0 %")
    assert "100 right" not in shown(report)
    assert "100 right" in shown(REPORT)


def test_an_evaluation_of_nothing_is_null_and_not_nan() -> None:
    values = to_json(EvalReport("m", "d", ENGINE, 0, 0, 0))
    assert (values["top1"], values["top5"]) == (None, None)
    json.dumps(values, allow_nan=False)
