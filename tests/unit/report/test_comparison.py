"""A comparison as text, document and page: signs, flips, and what is missing on either side."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape

from wideresnet.datasets.labels import read_labels
from wideresnet.records import ComparisonReport, EvalReport, Failure, Labels, Scored
from wideresnet.report import comparison
from wideresnet.report.comparison import SHOWN, shown_flips, shown_paths, to_html
from wideresnet.tasks.evaluate.comparison import compare_answers

CIFAR = read_labels("cifar10")
BLANKS = (EvalReport("a<1>.csv", "", None, 0, 0, 0), EvalReport("b.csv", "", None, 0, 0, 0))
PROMISED = (
    "schema a b n difference interval95 p_value agreement only_a_right only_b_right classes flips only_in_a only_in_b"
    " skipped warnings"
)


def scored(path: str, label: int, answer: int, sure: float = 0.9, masked: int = 0) -> Scored:
    rank = 1 if label == answer else 2
    return Scored(path, label, rank, masked or rank, (answer, label), (sure, 1 - sure))


# B loses 30 cats to dogs, each surer than the one before, and wins one ship.
A = [scored(f"val/cat/{k:02}.png", 3, 3, 0.6) for k in range(40)] + [scored("val/ship/0.png", 8, 0, 0.55)]
B = [scored(f"val/cat/{k:02}.png", 3, 5 if k < 30 else 3, 0.5 + k / 100) for k in range(40)]
B += [scored("val/ship/0.png", 8, 8, 0.8)]
REPORT = compare_answers(
    [*A, scored("only.png", 0, 0), Failure("torn.png", "<cut> short")], [*B, Failure("torn.png", "cut")], BLANKS
)
SAME = compare_answers(A, A, BLANKS)


def words(report: ComparisonReport, labels: Labels = CIFAR) -> str:
    """The page without its tags."""
    page = to_html(report, labels, {})
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("<body>")[2].partition("<script>")[0])))


def test_the_text_holds_both_accuracies_their_difference_and_the_first_flips() -> None:
    shown = comparison.to_text(REPORT, CIFAR)
    for part in ("A: a<1>.csv", "41 images that both answered; besides them 1 only in A, 1 failed in A, 1 failed",
                 "top-1   97.561 %   26.829 %  -70.732", "top-5  100.000 %  100.000 %   +0.000",
                 "difference -70.732 points of top-1 (95 % interval -8", "McNemar's exact p = 3e-08",
                 "only A is right: 30, only B: 1", "… and 11 more; --format json lists all"):  # fmt: skip
        assert part in shown, shown
    rows = shown.splitlines()
    assert "class  images  A right  B right  B − A" in rows
    assert any(re.fullmatch(r"cat +40 +40 +10 +-30", row) for row in rows)
    assert any(re.fullmatch(r"A +val/cat/29.png +cat +cat +60.0 % +dog +79.0 %", row) for row in rows)


def test_the_classes_that_are_not_shown_are_counted() -> None:
    right, wrong = ([scored(f"{k}.png", k, k + more) for k in range(25)] for more in (0, 30))
    report = compare_answers(right, wrong, BLANKS)
    assert comparison.to_text(report, Labels(())).count("… and 5 more; --format json lists all") == 2
    assert "… and 5 more. Images that only one got right" in words(report, Labels(()))


def test_two_of_the_same_have_no_flips() -> None:
    shown = comparison.to_text(SAME, CIFAR)
    assert "difference +0.000 points" in shown
    assert "p = 1)" in shown
    assert "image " not in shown
    assert "Images that only one got right" not in words(SAME)


def test_top_5_of_too_few_answers_is_a_dash() -> None:
    few = [Scored("a", 3, 0, 0, (5,), (0.9,)), Scored("b", 3, 1, 0, (3,), (0.9,))]
    report = compare_answers(few, [replace(score, path=path) for score, path in zip(A, "ab", strict=False)], BLANKS)
    assert re.search(r"top-5 +– +100.000 % +–\n", comparison.to_text(report, CIFAR))
    assert (comparison.to_json(report)["a"]["top5"], comparison.to_json(report)["a"]["correct5"]) == (None, None)


def test_masked_accuracies_are_rows_of_their_own() -> None:
    ours = [scored("x", 1, 5, masked=1), scored("y", 2, 2)]
    report = compare_answers(ours, [scored("x", 1, 1), scored("y", 2, 2)], BLANKS)
    for shown in (comparison.to_text(report, CIFAR), words(report)):
        assert re.search(r"top-1, masked to 2 classes +100.000 % +100.000 % +\+0.000", shown), shown
    assert comparison.to_json(report)["a"]["masked_correct1"] == 2


def test_the_document_has_the_documented_fields_and_every_flip() -> None:
    values = comparison.to_json(REPORT)
    assert values.keys() == set(PROMISED.split())
    assert (values["n"], values["only_a_right"], values["only_b_right"]) == (41, 30, 1)
    assert (values["difference"], values["a"]["top1"], values["only_in_a"]) == (-70.732, 97.561, ["only.png"])
    assert values["classes"][0] == {"label": 3, "n": 40, "correct_a": 40, "correct_b": 10}
    assert len(values["flips"]) == 31
    assert values["flips"][0] == {
        "path": "val/cat/29.png", "label": 3, "right": "A", "answer_a": 3, "probability_a": 0.6, "answer_b": 5,
        "probability_b": 0.79,
    }  # fmt: skip
    assert [failure["path"] for failure in values["b"]["failures"]] == ["torn.png"]
    json.dumps(values, allow_nan=False)


def test_what_is_not_known_is_null_and_a_dash() -> None:
    bare = [replace(answer, top=(), probabilities=()) for answer in A]
    report = compare_answers(bare, B, BLANKS)
    ship = next(flip for flip in comparison.to_json(report)["flips"] if flip["right"] == "B")
    assert (ship["answer_a"], ship["probability_a"], ship["answer_b"]) == (None, None, 8)
    json.dumps(comparison.to_json(report), allow_nan=False)
    assert "A: –, –" in words(report)
    assert "nan" not in comparison.to_text(report, CIFAR)


def test_the_page_shows_the_surest_of_each_side() -> None:
    assert [flip.path for flip in shown_flips(REPORT, "A")] == [f"val/cat/{k}.png" for k in range(29, 29 - SHOWN, -1)]
    assert shown_paths(REPORT) == [*(flip.path for flip in shown_flips(REPORT, "A")), "val/ship/0.png"]
    page = to_html(REPORT, CIFAR, {"val/ship/0.png": b"\xff\xd8"})
    assert page.count("<img") == 1
    shown = words(REPORT)
    for part in ("Right in A only: 30", "Right in B only: 1 ship A: airplane, 55.0 % B: ship, 80.0 % ship/0.png",
                 "Only in A image only.png", "Failed in A image error torn.png <cut> short",
                 "Conditions of B"):  # fmt: skip
        assert part in shown, shown


def test_everything_is_escaped_and_nothing_is_asked_of_the_outside() -> None:
    nasty = Labels(tuple(f"<b>{index}" for index in range(10)))
    page = to_html(REPORT, nasty, {})
    assert "<b>3" not in page
    assert "<1>" not in page
    assert "<cut>" not in page
    assert 'download="comparison.json"' in page
    assert not re.search(r"https?://|url\(|<script [^>]", page)
