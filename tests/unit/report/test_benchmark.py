"""A benchmark in its three forms: documented names, a table, and a page that is whole."""

from __future__ import annotations

import html
import json
import math
import re

import pytest

from wideresnet.records import BenchReport, BenchRow, LayerTime, Peak, Profile, Tuning
from wideresnet.report import benchmark

NAN = math.nan


def row(what: str, engine: str, rate: float, note: str = "", parts: dict[str, float] | None = None) -> BenchRow:
    return BenchRow(
        "wide<b>", what, engine, "int8", 8, 2, 2, rate, (rate, rate), 50.0, 60.0, 70.0, rate / 40, 512.0, 9, note,
        parts or {},
    )  # fmt: skip


REPORT = BenchReport(
    machine={"cpu": "A CPU", "flags": ["avx2"], "versions": {"numpy": "2"}, "load1": None},
    conditions={"rounds": 5, "data": "noise"},
    peak=Peak(200.0, None, 800.0),
    rows=(
        row("engine", "openvino", 37.0, "quantised in memory"),
        row("engine", "torch-eager", 7.4),
        row("latency", "openvino", 20.0, "engine alone"),
        row("startup", "openvino", NAN, "compiled model cached", {"import": 300.0, "open": 200.0}),
    ),
    profiles=(Profile("wide<b>", "int8", 8, (LayerTime("conv1", "Convolution", "brgconv", 2.0),), {"decode": 1.5}),),
    tuned=(Tuning(4, 2, 2, 37.5, "wide<b>"),),
    skipped={"onnxruntime bf16": "no such thing"},
)


def test_the_document_has_the_documented_names_and_no_nan() -> None:
    values = json.loads(json.dumps(benchmark.to_json(REPORT), allow_nan=False))
    assert (values["schema"], values["peak"]) == (1, {"f32": 200.0, "bf16": None, "int8": 800.0})
    names = "what engine precision batch streams threads images_per_s p50_ms p95_ms p99_ms peak_share rss_mb n"
    assert set(names.split()) <= values["rows"][0].keys()
    assert values["rows"][0]["peak_share"] == 0.925
    assert values["rows"][3]["images_per_s"] is None


def test_the_text_has_a_line_a_row_the_peak_and_what_was_left_out() -> None:
    shown = benchmark.to_text(REPORT)
    line = re.search(r"^engine.*:\n(?:.+\n)*?torch-eager (.*)", shown, re.MULTILINE)
    assert line
    assert line[1].split() == ["int8", "8", "2", "2", "7.40", "50.0", "60.0", "70.0", "18", "%", "512"]
    assert "f32 200, int8 800" in shown
    assert "left out: onnxruntime bf16: no such thing" in shown
    assert "2 threads, 2 streams, batch 4 (37.5 images/s)" in shown


def test_the_text_has_the_layers_and_stages_of_a_profile() -> None:
    shown = benchmark.to_text(REPORT)
    assert "profile of wide<b>, int8: one batch of 8, 2.00 ms\nslowest of 1 layers  kind" in shown
    assert re.search(r"^conv1 +Convolution +brgconv +2.00 +100 %$", shown, re.MULTILINE)
    assert "stages, ms an image in one decode thread: decode 1.50" in shown


@pytest.mark.parametrize(
    ("load", "rate", "said"),
    [
        (0.2, 37.0, []),
        (None, 37.0, []),
        (1.5, 37.0, ["the machine was busy before the start, load 1.5 on 2 CPUs: measure again when it is free"]),
        (0.0, 42.0, ["1 of 1 rows are above 100 % of the peak: the machine's speed changed in the run"]),
        (0.0, 40.1, []),                           # shown as 100 %
    ],
)
def test_what_disturbed_a_measurement_is_remarked(load: float | None, rate: float, said: list[str]) -> None:
    machine = {"cpus": 2, "load1": load}
    report = BenchReport(machine, {}, Peak(200.0), (row("engine", "openvino", rate),))
    shown = " ".join(benchmark.to_text(report).split())
    assert shown.count("note: ") == len(said)
    assert all(f"note: {text}" in shown for text in said)
    assert all(html.escape(text) in benchmark.to_html(report) for text in said)


def test_the_page_shows_every_measurement_with_bars_as_long_as_its_figures() -> None:
    page = benchmark.to_html(REPORT)
    assert page.startswith("<!doctype html>")
    assert "<b>" not in page
    assert not re.search(r"https?://|<script [^>]", page)
    for what in ("engine", "latency", "startup"):
        assert f"<h2>wide&lt;b&gt;: {what}</h2>" in page
    speed = page.partition("<figcaption>Speed</figcaption>")[2].partition("</figure>")[0]
    ours, eager = (float(width) for width in re.findall(r"width:([\d.]+)%", speed))
    assert ours == 5 * eager
    assert "<td>conv1</td><td>Convolution</td><td>brgconv</td>" in page
    assert "<svg" not in page, "three percentiles are no curve"
    startup = page.partition("<h2>wide&lt;b&gt;: startup</h2>")[2]
    assert "<figure>" not in startup.partition("</section>")[0], "one bar is no chart"
    assert 'download="benchmark.csv"' in page


def test_a_report_of_nothing_is_a_page_and_a_text_too() -> None:
    empty = BenchReport({}, {}, Peak(), ())
    assert "Benchmark" in benchmark.to_html(empty)
    assert benchmark.to_text(empty) == ""
