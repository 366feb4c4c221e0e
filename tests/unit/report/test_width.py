"""Tables that a terminal of 80 columns shows without breaking a line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wideresnet.records import BenchReport, BenchRow, Choice, Peak
from wideresnet.report import benchmark, models, recommendation
from wideresnet.report.formats import grouped_table, text_table
from wideresnet.tasks.load.describe import describe, list_models
from wideresnet.weights.catalogue import CATALOGUE

ROW = BenchRow(
    model="wrn_16_4.cifar10", what="engine", engine="onnxruntime", precision="bf16", batch=64, streams=16, threads=128,
    images_per_s=12345.6, quartiles=(1.0, 2.0), p50_ms=12345.6, p95_ms=12345.6, p99_ms=12345.6, peak_share=1.27,
    rss_mb=4500.0, n=123456, note="",
)  # fmt: skip


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_the_list_of_models_fits() -> None:
    shown = models.to_table(list_models())
    assert widest(shown) <= 80
    assert "\nto train:\n" in shown
    assert "wide_resnet101_2.tv2_in1k@176   126.89 M 14.28 G 176 80.49 94.98 timm" in shown


@pytest.mark.parametrize("name", ["wrn_16_4.cifar10", *CATALOGUE])
def test_all_of_a_model_fits_and_no_word_is_lost(name: str) -> None:
    info = describe(name)
    shown = models.to_text(info)
    assert widest(shown) <= 80
    words = " ".join(shown.split())
    for published in info.published:
        assert published.source in words
    assert "(in the graph)" in words


def test_recommendations_fit() -> None:
    name = max(CATALOGUE, key=len)
    choice = Choice(
        name=name, pixels=288, precision="bf16", top1=0.8226, images_per_s=1234.5, latency_ms=12345.0,
        speed="predicted", source="torchvision Wide_ResNet101_2_Weights.IMAGENET1K_V2", fits=False, best=True,
    )  # fmt: skip
    shown = recommendation.to_text([choice, replace(choice, speed="measured")], Peak(1e5, 1e5, 1e5), choice)
    assert widest(shown) <= 80
    assert ("~1234.5" in shown, " 1234.5" in shown) == (True, True)


def test_a_benchmark_fits_with_the_widest_numbers() -> None:
    rows = (ROW, replace(ROW, what="latency", note="engine alone"))
    shown = benchmark.to_text(BenchReport(rows=rows, peak=Peak(1.0, 2.0, 3.0), conditions={}, machine={}))
    assert widest(shown) <= 80
    assert "\nlatency, engine alone:\nonnxruntime bf16" in shown


def test_a_table_is_narrower_only_where_it_fits_so() -> None:
    assert text_table([("a" * 39, "b" * 39)]) == "a" * 39 + "  " + "b" * 39
    assert text_table([("a" * 39, "b" * 40)]) == "a" * 39 + " " + "b" * 40
    assert text_table([("a" * 60, "b" * 40)]) == "a" * 60 + "  " + "b" * 40
    assert text_table([("key", "word " * 17)], wrap=True) == f"key  {'word ' * 14}word\n     word word"


def test_groups_stand_below_their_names_in_common_columns() -> None:
    assert grouped_table(("", "n"), {"x": [("a", "1")], "y": [("bbb", "22")]}, {1}) == (
        "      n\n\nx:\na     1\n\ny:\nbbb  22"
    )
