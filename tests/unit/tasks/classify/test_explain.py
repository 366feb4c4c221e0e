"""Class activation maps: exact, of the right class, in order, and found by whatever a class is called."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx.numpy_helper import to_array
from PIL import Image

from fakes import TINY, VARIANTS, tiny_bundle, tiny_images, tiny_tensors
from wideresnet.bundle import Bundle, make_bundle
from wideresnet.datasets.labels import read_labels
from wideresnet.engines import EngineOptions
from wideresnet.engines.features import Features
from wideresnet.engines.openvino import OpenVinoEngine
from wideresnet.errors import ConfigError, ImageError
from wideresnet.graph.outputs import parse_graph, read_classifier, with_outputs
from wideresnet.graph.write import write_graph
from wideresnet.records import Explanation, Failure, InferenceSettings, Item, Labels, ModelCard, Preprocess
from wideresnet.tasks.classify.explain import Explainer, explain, explanations, find_class, open_explainer

IMAGENET = read_labels("imagenet")


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return open_explainer(tiny_bundle())


def items(count: int, bad: tuple[int, ...] = ()) -> list[Item]:
    images = tiny_images(count, 32)
    return [Item(f"{i:03}", b"no image" if i in bad else images[i]) for i in range(count)]


def found(explainer: Explainer, *arguments: object, **more: object) -> list[Explanation]:
    answers = list(explanations(explainer, *arguments, **more))  # type: ignore[arg-type]
    assert all(isinstance(each, Explanation) for each in answers)
    return answers  # type: ignore[return-value]


def test_the_mean_of_the_evidence_and_the_bias_are_the_logit(explainer: Explainer) -> None:
    """For every class of every image; the logits are those of the plain engine."""
    from wideresnet.engines import open_engine

    logits = open_engine(tiny_bundle())(tiny_images(5, 32))
    for row, each in zip(logits, found(explainer, items(5), k=10), strict=True):
        assert sorted(shown.score.index for shown in each.maps) == list(range(10))
        for shown in each.maps:
            assert shown.evidence.shape == (8, 8)
            assert shown.logit == pytest.approx(row[shown.score.index], abs=1e-5)
            assert shown.evidence.sum() / 64 + shown.bias == pytest.approx(shown.logit, abs=1e-5)


def test_a_network_that_does_not_pool_by_the_mean_has_no_maps() -> None:
    with pytest.raises(ConfigError, match="has no class activation maps: its pooling is avgmax") as caught:
        open_explainer(tiny_bundle(VARIANTS["postact"]))
    assert caught.value.hint == "explain a model with pool avg"


def test_the_bottleneck_network_is_as_exact() -> None:
    architecture, spec = TINY["bottleneck"], Preprocess(resize=64, crop=64)
    model = with_outputs(write_graph(architecture, tiny_tensors(architecture), spec), ["map"])
    engine = OpenVinoEngine(model.SerializeToString(), EngineOptions(threads=1))
    card = ModelCard("tiny", "wide_resnet50_2", 10, spec, "fp32", "Apache-2.0")
    made = Explainer(card, read_labels("cifar10"), Features(engine, ("map",)), *read_classifier(model), 32)
    (each,) = found(made, [Item("a", tiny_images(1, 64)[0])], k=3)
    for shown in each.maps:
        assert shown.evidence.mean() + shown.bias == pytest.approx(shown.logit, abs=1e-5)


def test_in_int8_only_the_rounding_of_the_mean_is_between() -> None:
    pytest.importorskip("nncf")
    from wideresnet.tasks.quantize.compile import in_precision

    bundle = in_precision(tiny_bundle(), "int8", list(tiny_images(4, 32)))
    made = open_explainer(bundle)
    assert made.features.engine.info.precision == "int8"
    constants = {each.name: each for each in parse_graph(bundle.graph).graph.initializer}
    scale = to_array(constants["scale_pool_1"])
    for each in found(made, items(4), k=10):
        for shown in each.maps:
            # Each feature is half a step off at most.
            most = np.abs(made.weight[shown.score.index]).sum() * scale / 2 + 1e-5
            assert abs(shown.evidence.mean() + shown.bias - shown.logit) <= most


def test_the_likeliest_classes_come_first_unless_others_are_named(explainer: Explainer) -> None:
    likeliest = found(explainer, items(2), k=3)
    for each in likeliest:
        shares = [shown.score.probability for shown in each.maps]
        assert shares == sorted(shares, reverse=True)
        assert len(shares) == 3
    for each, other in zip(found(explainer, items(2), classes=[7, 2]), found(explainer, items(2), k=10), strict=True):
        assert [(shown.score.index, shown.score.label) for shown in each.maps] == [(7, "horse"), (2, "bird")]
        by_index = {shown.score.index: shown.score.probability for shown in other.maps}
        for shown in each.maps:
            assert shown.score.probability == pytest.approx(by_index[shown.score.index], rel=1e-6)


def test_the_peak_is_the_square_around_what_the_strongest_place_looks_at(explainer: Explainer) -> None:
    for each in found(explainer, items(5)):
        (shown,) = each.maps
        row, column = np.unravel_index(shown.evidence.argmax(), shown.evidence.shape)
        left, top, right, bottom = shown.peak
        assert left <= 4 * column < right
        assert top <= 4 * row < bottom
        assert (right - left, bottom - top) == (4 if column else 2, 4 if row else 2)


def test_images_stay_in_order_and_bad_ones_are_failures(explainer: Explainer) -> None:
    answers = list(explanations(explainer, items(9, bad=(0, 1, 2, 7)), InferenceSettings(batch_size=3)))
    assert [each.path for each in answers] == [f"{i:03}" for i in range(9)]
    assert [i for i, each in enumerate(answers) if isinstance(each, Failure)] == [0, 1, 2, 7]
    images = tiny_images(9, 32)
    for place, each in enumerate(answers):
        if isinstance(each, Explanation):
            np.testing.assert_array_equal(each.crop, images[place])


def test_the_function_takes_what_people_have(tmp_path: Path) -> None:
    Image.fromarray(tiny_images(1, 32)[0]).save(tmp_path / "a.png")
    (first, second) = explain([tmp_path / "a.png", tiny_images(1, 32)[0]], classes=["cat", 9])
    assert (first.path, second.path) == (str(tmp_path / "a.png"), "image 1")
    assert [shown.score.label for shown in first.maps] == ["cat", "truck"]
    np.testing.assert_allclose(first.maps[0].evidence, second.maps[0].evidence, atol=1e-5)
    (third,) = explain(tiny_images(1, 32)[0], classes=np.int64(9))
    assert [shown.score.label for shown in third.maps] == ["truck"]
    with pytest.raises(ImageError, match=r"absent\.png"):
        explain(tmp_path / "absent.png")


# Which class


@pytest.mark.parametrize(
    ("name", "index"),
    [("0", 0), ("n01440764", 0), ("tench", 0), ("Tench", 0), ("Tinca tinca", 0), ("134", 134), ("n03126707", 517)],
)
def test_a_class_is_found_by_id_name_or_index(name: str, index: int) -> None:
    assert find_class(name, IMAGENET) == index


def test_an_index_with_a_sign_is_no_name_where_classes_are_called_by_numbers() -> None:
    labels = Labels(("1", "2", "3", "3"))
    assert [find_class(name, labels) for name in ("2", "#2", 2, np.int64(2))] == [1, 2, 2, 2]
    with pytest.raises(ConfigError) as caught:
        find_class("3", labels)
    assert caught.value.hint == "name one by its index: #2, #3"
    for name in ("0", -1, "#4"):
        with pytest.raises(ConfigError, match="no class called") as caught:
            find_class(name, labels)
    assert caught.value.hint.startswith("classes are called by numbers, such as '1' (no indices): ")
    assert caught.value.hint.endswith("write all digits, or an index as #0")
    assert find_class("#0", Labels(("#1", "#0"))) == 0


def test_a_name_may_be_written_with_accents_composed_or_not() -> None:
    for form in ("NFC", "NFD"):
        labels = Labels(("cat", unicodedata.normalize(form, "Äpfel, grün")))
        names = [unicodedata.normalize(other, name) for other in ("NFC", "NFD") for name in ("Äpfel, grün", "GRÜN")]
        assert [find_class(name, labels) for name in names] == [1] * 4


def test_a_name_that_two_classes_have_must_be_said_by_index() -> None:
    with pytest.raises(ConfigError, match="2 classes are called 'crane'") as caught:
        find_class("crane", IMAGENET)
    assert caught.value.hint == "name one by its index: 134 (n02012849), 517 (n03126707)"


def test_an_unknown_class_gets_the_closest_one() -> None:
    with pytest.raises(ConfigError, match="no class called 'tensch'") as caught:
        find_class("tensch", IMAGENET)
    assert caught.value.hint == "did you mean 'tench'?"
    with pytest.raises(ConfigError) as caught:
        find_class("10", Labels(("a", "b")))
    assert caught.value.hint == "expected an id, a name or an index from 0 to 1"


def test_a_model_of_the_users_own_has_its_own_classes() -> None:
    architecture = replace(TINY["wrn_10_1"], classes=2)
    card = ModelCard("mine", "wrn_10_1", 2, Preprocess(resize=32, crop=32), "fp32", "mine")
    bundle: Bundle = make_bundle(architecture, tiny_tensors(architecture), card, Labels(("good", "scratched")))
    (each,) = found(open_explainer(bundle), items(1), k=5)
    assert {shown.score.label for shown in each.maps} == {"good", "scratched"}
