"""Answers as text and JSON."""

from __future__ import annotations

from dataclasses import replace

from wideresnet.records import Failure, LabelScore, Prediction
from wideresnet.report import answer

CAT = Prediction("cat.png", (LabelScore(3, "cat", 0.75), LabelScore(5, "dog", 0.25)))


def test_a_prediction_is_one_line_with_the_likeliest_class_first() -> None:
    cat = Prediction("cat.png", (LabelScore(3, "cat", 0.987), LabelScore(5, "dog", 0.013)))
    shown = answer.to_text(cat)
    assert shown.split(maxsplit=1) == ["cat.png", "cat 98.7 % · dog 1.3 %"]


def test_a_failure_has_its_hint_only_where_there_is_one() -> None:
    assert answer.to_text(Failure("a.png", "cut short")) == "a.png: cut short"
    assert answer.to_text(Failure("a.png", "cut short", "copy it")) == "a.png: cut short\n  hint: copy it"


def test_the_json_of_a_prediction() -> None:
    assert answer.to_json(CAT) == {
        "path": "cat.png",
        "predictions": (
            {"index": 3, "label": "cat", "probability": 0.75},
            {"index": 5, "label": "dog", "probability": 0.25},
        ),
    }


def test_the_json_of_a_failure() -> None:
    failure = Failure("cat.png", "cut short", "copy it again")
    assert answer.to_json(failure) == {"path": "cat.png", "error": "cut short", "hint": "copy it again"}


def test_an_unknown_image_is_said_to_be_so_before_what_it_would_have_been() -> None:
    coffee = replace(CAT, path="coffee.png", p_known=0.00204, unknown=True)
    assert answer.to_text(coffee).split(maxsplit=1)[1] == "unknown (0.2 %) · cat 75.0 % · dog 25.0 %"
    plain = answer.to_json(replace(CAT, path="coffee.png"))
    assert answer.to_json(coffee) == {**plain, "p_known": 0.00204, "unknown": True}


def test_an_unusual_image_is_said_to_be_so_too() -> None:
    assert " unusual (2 %) · cat" in answer.to_text(replace(CAT, p_known=0.0204, unknown=False))
    assert "unusual" not in answer.to_text(replace(CAT, p_known=0.06, unknown=False))


def test_a_set_follows_the_classes() -> None:
    certain = replace(CAT, p_known=0.4, unknown=False, set=("cat", "dog"))
    assert answer.to_text(certain).endswith("cat 75.0 % · dog 25.0 %  set: cat, dog")
    assert answer.to_json(certain)["set"] == ("cat", "dog")


def test_remarks_and_sets_are_in_chinese_beside_chinese_names() -> None:
    cat = replace(CAT, predictions=(LabelScore(3, "猫", 0.75),), p_known=0.002, unknown=True, set=("猫", "狗"))
    assert answer.to_text(cat, "zh").split(maxsplit=1)[1] == "未知 (0.2 %) · 猫 75.0 %  候选类别：猫、狗"
    assert " 罕见 (2 %) · 猫" in answer.to_text(replace(cat, p_known=0.02, unknown=False), "zh")
