"""What is told of a model without opening it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import TINY, VARIANTS, tiny_bundle
from wideresnet.architectures import ARCHITECTURES
from wideresnet.bundle import write_bundle
from wideresnet.errors import ConfigError
from wideresnet.tasks.load.describe import describe, list_models
from wideresnet.tasks.load.resolve import DEFAULT_MODEL
from wideresnet.weights.catalogue import CATALOGUE


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WRN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_published_weights_bring_their_figures() -> None:
    info = describe("wide_resnet50_2.tv_in1k")
    assert (info.parameters, info.macs, info.flops) == (68_883_240, info.macs, 2 * info.macs)
    assert (info.where, info.labels, info.licence) == ("to download", "imagenet", "BSD-3-Clause")
    assert info.published[0].top1 == 0.78468


def test_a_size_of_its_own_counts_its_own_macs() -> None:
    small, large = describe("wide_resnet50_2.tv2_in1k@176"), describe("wide_resnet50_2.racm_in1k@288")
    assert (round(small.macs / 1e9, 3), round(large.macs / 1e9, 3)) == (7.272, 18.840)


def test_a_file_in_the_cache_is_here(empty_cache: Path) -> None:
    empty_cache.mkdir()
    (empty_cache / CATALOGUE["wide_resnet50_2.tv_in1k"].file_name).touch()
    assert describe("wide_resnet50_2.tv_in1k").where == "here"


@pytest.mark.parametrize("name", ["wrn_28_10", "WRN-28-10", "wrn-28-10"])
def test_an_architecture_is_to_train(name: str) -> None:
    info = describe(name)
    assert (info.name, info.parameters, info.where) == ("wrn_28_10", 36_479_194, "to train")
    assert describe(name, classes=100).parameters == 36_536_884


@pytest.mark.parametrize("name", ["wrn_imagenet_18_2", "wide_resnet50_2"])
def test_what_was_published_of_imagenet_is_not_said_of_other_classes(name: str) -> None:
    assert describe(name).published
    assert describe(name, classes=10).published == ()


def test_a_bare_name_becomes_its_documented_default() -> None:
    assert describe("wide_resnet50_2").name == "wide_resnet50_2.tv2_in1k"


def test_a_bundle_tells_what_its_card_says(tmp_path: Path) -> None:
    card = write_bundle(tmp_path / "tiny", tiny_bundle())
    info = describe(str(tmp_path / "tiny"))
    assert (info.name, info.where, info.preprocess) == (card.name, "here", card.preprocess)


def test_a_variant_is_told(tmp_path: Path) -> None:
    """Also its biases are counted."""
    write_bundle(tmp_path / "varied", tiny_bundle(VARIANTS["skip_norm"]))
    info = describe(str(tmp_path / "varied"))
    assert info.notes["variant"] == "activation leaky_relu, bn_eps 0.001, conv_bias True, shortcut skip_norm"
    assert info.parameters == VARIANTS["skip_norm"].parameters() > TINY["wrn_10_1"].parameters()


@pytest.mark.parametrize(("name", "reason"), [("wrn_15_2", "must be"), ("nothing_here", "no model called")])
def test_a_wrong_name_gets_the_better_of_two_explanations(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        describe(name)


def test_the_list_holds_everything_once() -> None:
    names = [info.name for info in list_models()]
    assert len(set(names)) == len(names)
    assert set(names) >= {*CATALOGUE, *ARCHITECTURES}


def test_the_embedded_model_leads_the_list_with_what_was_measured() -> None:
    first = list_models()[0]
    assert (first.name, first.where, first.parameters) == (DEFAULT_MODEL, "here", 2_748_890)
    assert first.measured[0].n == 10_000
    assert first.measured[0].correct1 >= 9_400
