"""Columns and heat maps: true to their numbers, escaped, and nothing where there is nothing."""

from __future__ import annotations

import itertools
import re

import pytest

from wideresnet.report.html.charts import DEEPEST, FAINTEST, columns, heat_map

NASTY = '<b onclick="x"> & co'


def heights(shown: str) -> list[float]:
    paths = re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)H[\d.]+V[\d.]+Z", shown)
    return [float(bottom) - float(top) for bottom, top in paths]


def test_columns_are_as_high_as_their_values() -> None:
    small, large, none = heights(columns("t", [10, 30, 0], (0, 100), ("x", "y")))
    assert large == pytest.approx(3 * small, abs=0.3)
    assert none == 0


def test_a_thousand_columns_are_one_path_without_gaps() -> None:
    shown = columns("t", list(range(1000)), (0, 1000), ("x", "y"))
    assert shown.count("<path") - shown.count('class="grid"') - shown.count('class="axis"') == 1
    edges = re.findall(r"M([\d.]+) [\d.]+V[\d.]+H([\d.]+)V", shown)
    assert len(edges) == 1000
    assert all(right == left for (_, right), (left, _) in itertools.pairwise(edges))
    few = re.findall(r"M([\d.]+) [\d.]+V[\d.]+H([\d.]+)V", columns("t", [1, 2], (0, 1), ("x", "y")))
    assert float(few[0][1]) < float(few[1][0])


def test_columns_of_zeros_are_a_chart_and_no_columns_are_none() -> None:
    assert "nan" not in columns("t", [0, 0], (0, 100), ("x", "y"))
    assert columns("t", [], (0, 100), ("x", "y")) == ""


def test_a_heat_map_marks_what_is_right_and_leaves_zeros_empty() -> None:
    rows = [("a", [90, 10, 0]), ("b", [1000, 3000, 0])]
    shown = heat_map("t", ["a", "b", "other"], rows, "rows are right", {(0, 1): "a-b"})
    assert '<a href="#a-b">10</a></td>' in shown
    assert re.findall(r'class="(hit|miss)"[^>]*>(?:<a[^>]*>)?([\d,]+)<', shown) == [
        ("hit", "90"), ("miss", "10"), ("miss", "1,000"), ("hit", "3,000"),
    ]  # fmt: skip
    assert shown.count("<td></td>") == 2
    depths = [int(value) for value in re.findall(r"--deep:(\d+)%", shown)]
    assert depths[0] > depths[1] > FAINTEST
    assert max(depths) <= DEEPEST
    assert 'tabindex="0"' in shown, "whoever has no mouse can scroll it"
    assert heat_map("t", [], [], "", {}) == ""


def test_words_are_escaped() -> None:
    shown = columns(NASTY, [1], (0, 1), (NASTY, NASTY))
    shown += heat_map(NASTY, [NASTY], [(NASTY, [1])], NASTY, {(0, 0): NASTY})
    assert "<b " not in shown
    assert 'onclick="' not in shown
