"""Explanations and files of features as text and JSON, explanations as a page too."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np

from wideresnet.records import ClassMap, EmbedReport, EngineInfo, Explanation, Failure, Labels, LabelScore
from wideresnet.report import embedding, explanation
from wideresnet.report.html.overlay import draw_evidence
from wideresnet.report.names import class_names

ENGINE = EngineInfo("openvino", "2026.1", "CPU", "f32", 2)
EVIDENCE = np.eye(8, dtype=np.float32)
CAT = ClassMap(LabelScore(0, "cat", 0.75), 1.125, 1.0, EVIDENCE, (0, 0, 2, 2))
DOG = ClassMap(LabelScore(1, "<dog>", 0.25), -0.125, 0.0, -EVIDENCE, (0, 4, 2, 8))
ONE = Explanation("images/<a>.png", np.zeros((32, 32, 3), np.uint8), 4, (CAT, DOG))
REPORT = EmbedReport("out.npz", "some.model", ENGINE, 7, {"layer2": (3, 2, 2)}, "float32", (Failure("b.png", "no"),))
NAMES = class_names(Labels(("cat", "<dog>")))


def section() -> str:
    return explanation.image_section(ONE, [draw_evidence(ONE, class_map) for class_map in ONE.maps], NAMES)


FACTS = {"model": "some.model", "weights": "a1b2"}


def test_files_are_called_after_image_and_class_and_none_twice() -> None:
    taken: set[str] = set()
    assert explanation.file_name("x/cat.png", "tabby", taken) == "cat-tabby.png"
    assert explanation.file_name("y/cat.jpg", "tabby", taken) == "cat-tabby-2.png"
    assert explanation.file_name("y/cat.jpg", "crane (n02012849)", taken) == "cat-crane_n02012849.png"
    assert explanation.file_name("y/cat.jpg", "../a b/c", taken) == "cat-.._a_b_c.png"
    assert explanation.file_name("y/猫.jpg", "虎斑猫", taken) == "猫-虎斑猫.png"


def test_a_file_is_called_so_that_file_systems_take_it() -> None:
    """Of a name of 255 bytes the beginning is kept, the class too."""
    long = "é" * 125
    name = explanation.file_name(f"{long}.png", "虎斑猫" * 13, set())
    assert name.startswith("éé")
    assert name.endswith("猫.png")
    assert len(os.fsencode(f".{name}.part")) <= 255


def test_an_explanation_is_a_document() -> None:
    values = explanation.to_json(ONE, [Path("maps/a-cat.png"), Path("maps/a-dog.png")])
    assert json.loads(json.dumps(values)) == {
        "path": "images/<a>.png",
        "side": 32,
        "classes": [
            {"index": 0, "label": "cat", "probability": 0.75, "logit": 1.125, "bias": 1.0, "peak": [0, 0, 2, 2],
             "file": "maps/a-cat.png"},
            {"index": 1, "label": "<dog>", "probability": 0.25, "logit": -0.125, "bias": 0.0, "peak": [0, 4, 2, 8],
             "file": "maps/a-dog.png"},
        ],
    }  # fmt: skip
    assert "file" not in explanation.to_json(ONE, [])["classes"][0]


def test_an_explanation_is_a_line_a_class() -> None:
    lines = explanation.to_text(ONE, [Path("maps/a-cat.png"), Path("maps/a-dog.png")]).splitlines()
    assert [line.split()[1:] for line in lines] == [
        ["cat", "75.0", "%", "->", "maps/a-cat.png"], ["<dog>", "25.0", "%", "->", "maps/a-dog.png"],
    ]  # fmt: skip


def test_a_page_shows_crop_and_maps_and_asks_nothing_of_the_outside() -> None:
    page = explanation.to_html(FACTS, ENGINE, [section()], 1, False)
    assert len(re.findall(r'<img src="data:image/jpeg;base64,', page)) == 3
    assert "1.12 = 1.00 + 0.12" in page
    assert "<dt>weights</dt><dd>a1b2</dd>" in page
    assert 'class="gallery large-images"' in page
    assert "−0.12 = 0.00 + −0.12" in page
    assert page.count("nothing speaks for it") == 1
    assert "images/&lt;a&gt;.png" in page
    assert "<dog>" not in page
    assert "Blue" not in page
    assert "the crop that the network saw" in page
    assert not re.search(r"https?://|url\(|@import|<script [^>]", page)


def test_a_page_says_when_it_does_not_show_all_and_what_blue_is() -> None:
    page = explanation.to_html(FACTS, ENGINE, [section()], 1234, True)
    assert "1,234" in page
    assert "the first 1" in page
    assert "Blue speaks against the class" in page


def test_a_file_of_features_is_a_document_and_two_lines() -> None:
    values = embedding.to_json(REPORT)
    assert (values["n"], values["layers"], values["precision"]) == (7, {"layer2": [3, 2, 2]}, "f32")
    assert values["failures"] == [{"path": "b.png", "error": "no", "hint": ""}]
    json.dumps(values)
    assert embedding.to_text(REPORT).splitlines() == [
        "out.npz: layer2 [7, 3, 2, 2] float32", "  some.model with openvino 2026.1, f32; 1 failures",
    ]  # fmt: skip
