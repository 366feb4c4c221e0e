"""The convention of a network, from the statistics that its norms remember or from its accuracy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wideresnet.architectures import get_architecture, with_variant
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.statistics import NORMALISATIONS
from wideresnet.errors import ConfigError
from wideresnet.models import create_model
from wideresnet.records import FileFacts, InferenceSettings, follow
from wideresnet.records.identification import Fit, Identification
from wideresnet.records.images import Item
from wideresnet.report.identification import conclusion, options, to_json, to_text
from wideresnet.tasks.evaluate.comparison import compare_models
from wideresnet.tasks.identify.identify import _ranked, identify
from wideresnet.tasks.load.check_statistics import statistics_warning
from wideresnet.tasks.load.load import AssumptionWarning, load
from wideresnet.tasks.load.weights_file import FileModel, read_file
from wideresnet.weights.stem import padded_crops, rank_normalisations, stem_of


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Coloured patches with soft borders, as varied in brightness and colour as photographs."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1, (count, 4, 4, 3)) * 40 + rng.normal(0, 1, (count, 1, 1, 3)) * 40 + 118
    fine = np.kron(coarse, np.ones((1, 8, 8, 1))) + rng.normal(0, 12, (count, 32, 32, 3))
    return fine.clip(0, 255).astype(np.uint8)


def trained(
    path: Path, normalise: str, *, architecture: str = "wrn_10_1", augmented: bool = False, **variant: Any
) -> FileModel:
    """A file of random weights with the running statistics of images under a convention."""
    torch.manual_seed(3)
    network = create_model(with_variant(get_architecture(architecture), variant))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    torch.nn.init.normal_(network.fc.weight)       # type: ignore[union-attr, arg-type]
    mean, std = np.asarray(NORMALISATIONS[normalise], np.float32)
    with torch.no_grad():
        for seed in range(3):
            images = padded_crops(pictures(64, seed)) if augmented else pictures(64, seed)
            network(torch.from_numpy(((images / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2).copy()))
    torch.save(network.state_dict(), path)
    return read_file(path, FileFacts())


def result_of(model: FileModel, images: NDArray[np.uint8], labels: NDArray[np.integer] | None = None) -> Identification:
    work = identify(model, images, labels)
    try:
        while True:
            next(work)
    except StopIteration as end:
        result: Identification = end.value
        return result


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("name", ["half", "unit", "byte"])
def test_the_first_norm_tells_the_normalisation(tmp_path: Path, name: str, augmented: bool) -> None:
    network = trained(tmp_path / "w.pth", name, augmented=augmented).network
    fits = rank_normalisations(stem_of(network.architecture, network.tensors), pictures(64, seed=9))
    best, second, *_ = fits
    assert best == name
    assert fits[second] > 3 * fits[best]


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("unit", {"activation": "silu", "shortcut": "raw"}),
        ("half", {"activation": "leaky_relu", "shortcut": "skip_norm"}),
        ("unit", {"activation": "relu", "shortcut": "raw", "stride_on": "conv2"}),
        ("unit", {"activation": "silu", "shortcut": "activated", "padding": "same"}),
    ],
)
def test_all_norms_tell_the_form(tmp_path: Path, name: str, variant: dict[str, str]) -> None:
    model = trained(tmp_path / "w.pth", name, architecture="wrn_16_1", **variant)
    result = result_of(model, pictures(32, seed=9))
    assert (result.fits[0].normalise, result.fits[0].variant) == (name, variant)
    assert not result.labelled


@pytest.mark.slow
def test_with_labels_the_most_accurate_convention_wins(tmp_path: Path) -> None:
    path, convention = tmp_path / "w.pth", {"activation": "leaky_relu", "shortcut": "always"}
    model = trained(path, "half", architecture="wrn_16_1", **convention)
    images = pictures(32, seed=9)
    with pytest.warns(AssumptionWarning):
        truth = load(path, normalise="half", **convention)     # type: ignore[arg-type]
    result = result_of(model, images, truth.logits(images).argmax(1))
    best = result.fits[0]
    assert (best.normalise, best.variant["activation"], best.accuracy) == ("half", "leaky_relu", 1.0)
    assert options(best) == ["--normalise half", "--activation leaky_relu", "--shortcut always"]
    assert "best: --normalise half --activation leaky_relu --shortcut always" in to_text(result)
    document = to_json(result)
    assert document["fits"][0]["top1"] == 100.0
    assert document["options"] == options(best)


def test_the_statistics_decide_among_those_that_are_as_accurate() -> None:
    clear, near, best = (Fit(name, {}, misfit, top1) for name, misfit, top1 in
                         (("unit", 0.001, 0.4), ("cifar10", 0.002, 0.68), ("svhn", 0.3, 0.7)))  # fmt: skip
    assert [fit.normalise for fit in _ranked([clear, near, best], 256)] == ["cifar10", "svhn", "unit"]
    assert [fit.normalise for fit in _ranked([clear, near, best], 100_000)] == ["svhn", "unit", "cifar10"]


def test_forms_that_compute_the_same_are_called_so(tmp_path: Path) -> None:
    """In a network of one block a stage every block projects: there is no identity shortcut."""
    result = result_of(trained(tmp_path / "w.pth", "unit", architecture="wrn_10_2"), pictures(32, seed=9))
    assert "fits as well" in conclusion(result)


def test_a_wrong_normalisation_is_warned_of_and_a_right_one_is_not(tmp_path: Path) -> None:
    items = [Item(str(index), image) for index, image in enumerate(pictures(64, seed=9))]
    bundle = trained(tmp_path / "w.pth", "unit").bundle()
    (warning,) = statistics_warning(bundle, items)
    assert "fit pixels normalised as unit" in warning
    assert "try --normalise unit" in warning
    right = read_file(tmp_path / "w.pth", FileFacts(normalise=NORMALISATIONS["unit"])).bundle()
    assert statistics_warning(right, items) == ()
    data = LabelledData("pictures", [replace(item, label=index % 10) for index, item in enumerate(items)], 10)
    work = compare_models(("a", "b"), (bundle, right), data, InferenceSettings(batch_size=16))
    report = follow(work).report
    assert (report.a.notes, report.b.notes) == ((warning,), ())
    assert statistics_warning(bundle, []) == ("no image could be read to check the normalisation with",)


def test_no_images_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no images"):
        result_of(trained(tmp_path / "w.pth", "unit"), pictures(0))
