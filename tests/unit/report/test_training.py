"""The page of a training run opens anywhere, without a connection."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

from wideresnet.report.html.page import HEIGHT, WIDTH
from wideresnet.report.training import to_html

LOG = [
    {"epoch": epoch, "loss": 2.0 / (epoch + 1), "top1": 0.3 + 0.1 * epoch if epoch % 2 else math.nan, "seconds": 60}
    for epoch in range(6)
]
VOID = {"meta", "circle", "path", "polyline"}


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
    page = to_html("a run", LOG)
    assert page.startswith("<!doctype html>")
    tags = parsed(page).seen
    assert tags.count("svg") == 2
    assert tags.count("script") == 1
    assert not {"img", "link", "iframe"} & set(tags)
    assert not re.search(r"https?://|url\(|@import", page)


def test_every_epoch_is_a_point_and_only_measured_ones_of_accuracy() -> None:
    loss, top1 = re.findall(r'points="([^"]*)"', to_html("a run", LOG))
    assert (len(loss.split()), len(top1.split())) == (6, 3)
    for spot in [*loss.split(), *top1.split()]:
        x, y = map(float, spot.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    heights = [float(spot.split(",")[1]) for spot in loss.split()]
    assert heights == sorted(heights), "a falling loss goes down the page"


def test_the_summary_says_how_long_and_how_good() -> None:
    assert "6 epochs in 6 minutes, test accuracy 80.00 %." in to_html("a run", LOG)


def test_one_epoch_and_none_are_pages_too() -> None:
    parsed(to_html("a run", LOG[:1]))
    assert "<svg" not in to_html("a run", [])


def test_a_title_cannot_break_the_page() -> None:
    page = to_html("<b> & co", LOG)
    assert "<b>" not in page
    parsed(page)
