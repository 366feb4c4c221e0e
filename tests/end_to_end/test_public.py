"""The Python API as the README shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wideresnet
from fakes import tiny_bundle
from wideresnet.bundle import write_bundle
from wideresnet.errors import ConfigError

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "tiny", tiny_bundle())
    return tmp_path / "tiny"


def test_every_public_name_is_there() -> None:
    for name in wideresnet.__all__:
        assert getattr(wideresnet, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = wideresnet.lod  # type: ignore[attr-defined]


def test_the_client_of_the_service_needs_no_extra() -> None:
    """In a process of its own: nothing but the standard library and what classifying needs is imported for it."""
    code = "import sys, wideresnet; wideresnet.Client; print([n for n in ('starlette', 'uvicorn') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_load_classify_and_logits_agree(tiny: Path) -> None:
    classifier = wideresnet.load(tiny)
    paths = [EXAMPLES / "cat.png", str(EXAMPLES / "car.jpg")]
    predictions = classifier.classify(paths, k=3)
    assert [p.path for p in predictions] == list(map(str, paths))
    batch = np.stack([classifier.preprocess(path, "transpose") for path in paths])
    logits = classifier.logits(batch)
    assert (logits.dtype, logits.shape) == (np.float32, (2, 10))
    for prediction, row in zip(predictions, logits, strict=True):
        shares = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        order = np.argsort(-row)[:3]
        assert [p.index for p in prediction.predictions] == order.tolist()
        np.testing.assert_allclose([p.probability for p in prediction.predictions], shares[order], rtol=1e-4)


def test_evaluate_counts(tiny: Path, tmp_path: Path) -> None:
    classifier = wideresnet.load(tiny)
    name = classifier.labels.names[4]
    (tmp_path / "val" / name).mkdir(parents=True)
    Image.new("RGB", (32, 32), "green").save(tmp_path / "val" / name / "a.png")
    answer = classifier.classify(tmp_path / "val" / name / "a.png", k=5)[0]
    report = wideresnet.evaluate(classifier, tmp_path / "val")
    assert (report.n, report.correct1) == (1, int(answer.predictions[0].index == 4))
    assert report.correct5 == int(4 in [p.index for p in answer.predictions])


def test_preprocess_is_what_the_network_sees() -> None:
    crop = wideresnet.preprocess(EXAMPLES / "cat.png", "wide_resnet50_2.tv_in1k")
    assert (crop.dtype, crop.shape) == (np.uint8, (224, 224, 3))
    squashed = wideresnet.preprocess(EXAMPLES / "cat.png", "wide_resnet50_2.tv_in1k", transform="squash256")
    assert squashed.shape == (224, 224, 3)


def test_create_model_is_a_torch_module_with_fresh_weights() -> None:
    torch = pytest.importorskip("torch")
    network = wideresnet.create_model("wrn_10_1", num_classes=7, dropout=0.3)
    assert isinstance(network, torch.nn.Module)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert sum(isinstance(module, torch.nn.Dropout) for module in network.modules()) == 3


def test_a_saved_state_dict_is_a_model(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    network = wideresnet.create_model("wrn_10_1", num_classes=3).eval()
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    with pytest.warns(UserWarning, match="class names: none, so numbers"):
        classifier = wideresnet.load(tmp_path / "mine.pth")
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    spec = classifier.card.preprocess
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    with torch.no_grad():
        expected = network((torch.from_numpy(image).permute(0, 3, 1, 2) / 255 - mean) / std).numpy()
    np.testing.assert_allclose(classifier.logits(image), expected, atol=1e-4)


def test_every_error_of_the_api_is_a_wrn_error(tmp_path: Path) -> None:
    for wrong in ("wrn_16_4.cifar1", str(tmp_path), "absent.pth"):
        with pytest.raises(wideresnet.WrnError) as caught:
            wideresnet.load(wrong)
        assert caught.value.message


def test_the_example_of_the_readme() -> None:
    classifier = wideresnet.load("wrn_16_4.cifar10")
    cat, car = classifier.classify([EXAMPLES / "cat.png", EXAMPLES / "car.jpg"], k=3)
    assert (cat.predictions[0].label, car.predictions[0].label) == ("cat", "automobile")


def test_misspelt_values_are_refused() -> None:
    """They were ignored without a word."""
    image = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(ConfigError, match="no alpha called 'White'"):
        wideresnet.load(alpha="White")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no way to treat EXIF called 'upright'"):
        wideresnet.preprocess(image, "wrn_16_4.cifar10", exif="upright")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no pool called 'max'"):
        wideresnet.embed(image, pool="max")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="k has no effect beside classes"):
        wideresnet.explain(image, k=2, classes=["cat"])
    with pytest.raises(ConfigError, match="the name of the model is empty"):
        wideresnet.load("")
