"""Cascades on disk: a bundle of bundles, opened only with the networks that it was certified with."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes import tiny_bundle, tiny_cascade, tiny_images
from wideresnet.bundle import Bundle, with_alpha
from wideresnet.bundle.derive import as_float32, with_preprocess
from wideresnet.bundle.files import read_bundle, write_bundle
from wideresnet.engines import open_engine
from wideresnet.engines.features import open_features
from wideresnet.errors import BundleError, ConfigError
from wideresnet.tasks.load.load import ModelChoice, load_bundle
from wideresnet.tasks.quantize.compile import export_bundle


@pytest.fixture(scope="module")
def cascade() -> Bundle:
    return tiny_cascade()


def test_a_cascade_reads_back_as_it_was_written_and_its_members_are_bundles(cascade: Bundle, tmp_path: Path) -> None:
    card = write_bundle(tmp_path / "c", cascade)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["card.json", "labels.txt", "members"]
    assert list(card.files) == ["labels.txt", "members/0/card.json", "members/1/card.json"]
    again = read_bundle(tmp_path / "c")
    assert again.card == card
    assert again.card.cascade == cascade.card.cascade
    assert [member.graph for member in again.members] == [member.graph for member in cascade.members]
    assert read_bundle(tmp_path / "c" / "members" / "0").sha256 == cascade.members[0].sha256
    np.testing.assert_array_equal(open_engine(again)(tiny_images(5, 32)), open_engine(cascade)(tiny_images(5, 32)))


def test_a_cascade_replaces_a_bundle_and_is_replaced_by_one(cascade: Bundle, tmp_path: Path) -> None:
    for bundle in (tiny_bundle(), cascade, tiny_bundle()):
        write_bundle(tmp_path / "c", bundle)
        assert len(read_bundle(tmp_path / "c").members) == len(bundle.members)
    assert not (tmp_path / "c" / "members").exists()


def test_the_card_of_another_model_does_not_mention_cascades(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", tiny_bundle())
    assert "cascade" not in json.loads((tmp_path / "m" / "card.json").read_text("utf-8"))


def test_another_network_in_the_place_of_a_member_is_refused(cascade: Bundle, tmp_path: Path) -> None:
    write_bundle(tmp_path / "c", cascade)
    shutil.rmtree(tmp_path / "c" / "members" / "0")
    with pytest.raises(BundleError, match="not a complete bundle"):
        read_bundle(tmp_path / "c")
    shutil.copytree(tmp_path / "c" / "members" / "1", tmp_path / "c" / "members" / "0")
    with pytest.raises(BundleError, match=r"members/0/card.json is not the file that the bundle was written with"):
        read_bundle(tmp_path / "c")
    swapped = replace(cascade, members=cascade.members[::-1])
    write_bundle(tmp_path / "d", swapped)
    with pytest.raises(BundleError, match=r"not the network that .* was certified with"):
        read_bundle(tmp_path / "d")


def test_cascades_of_other_rules_or_members_have_other_hashes(cascade: Bundle) -> None:
    others = [tiny_cascade(thresholds=(0.6,)), tiny_cascade(*cascade.members[::-1])]
    assert len({bundle.card.weights_sha256 for bundle in (cascade, *others)}) == 3
    assert others[1].sha256 != cascade.sha256


def test_a_cascade_goes_to_another_process_whole(cascade: Bundle) -> None:
    again = pickle.loads(pickle.dumps(cascade))
    assert [member.sha256 for member in again.members] == [member.sha256 for member in cascade.members]


def test_what_needs_the_graph_of_one_network_says_so(cascade: Bundle, tmp_path: Path) -> None:
    spec = replace(cascade.card.preprocess, resize=40)
    for use in (
        lambda: cascade.model, lambda: as_float32(cascade), lambda: with_preprocess(cascade, spec),
        lambda: with_alpha(cascade, "white"), lambda: open_features(cascade, ["features"]),
        lambda: export_bundle(cascade, tmp_path / "e"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="is a cascade of 2 networks: this takes one") as error:
            use()
        assert error.value.hint.endswith("members/1")
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(("field", "value"), [
    ("members", []), ("point.thresholds", [0.5, 0.5]), ("point.reached", [100]), ("point.reached", [0, 0]),
    ("point.rule", "luck"), ("point.macs", 0.0), ("members.0.temperature", 0.0), ("members.1.temperature", "NaN"),
])  # fmt: skip
def test_a_card_whose_rule_cannot_be_is_refused(cascade: Bundle, tmp_path: Path, field: str, value: object) -> None:
    write_bundle(tmp_path / "c", cascade)
    card = json.loads((tmp_path / "c" / "card.json").read_text("utf-8"))
    *path, name = field.split(".")
    inner = card["cascade"]
    for key in path:
        inner = inner[int(key) if key.isdigit() else key]
    inner[name] = value
    (tmp_path / "c" / "card.json").write_text(json.dumps(card), "utf-8")
    with pytest.raises(BundleError, match=r"card\.json is no card of a model"):
        read_bundle(tmp_path / "c")


def test_a_member_of_the_embedded_cascade_is_named_as_it_can_be_opened() -> None:
    bundle = load_bundle(ModelChoice("cifar10.cascade"))
    with pytest.raises(ConfigError) as error:
        bundle.check_single()
    assert error.value.hint == "name one of them, such as wrn_16_4.cifar10"
    assert not load_bundle(ModelChoice("wrn_16_4.cifar10")).members
