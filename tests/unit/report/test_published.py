"""Measured beside published: the table, a line as it comes, and the document."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from wideresnet.records import (
    Allowed,
    EngineInfo,
    EvalReport,
    ModelInfo,
    Preprocess,
    Published,
    Target,
    Verification,
)
from wideresnet.report.published import to_json, to_line, to_text

INFO = ModelInfo(
    name="wide_resnet50_2.tv_in1k",
    architecture="wide_resnet50_2",
    parameters=68_883_240,
    macs=11_397_000_000,
    thop_macs=11_456_000_000,
    classes=1000,
    preprocess=Preprocess(256, 224),
    labels="imagenet",
    licence="BSD-3-Clause",
    where="here",
    published=(Published(0.78468, 0.94086, "torchvision"), Published(0.78486, 0.94084, "timm")),
)
REPORT = EvalReport(
    "wide_resnet50_2.tv_in1k", "val", EngineInfo("openvino", "1", "CPU", "f32", 2), 50_000, 39_240, 47_040
)
PASSED = Verification(
    INFO,
    "passed",
    "",
    Target(0.78468, 0.94086, "torchvision", 50_000),
    REPORT,
    Allowed("tolerance", (0.7838, 0.7858), (0.9398, 0.9418), 0.001, 0.999),
)
ABSENT = Verification(replace(INFO, name="wide_resnet101_2.tv_in1k"), "absent", "put it into the cache")


def test_the_table_shows_measured_beside_published_and_the_columns_of_the_zoo() -> None:
    table = to_text([PASSED, ABSENT])
    row = table.splitlines()[1]
    for cell in ("passed", "78.480", "78.468", "+0.012", "94.080", "94.086", "-0.006", "50000", "± 0.1", "f32"):
        assert cell in row.split() or cell in row
    assert "68.883 M" in row
    assert "11.456 G" in row
    assert "± 0.1: the whole data set was run, and both figures are within 0.1 points." in table
    assert "wide_resnet50_2.tv_in1k: 78.486 / 94.084 (timm)" in table
    assert "not here  wide_resnet101_2.tv_in1k  put it into the cache" in table


def test_a_sample_says_by_which_rule_it_was_judged() -> None:
    allowed = Allowed("interval", (0.7, 0.8), (0.9, 0.95), 0.001, 0.999)
    table = to_text([replace(PASSED, allowed=allowed)])
    assert "interval: the figures are not of the same images" in table
    assert "99.9 % interval (exact) of the measured, ± 5 points of top-1" in table
    assert "± 0.1" not in table


def test_nothing_verified_says_so() -> None:
    assert to_text([ABSENT]).startswith("nothing was verified")


def test_a_line_as_it_comes() -> None:
    assert to_line(PASSED) == (
        "passed  wide_resnet50_2.tv_in1k: top-1 78.480 for 78.468, top-5 94.080 for 94.086, n = 50000"
    )
    assert to_line(ABSENT) == "not here  wide_resnet101_2.tv_in1k: put it into the cache"


def test_a_failure_without_a_comparison_still_shows() -> None:
    broken = Verification(INFO, "failed", "the file is damaged")
    empty = replace(PASSED, verdict="failed", note="none could be read", allowed=None, report=replace(REPORT, n=0))
    table = to_text([broken, empty])
    assert "the file is damaged" in table
    assert "none could be read" in table


def test_the_document_is_in_percent_and_without_nan() -> None:
    empty = replace(PASSED, verdict="failed", allowed=None, report=replace(REPORT, n=0, correct1=0, correct5=0))
    values = json.loads(json.dumps(to_json([PASSED, ABSENT, empty]), allow_nan=False))
    first, second, third = values["models"]
    assert first["points"] == {"top1": 0.012, "top5": -0.006}
    assert first["allowed"]["rule"] == "tolerance"
    assert first["allowed"]["tolerance"] == 0.1
    assert first["target"] == {"top1": 78.468, "top5": 94.086, "source": "torchvision", "pictures": 50_000}
    assert first["published"][1] == {"top1": 78.486, "top5": 94.084, "source": "timm"}
    assert (first["measured"]["n"], first["measured"]["precision"]) == (50_000, "f32")
    assert (second["verdict"], second["target"], second["measured"]) == ("absent", None, None)
    assert third["points"] == {"top1": None, "top5": None}
    assert math.isnan(replace(REPORT, n=0).top1)
