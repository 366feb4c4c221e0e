from __future__ import annotations

import math
import re

import pytest

from wideresnet.architectures import ARCHITECTURES, get_architecture
from wideresnet.weights.catalogue import CATALOGUE, DEFAULTS, PAPER, find_weights

# The publishers' pages: timm's pretrained configurations (file, crop_pct, interpolation) and results-imagenet.csv
# (size, top-1, top-5 in percent); the numbers that a row derives from them are computed here.
TIMM = """
wide_resnet50_2.tv_in1k       wide_resnet50_2-95faca4d.pth       224  0.875  bilinear  78.486  94.084
wide_resnet50_2.tv2_in1k      wide_resnet50_2-9ba9bcbe.pth       224  0.965  bilinear  81.612  95.766
wide_resnet50_2.tv2_in1k@176  wide_resnet50_2-9ba9bcbe.pth       176  0.875  bilinear  80.442  95.076
wide_resnet50_2.racm_in1k     wide_resnet50_racm-8234f177.pth    224  0.875  bicubic   81.466  95.544
wide_resnet50_2.racm_in1k@288 wide_resnet50_racm-8234f177.pth    288  0.95   bicubic   82.260  96.062
wide_resnet101_2.tv_in1k      wide_resnet101_2-32ee1156.pth      224  0.875  bilinear  78.862  94.312
wide_resnet101_2.tv2_in1k     wide_resnet101_2-d733dc28.pth      224  0.965  bilinear  82.514  96.012
wide_resnet101_2.tv2_in1k@176 wide_resnet101_2-d733dc28.pth      176  0.875  bilinear  80.494  94.978
"""
TIMM_ROWS = [line.split() for line in TIMM.strip().splitlines()]


@pytest.mark.parametrize("row", TIMM_ROWS, ids=[row[0] for row in TIMM_ROWS])
def test_a_row_agrees_with_the_configuration_and_results_of_timm(row):
    name, file, size, crop_pct, interpolation, top1, top5 = row
    weights = CATALOGUE[name]
    spec = weights.preprocess
    assert weights.file_name == file
    assert weights.sha256_prefix == file.removesuffix(".pth").rpartition("-")[2]
    assert (spec.crop, spec.resize, spec.interpolation, spec.mode) == (
        int(size), math.floor(int(size) / float(crop_pct)), interpolation, "shortest"
    )  # fmt: skip
    (printed,) = [figure for figure in weights.published if figure.source.startswith("timm")]
    assert (100 * printed.top1, 100 * printed.top5) == (pytest.approx(float(top1)), pytest.approx(float(top5)))


def test_the_catalogue_has_no_other_rows():
    assert set(CATALOGUE) == {row[0] for row in TIMM_ROWS}


@pytest.mark.parametrize("row", CATALOGUE.values(), ids=list(CATALOGUE))
def test_every_row_is_consistent(row):
    assert row.architecture in ARCHITECTURES
    assert row.name.startswith(f"{row.architecture}.")
    assert row.hub == f"timm/{row.name.partition('@')[0]}"
    assert row.url.startswith("https://")
    assert row.url.endswith(f"-{row.sha256_prefix}.pth")
    assert re.fullmatch(r"[0-9a-f]{8}", row.sha256_prefix)
    assert row.file_name == row.url.split("/")[-1]
    assert row.published
    for printed in row.published:
        assert 0.7 < printed.top1 < printed.top5 < 1
        assert printed.source


def test_the_same_weights_measured_twice_agree_within_decoder_noise():
    for row in CATALOGUE.values():
        assert max(p.top1 for p in row.published) - min(p.top1 for p in row.published) < 0.0003


@pytest.mark.parametrize("before", ["", "timm/", " "])
def test_a_full_name_is_that_of_its_row(before):
    assert find_weights(f"{before}wide_resnet50_2.tv_in1k") is CATALOGUE["wide_resnet50_2.tv_in1k"]


def test_a_bare_architecture_becomes_its_documented_default():
    assert find_weights("wide_resnet50_2") is CATALOGUE["wide_resnet50_2.tv2_in1k"]
    assert find_weights("wide_resnet101_2") is CATALOGUE["wide_resnet101_2.tv2_in1k"]
    assert set(DEFAULTS) == {row.architecture for row in CATALOGUE.values()}


@pytest.mark.parametrize("name", ["wide_resnet50_2.tv3_in1k", "WRN-28-10"])
def test_another_name_is_not_in_the_catalogue(name):
    assert find_weights(name) is None


def test_the_paper_s_numbers_belong_to_architectures():
    for name, printed in PAPER.items():
        assert get_architecture(name).family == "imagenet"
        assert printed.top1 < printed.top5
    assert PAPER["wide_resnet50_2"].top5 == 0.9397             # 6.03 % error, Table 8; not Table 9's 5.79
