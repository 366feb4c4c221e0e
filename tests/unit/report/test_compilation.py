"""A compilation as page, text and document: what was measured, what was not, and in the right words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape

from wideresnet.records import (
    CompileReport,
    Deviation,
    EngineInfo,
    Failure,
    GateReport,
    LayerLoss,
    QuantiseSettings,
    Trial,
)
from wideresnet.report import compilation

ENGINE = EngineInfo("openvino", "2026.1", "CPU", "int8", 2)
GATE = GateReport(
    "test set", 1000, 2, 0.9419, 0.9413, 0.9988, 0.998, 0.0006, (-0.0008, 0.002), 0.47, 0.9944, 0.0027, 0.002, True,
    ENGINE,
)  # fmt: skip
AGREEMENT = replace(
    GATE, kind="agreement", top1_reference=None, top1=None, top5_reference=None, top5=None, drop=None, interval95=None,
    p_value=None, limit=0.95,
)  # fmt: skip
KEPT = QuantiseSettings(kept=("conv1", "<fc>"), bias_correction="fast", preset="mixed")
REPORT = CompileReport(
    bundle="out/<int8>", precision="int8", size_bytes=2_800_000, size_bytes_reference=11_000_000,
    verified=(Deviation("openvino", 1, 0.02), Deviation("openvino", 7, 0.03), Deviation("onnxruntime", 1, 0.04),
              Deviation("onnxruntime", 7, 0.05)),
    calibration=300, gate=GATE, quantised=QuantiseSettings(),
)  # fmt: skip
LAYERS = (
    LayerLoss("conv1", "Conv", (16, 3, 3, 3), 0.012, 0.0001, 0.01),
    LayerLoss("layer1.0", "Add", (), 0.0, 0.0004, 0.02),
    LayerLoss("fc", "Gemm", (10, 256), 0.001, 0.0002, 0.03),
)
FAILED = replace(GATE, passed=False, drop=0.01)
SEARCHED = replace(
    REPORT, gate=FAILED, layers=LAYERS, quantised=KEPT, finished=False,
    trials=(Trial(QuantiseSettings(), FAILED, (), 3.4, 12.0), Trial(KEPT, None, (), None, 3.0)),
)  # fmt: skip


FACTS = {"model": "a.model", "command": "wrn compile -o out"}


def words(report: CompileReport) -> str:
    """The page without its tags."""
    body = compilation.to_html(report, FACTS).partition("<body>")[2].partition("<script>")[0]
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)))


def test_the_text_of_an_accuracy_gate() -> None:
    shown = compilation.to_text(REPORT)
    for part in ("94.190 -> 94.130 %", "drop 0.060 points", "-0.080 to 0.200", "p = 0.47", "gate 0.2: passed",
                 "99.44 %", "ranges by mse, 300 images", "within 0.05 of their spread"):  # fmt: skip
        assert part in shown, shown
    assert "FAILED" in compilation.to_text(replace(REPORT, gate=FAILED))
    assert "no gate" in compilation.to_text(replace(REPORT, gate=replace(GATE, limit=None)))


def test_agreement_is_never_called_accuracy() -> None:
    for shown in (compilation.to_text(replace(REPORT, gate=AGREEMENT)), words(replace(REPORT, gate=AGREEMENT))):
        assert "not accuracy" in shown
        assert "99.44" in shown
        assert "top-1" not in shown
        assert "McNemar" not in shown
    assert "gate 95: passed" in compilation.to_text(replace(REPORT, gate=AGREEMENT))


def test_without_a_comparison_there_is_none() -> None:
    assert "not compared with f32" in compilation.to_text(replace(REPORT, gate=None))
    assert "Not compared with f32" in words(replace(REPORT, gate=None))


def test_a_search_says_how_it_ended() -> None:
    shown = compilation.to_text(SEARCHED)
    assert "2 ways of quantising tried on the same images, 0 passed" in shown
    assert "the same command goes on from here" in shown
    assert "2 layers in f32: conv1, <fc>" in shown
    assert "nothing is left to try" in compilation.to_text(replace(SEARCHED, finished=True))


def test_the_page_holds_the_gate_the_layers_and_the_trials() -> None:
    shown = words(SEARCHED)
    for part in ("FAILED", "2.8 MB, 25 % of f32's", "3×3, 3 → 16", "256 → 10", "1.20 %", "not the same model", "3.40"):
        assert part in shown, shown
    assert "Sensitivity" not in words(REPORT)
    assert "Search" not in words(REPORT)


def test_the_most_sensitive_layer_stands_first_and_says_where_it_is_kept() -> None:
    page = compilation.to_html(SEARCHED, FACTS)
    rows = re.findall(r"<tr><td>([\w.]+)</td>.*?<td>(f32|int8)</td></tr>", page)
    assert rows == [("layer1.0", "int8"), ("fc", "int8"), ("conv1", "f32")]


def test_names_are_escaped_and_nothing_is_asked_of_the_outside() -> None:
    page = compilation.to_html(SEARCHED, FACTS)
    assert "<fc>" not in page
    assert "<int8>" not in page
    assert not re.search(r"https?://|url\(|<script [^>]", page)


def test_the_document_has_the_documented_fields() -> None:
    values = compilation.to_json(SEARCHED)
    promised = "bundle precision size_bytes verified gate layers trials quantised finished"
    assert set(promised.split()) <= values.keys()
    promised = "kind top1_reference top1 drop interval95 p_value agreement n passed limit"
    assert set(promised.split()) <= values["gate"].keys()
    assert (values["gate"]["drop"], values["gate"]["limit"], values["gate"]["passed"]) == (1.0, 0.2, False)
    assert values["trials"][1]["gate"] is None
    assert values["layers"][0]["name"] == "conv1"
    json.dumps(values, allow_nan=False)


def test_the_document_of_agreement_has_nulls_for_accuracy() -> None:
    gate = compilation.to_json(replace(REPORT, gate=AGREEMENT))["gate"]
    assert gate["kind"] == "agreement"
    assert [gate[key] for key in ("top1_reference", "top1", "top5", "drop", "interval95", "p_value")] == [None] * 6
    assert (gate["agreement"], gate["limit"]) == (99.44, 95.0)


def test_the_batches_that_were_verified_are_the_ones_told() -> None:
    """With few images the batches are smaller than 1, 2 and 7."""
    few = (Deviation("openvino", 1, 0.02), Deviation("openvino", 2, 0.03), Deviation("openvino", 3, 0.03))
    assert "at batch 1, 2 and 3" in compilation.to_text(replace(REPORT, verified=few))
    assert "at batch 1\n" in compilation.to_text(replace(REPORT, verified=few[:1]))


FEW = replace(GATE, n=18, drop=0.0, interval95=(-0.098, 0.098))


def test_too_few_images_leave_the_gate_undecided() -> None:
    """Text, page and JSON state the interval and the images that could decide, and never "passed"."""
    for gate, sentence in (
        (FEW, "no loss above 0.2 points was seen, but 18 images cannot exclude it"
              " (95 % interval ends at 9.800 points); about 1,917 could"),
        (replace(AGREEMENT, n=66, agreement=1.0), "no agreement below 95 % was seen, but 66 images cannot exclude it"
              " (95 % interval begins at 94.50 %); about 73 could"),
        (replace(AGREEMENT, n=100, agreement=0.95), "; no number of images could"),
    ):  # fmt: skip
        report = replace(REPORT, gate=gate)
        for shown in (compilation.to_text(report), words(report)):
            assert sentence in shown
            assert "UNDECIDED" in shown
            assert "passed" not in shown
        value = compilation.to_json(report)["gate"]
        assert (value["passed"], value["verdict"], value["images_needed"]) == (False, "undecided", gate.images_needed)
        assert sentence in compilation.verdict_text(gate)
    for decided in (GATE, FAILED, replace(GATE, limit=None), replace(AGREEMENT, n=1000)):
        assert "cannot exclude" not in compilation.to_text(replace(REPORT, gate=decided))
        assert compilation.advice(decided) == []


def test_the_advice_for_an_undecided_gate_can_be_typed() -> None:
    (advice,) = compilation.advice(FEW)
    assert "give 1,917 images with --data, a limit of --gate 9.8, or --gate none" in advice
    (advice,) = compilation.advice(replace(AGREEMENT, n=66, agreement=1.0))
    assert "--min-agreement 94.4" in advice


def test_a_search_counts_undecided_trials_apart() -> None:
    trials = Trial(QuantiseSettings(), FAILED), Trial(QuantiseSettings(samples=9), FEW)
    shown = compilation.to_text(replace(REPORT, gate=FEW, trials=trials))
    assert "2 ways of quantising tried on the same images, 0 passed, 1 undecided" in shown


def test_what_is_not_as_asked_and_what_could_not_be_read_is_in_page_and_document() -> None:
    report = replace(REPORT, notes=("300 were asked for",), failures=(Failure("a.png", "torn"),))
    assert compilation.to_json(report)["notes"] == ["300 were asked for"]
    assert compilation.to_json(report)["failures"] == [{"path": "a.png", "error": "torn", "hint": ""}]
    assert "300 were asked for" in words(report)
    assert "a.png torn" in words(report)
    assert "could not be read" not in words(REPORT)


def test_the_loss_is_drawn_beside_its_limit() -> None:
    page = compilation.to_html(REPORT, FACTS)
    (drawing,) = re.findall(r'aria-label="The loss with its 95 % interval">(.*?)</svg>', page)
    low, high = map(float, re.findall(r'line s0" d="M([\d.]+) 60H([\d.]+)M', drawing)[0])
    (limit,), (middle,) = re.findall(r'line s1" d="M([\d.]+) 24', drawing), re.findall(r'cx="([\d.]+)"', drawing)
    assert low < float(middle) < high
    assert high == float(limit), "both are 0.2 points"
    assert "limit 0.2" in drawing
    assert "points of top-1 lost" in drawing
    assert "answers that differ" in compilation.to_html(replace(REPORT, gate=AGREEMENT), FACTS)


def test_the_speed_is_shown_if_it_was_measured() -> None:
    assert "The speed was not measured" in words(REPORT)
    measured = words(replace(SEARCHED, quantised=QuantiseSettings()))
    assert "f32 1.00 × f32's int8 3.40 × f32's" in measured
    assert "Size f32 11.0 MB int8 2.80 MB" in measured
    assert "command wrn compile -o out" in measured
