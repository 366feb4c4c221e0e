"""The page of a training run opens anywhere, without a connection."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser

import numpy as np

from wideresnet.records import Images, Labels, TrainingImage
from wideresnet.report.html.page import HEIGHT, WIDTH
from wideresnet.report.training import Log, to_html

LOG = [
    {"epoch": epoch, "loss": 2.0 / (epoch + 1), "top1": 0.3 + 0.1 * epoch if epoch % 2 else math.nan, "seconds": 60}
    for epoch in range(6)
]
FULL_LOG = [
    {**line, "val_loss": 2.5 / (line["epoch"] + 1), "train_top1": 0.2, "learning_rate": 0.1 - 0.01 * line["epoch"]}
    for line in LOG
]
IMAGES = Images("pets", Labels(("<cat>", "dog", "owl")), 60, 6, class_counts=(30, 20, 10))
VOID = {"meta", "img", "circle", "path", "polyline"}


def run_page(log: Log = LOG, first: Sequence[TrainingImage] = (), title: str = "a run") -> str:
    return to_html(title, log, IMAGES, first, {"seed": 7, "command": "wrn train r.toml"})


class Structure(HTMLParser):
    """Every tag in order; complains about one that is closed but was not opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Structure:
    structure = Structure()
    structure.feed(page)
    structure.close()
    assert structure.open == []
    return structure


def test_the_page_is_whole_and_asks_nothing_of_the_outside() -> None:
    page = run_page()
    assert page.startswith("<!doctype html>")
    tags = parsed(page).seen
    assert tags.count("svg") == 2
    assert tags.count("script") == 1
    assert not {"img", "link", "iframe"} & set(tags)
    assert not re.search(r"https?://|url\(|@import", page)


def test_every_epoch_is_a_point_and_only_measured_ones_of_accuracy() -> None:
    loss, top1 = re.findall(r'points="([^"]*)"', run_page())
    assert (len(loss.split()), len(top1.split())) == (6, 3)
    for spot in [*loss.split(), *top1.split()]:
        x, y = map(float, spot.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    heights = [float(spot.split(",")[1]) for spot in loss.split()]
    assert heights == sorted(heights), "a falling loss goes down the page"


def test_the_summary_says_how_long_and_how_good() -> None:
    assert "6 epochs in 6 minutes, test accuracy 80.00 %." in run_page()


def test_one_epoch_and_none_are_pages_too() -> None:
    parsed(run_page(LOG[:1]))
    assert "<svg" not in run_page([])


def test_a_title_cannot_break_the_page() -> None:
    page = run_page(title="<b> & co")
    assert "<b>" not in page
    parsed(page)


def test_validation_and_learning_rate_have_curves_and_a_table() -> None:
    page = run_page(FULL_LOG)
    assert len(re.findall(r'points="([^"]*)"', page)) == 5, "loss and accuracy twice, the rate once"
    for part in ("training, augmented images", "Learning rate", "test loss", "0.0500"):
        assert part in page


def test_one_epoch_is_a_row_and_no_curve() -> None:
    page = run_page(FULL_LOG[:1])
    assert "<svg" not in page
    assert '<td class="right">2.50</td>' in page


def test_classes_are_counted_and_the_first_batch_is_shown_with_its_targets() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    first = [TrainingImage(pixels, {1: 1.0}), TrainingImage(pixels, {0: 0.75, 2: 0.25})]
    page = run_page(first=first)
    assert "60 training images of 3 classes: from 10 (owl) to 30 (&lt;cat&gt;) a class." in page
    assert re.findall(r"<b>([^<]+)</b>", page) == ["dog", "75 % &lt;cat&gt; + 25 % owl"]
    assert page.count("<img") == 2
    assert "wrn train r.toml" in page
