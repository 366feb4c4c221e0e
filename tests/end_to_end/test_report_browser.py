"""Reports in a real browser: what a click does, and that the page reads without its script."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import CHROMIUM, Browser, browsing
from wideresnet.datasets.labels import read_labels
from wideresnet.records import EngineInfo, EvalReport, Scored
from wideresnet.report.evaluation import to_html
from wideresnet.report.html.evaluation import shown_paths
from wideresnet.tasks.evaluate.metrics import accumulate

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed")

DIALOG = "document.querySelector('dialog')"
CLASSES = "[...document.querySelectorAll('table:not(.heat)')[0].tBodies[0].rows].map(row => row.cells[0].textContent)"


def report_page() -> str:
    """The page of ten images a class; four cats are taken for dogs, a ship for an airplane."""
    answers = [(label, 5 if label == 3 and k < 4 else label) for label in range(10) for k in range(10)]
    answers[80] = 8, 0
    blank = EvalReport("a.model", "some data", EngineInfo("openvino", "1", "CPU", "f32", 1), 0, 0, 0)
    scores = [
        Scored(f"{k}.png", label, 1 if label == answer else 2, 1, (answer, label), (0.9 - k / 1000, 0.05))
        for k, (label, answer) in enumerate(answers)
    ]
    report, out = accumulate(scores, blank), io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(out, "PNG")
    return to_html(report, read_labels("cifar10"), dict.fromkeys(shown_paths(report), out.getvalue()))


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser, tmp_path: Path) -> Browser:
    (tmp_path / "page.html").write_text(report_page(), "utf-8")
    window.look(1200)
    window.open((tmp_path / "page.html").as_uri())
    window.errors.clear()
    return window


def test_a_cell_shows_the_images_of_its_confusion_and_an_image_grows(browser: Browser) -> None:
    browser.run("[...document.querySelectorAll('.heat a')].find(link => link.textContent === '4').click()")
    assert browser.run(f"{DIALOG}.open")
    assert "cat, taken for dog: 4" in browser.run(f"{DIALOG}.innerText")
    assert browser.run(f"{DIALOG}.querySelectorAll('img').length") == 4
    width = browser.run(f"{DIALOG}.querySelector('img').clientWidth")
    browser.run(f"{DIALOG}.querySelector('img').focus()")
    browser.press("Enter")
    assert browser.run(f"{DIALOG}.querySelectorAll('img').length") == 1
    assert browser.run(f"{DIALOG}.querySelector('img').clientWidth") > 2 * width
    assert "30.png" in browser.run(f"{DIALOG}.innerText")
    browser.run(f"{DIALOG}.querySelector('button').click()")
    assert not browser.run(f"{DIALOG}.open")
    assert browser.errors == []


def test_a_table_is_sorted_by_the_column_that_is_clicked(browser: Browser) -> None:
    assert browser.run(CLASSES)[:2] == ["cat", "ship"]
    click = "[...document.querySelectorAll('th button')].find(head => head.textContent === '{}').click()"
    browser.run(click.format("class"))
    assert browser.run(CLASSES) == sorted(read_labels("cifar10").names)
    browser.run(click.format("precision"))
    browser.run(click.format("precision"))
    assert browser.run(CLASSES)[:2] == ["dog", "airplane"]
    assert browser.run("document.querySelectorAll('th[aria-sort=ascending]').length") == 1


def test_without_script_a_cell_leads_to_the_images(browser: Browser, tmp_path: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open((tmp_path / "page.html").as_uri() + "#pair-8-0")
        assert not browser.run("document.querySelector('dialog, th button')")
        assert browser.run("document.getElementById('pair-8-0').checkVisibility()")
        assert browser.run("document.querySelector('#pair-8-0 img').complete")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("width", [360, 1200])
def test_a_report_is_no_wider_than_the_window(browser: Browser, width: int) -> None:
    browser.look(width)
    assert browser.run("document.documentElement.scrollWidth") <= width
