"""The parts every HTML report is made of: escaped, whole, and true to their numbers."""

from __future__ import annotations

import base64
import hashlib
import math
import re

import pytest

from wideresnet.report.html.page import (
    Figure,
    bars,
    csv_text,
    downloads,
    fact_rows,
    facts,
    folded,
    gallery,
    lines,
    number,
    page,
    paragraph,
    section,
    side_by_side,
    subsection,
    table,
    tiles,
)

NASTY = '<b onclick="x"> & co'


def test_every_part_escapes_what_it_is_given() -> None:
    parts = [
        paragraph(NASTY),
        facts([(NASTY, NASTY)]),
        table([NASTY], [[NASTY]]),
        bars(NASTY, [(NASTY, 1.0), (NASTY, 2.0)], NASTY),
        lines(NASTY, {NASTY: [(0, 1)], "b": [(1, 2)]}, NASTY, NASTY),
        tiles([(NASTY, NASTY, NASTY)]),
        gallery([Figure(b"\xff\xd8", NASTY, (NASTY,))]),
        subsection(NASTY, "x"),
    ]
    document = page(NASTY, [section(NASTY, *parts)])
    assert "<b " not in document
    assert 'onclick="' not in document
    assert all("&lt;b onclick=&quot;x&quot;&gt; &amp; co" in part for part in [*parts, section(NASTY, "x")])


def test_a_page_follows_light_and_dark_and_asks_nothing_of_the_outside() -> None:
    document = page("t", [section("h", paragraph("p"))])
    assert "color-scheme: light dark" in document
    assert "prefers-color-scheme: dark" in document
    assert not re.search(r"https?://|url\(|@import|<script [^>]", document)


def test_no_script_but_that_of_the_page_may_run() -> None:
    document = page("t", [])
    (script,) = re.findall(r"<script>(.*?)</script>", document, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'" in document


def test_folded_parts_open_by_a_link_and_may_be_open_from_the_start() -> None:
    shown = folded("a heading", "<p>b</p>", anchor="x-1", unfolded=True)
    assert shown.startswith("<details open><summary>a heading</summary><div id=\"x-1\">")
    assert folded("a heading", "") == ""
    assert "open" not in folded(NASTY, "b").split(">")[0]


def test_downloads_hold_the_texts_and_their_kinds() -> None:
    shown = downloads({"a.csv": csv_text([{"n": 1, "name": 'a "b", c'}]), NASTY: "{}"})
    kind, data = re.findall(r'download="a.csv" href="data:([^;]+);charset=utf-8;base64,([^"]+)"', shown)[0]
    assert (kind, base64.b64decode(data).decode()) == ("text/csv", 'n,name\n1,"a ""b"", c"\n')
    assert "application/json" in shown
    assert "<b " not in shown
    assert downloads({}) == ""
    downloads({"a.json": "caf\udce9.png"})


def test_parts_without_content_leave_nothing_behind() -> None:
    assert (facts([]), table(["a"], []), bars("t", [], "s"), lines("t", {"a": [(1, math.nan)]}, "x", "y")) == ("",) * 4
    assert (tiles([]), gallery([]), side_by_side("", ""), subsection("a heading", "")) == ("",) * 4
    assert section("a heading", "", "") == ""


def test_a_table_sets_columns_to_the_right_and_scrolls_in_its_box() -> None:
    shown = table(["name", "n"], [["a", "1"]], right={1})
    assert '<th>name</th><th class="right">n</th>' in shown
    assert '<td>a</td><td class="right">1</td>' in shown
    assert 'class="scroll"' in shown


def test_bars_are_as_long_as_their_values() -> None:
    shown = bars("speed", [("a", 50.0), ("b", 25.0), ("c", math.nan)], "images/s")
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", shown)]
    assert widths[0] == 2 * widths[1] > 0 == widths[2]
    assert "– images/s" in shown


def test_the_axes_of_a_chart_hold_all_points_between_round_numbers() -> None:
    shown = lines("t", {"a": [(1, 13.7), (30, 61.2)]}, "epoch", "ms")
    ticks = re.findall(r'text-anchor="(end|middle)">([\d.,]+)<', shown)
    assert [value for anchor, value in ticks if anchor == "end"] == ["10", "20", "30", "40", "50", "60", "70"]
    assert [value for anchor, value in ticks if anchor == "middle"] == ["0", "10", "20", "30"]


@pytest.mark.parametrize("point", [(5.0, 0.0), (0.0, 0.0), (-3.0, 1e9), (1e-9, 7.0)])
def test_a_single_point_is_a_chart_too(point: tuple[float, float]) -> None:
    shown = lines("t", {"a": [point]}, "x", "y")
    assert shown.count("<circle") == 1
    assert "nan" not in shown
    assert "legend" not in shown


def test_a_number_has_three_digits_that_count() -> None:
    shown = [number(value) for value in (0, 0.01234, 4.5678, 78.92, 1234.5, math.nan)]
    assert shown == ["0", "0.0123", "4.57", "78.9", "1,234", "–"]
    assert number(12345) == "12,345"


def test_images_are_inside_the_page_by_their_kind_and_absent_ones_leave_their_caption() -> None:
    shown = gallery([Figure(b"\xff\xd8 a", "jpeg"), Figure(b"\x89PNG b", "png", ("1", "2")), Figure(None, "gone")])
    assert re.findall(r"data:image/(\w+);base64,([\w+/=]+)\" alt=\"(\w+)\"", shown) == [
        ("jpeg", "/9ggYQ==", "jpeg"), ("png", "iVBORyBi", "png"),
    ]  # fmt: skip
    assert "<li><b>gone</b></li>" in shown
    assert "<span>1</span><span>2</span>" in shown


def test_file_names_that_are_no_text_are_shown_and_can_be_saved() -> None:
    document = page("a\nb\x1b[31m", [paragraph("caf\udce9.png")])
    assert "<p>caf\\udce9.png</p>" in document
    assert r"<title>a\nb\x1b[31m</title>" in document
    document.encode("utf-8")


def test_facts_of_a_machine_are_names_and_text_without_empty_values() -> None:
    values = {"versions": {"numpy": "2.4", "torch": "2.13"}, "flags": ["avx2", "fma"], "a_b": ("a",), "n": 2}
    numbers, empty = {"load": 0, "momentum": 0.0}, {"memory": None, "random": "", "assumed": [], "on": False}
    assert fact_rows(values | numbers | empty) == [
        ("versions", "numpy 2.4, torch 2.13"), ("flags", "avx2, fma"), ("a b", "a"), ("n", "2"), ("load", "0"),
        ("momentum", "0.0"),
    ]  # fmt: skip
