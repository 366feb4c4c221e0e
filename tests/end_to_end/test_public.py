"""The Python API as the README shows it."""

from __future__ import annotations

import dataclasses
import pydoc
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wideresnet
from fakes import tiny_bundle
from wideresnet.bundle import write_bundle
from wideresnet.errors import ConfigError, EngineError

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


def test_dir_and_help_list_the_names() -> None:
    assert [name for name in dir(wideresnet) if not name.startswith("_")] == sorted(wideresnet.__all__)
    text = pydoc.plain(pydoc.render_doc(wideresnet))
    for name in wideresnet.__all__:
        assert re.search(rf"\b(class )?{name}\(", text), name


@pytest.mark.parametrize("name", wideresnet.__all__)
def test_every_function_and_method_has_a_docstring(name: str) -> None:
    public = getattr(wideresnet, name)
    assert public.__doc__
    for key, method in vars(public).items():
        assert key.startswith("_") or not callable(method) or method.__doc__, key


def test_the_package_explains_itself_without_torch() -> None:
    """``help`` reads every name; a function that needs an extra says so when it is called."""
    code = (
        "import sys; sys.modules['torch'] = None; import pydoc, wideresnet; pydoc.render_doc(wideresnet)\n"
        "try: wideresnet.create_model('wrn_28_10')\n"
        "except wideresnet.WrnError as error: print(error.message, error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "create_model needs torch, which is not installed pip install 'wideresnet[train]'"
    )


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


# One object for a model


def test_every_kind_of_image_gives_the_same_answer() -> None:
    classifier = wideresnet.load()
    path = EXAMPLES / "cat.png"
    pil = Image.open(path)
    pixels, crop = np.asarray(pil.convert("RGB")), classifier.preprocess(path)
    expected = classifier.classify(str(path))[0].predictions
    several = [path, str(path), path.read_bytes(), pil, pixels]
    for images in (*several, several, (image for image in several), np.stack([crop, crop])):
        answers = classifier.classify(images)
        assert [answer.predictions for answer in answers] == [expected] * len(answers)
    names = [answer.path for answer in classifier.classify(several)]
    assert names == [str(path), str(path), "image 2", "image 3", "image 4"]
    assert np.array_equal(wideresnet.preprocess(pil, classifier), crop)


def test_methods_and_functions_agree(tiny: Path) -> None:
    classifier, image = wideresnet.load(tiny), EXAMPLES / "cat.png"
    maps = classifier.embed([image, image], layers=["layer2"])["layer2"]
    assert maps.shape[0] == 2
    assert np.array_equal(maps[:1], wideresnet.embed(image, tiny, layers=["layer2"])["layer2"])
    assert np.array_equal(maps[:1], wideresnet.embed(image, classifier, layers=["layer2"])["layer2"])
    (explanation,), (of_name,) = classifier.explain(image, k=2), wideresnet.explain(image, tiny, k=2)
    assert [each.score for each in explanation.maps] == [each.score for each in of_name.maps]
    assert np.array_equal(explanation.maps[0].evidence, of_name.maps[0].evidence)


def test_evaluate_takes_a_classifier_or_a_name(tiny: Path, tmp_path: Path) -> None:
    classifier = wideresnet.load(tiny)
    (tmp_path / "val" / classifier.labels.names[4]).mkdir(parents=True)
    Image.new("RGB", (32, 32), "green").save(tmp_path / "val" / classifier.labels.names[4] / "a.png")
    reports = [classifier.evaluate(tmp_path / "val"), wideresnet.evaluate(tiny, tmp_path / "val")]
    assert [(report.n, report.correct5) for report in reports] == [(1, reports[0].correct5)] * 2


def test_crops_are_not_preprocessed_again() -> None:
    """Preprocessing a crop again would cut its border off."""
    classifier = wideresnet.load()
    crops = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    spec = replace(classifier.card.preprocess, resize=40)
    cutting = replace(classifier, card=replace(classifier.card, preprocess=spec))
    assert np.array_equal(cutting.logits(crops), classifier.logits(crops))
    assert cutting.classify(crops) == classifier.classify(crops)
    with pytest.raises(EngineError, match=r"takes RGB uint8 \[N, 32, 32, 3\], got uint8 \[2, 9, 9, 3\]"):
        classifier.embed(np.zeros((2, 9, 9, 3), np.uint8))


def test_wrong_arguments_are_config_errors(tiny: Path) -> None:
    classifier, image = wideresnet.load(tiny), EXAMPLES / "cat.png"
    for method in (classifier.classify, classifier.logits):
        with pytest.raises(ConfigError, match="batch size and threads are whole numbers from 1"):
            method(image, batch_size=0)
        with pytest.raises(ConfigError, match=r"batch size and threads are whole numbers from 1, got 2\.5"):
            method(image, batch_size=2.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"has no 2\.5 streams"):
        wideresnet.load(tiny, streams=2.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="way to treat EXIF"):
        classifier.logits(np.zeros((1, 32, 32, 3), np.uint8), "foo")  # type: ignore[arg-type]
    for layers, pool in (((), "none"), (("features",), "mean")):
        with pytest.raises(ConfigError, match=r"no layers to read|has no effect on features"):
            classifier.embed(image, layers=layers, pool=pool)  # type: ignore[arg-type]
    for size in (-1, 2.5):
        with pytest.raises(ConfigError, match=f"batch size must be a whole number of at least 0, got {size}"):
            classifier.evaluate(tiny, batch_size=size)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="data must be a path or a labelled data set, got int"):
        classifier.evaluate(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="image 1 is not an image: NoneType"):
        classifier.classify([image, None])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="the argument is not an image: int"):
        wideresnet.embed(5, classifier)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="engine has no effect on an open classifier"):
        wideresnet.explain(image, classifier, engine="pytorch")
    with pytest.raises(ConfigError, match="wrn_99"):
        wideresnet.evaluate("wrn_99", tiny)
    by_hand = wideresnet.Classifier(classifier.card, classifier.labels, classifier.engine)
    with pytest.raises(ConfigError, match="this classifier has no graph"):
        by_hand.embed(image)


def test_the_representation_is_one_line(tiny: Path) -> None:
    text = repr(wideresnet.load(tiny, threads=1))
    assert re.fullmatch(
        r"<Classifier wrn_10_1\.tiny: RGB 32x32 -> 10 classes, openvino [\d.]+, f32, 1 threads>", text
    )


def test_the_records_have_short_representations(tiny: Path, tmp_path: Path) -> None:
    classifier = wideresnet.load(tiny)
    (explanation,) = classifier.explain(EXAMPLES / "cat.png")
    name = re.escape(str(EXAMPLES / "cat.png"))
    text = rf"<Explanation {name}: 32x32 pixels, <ClassMap .*%: \(8, 8\), peak \(.*\)>>"
    assert re.fullmatch(text, repr(explanation))
    (tmp_path / "val" / classifier.labels.names[4]).mkdir(parents=True)
    Image.new("RGB", (32, 32), "green").save(tmp_path / "val" / classifier.labels.names[4] / "a.png")
    text = r"<EvalReport wrn_10_1\.tiny on .*: top-1 [\d.]+% \(95 %: .* to .*\), top-5 [\d.]+%, 1 images, 0 failures>"
    assert re.fullmatch(text, repr(classifier.evaluate(tmp_path / "val")))


def test_classify_and_preprocess_treat_exif_alike(tmp_path: Path) -> None:
    """Evaluation ignores it, as published evaluations do."""
    classifier, exif = wideresnet.load(), Image.Exif()
    exif[0x0112] = 6
    Image.open(EXAMPLES / "cat.png").convert("RGB").save(tmp_path / "turned.png", exif=exif)
    (expected,) = classifier.logits(tmp_path / "turned.png")
    assert np.allclose(classifier.logits(classifier.preprocess(tmp_path / "turned.png")[None])[0], expected, atol=1e-4)
    crop = wideresnet.preprocess(tmp_path / "turned.png", classifier)
    assert np.allclose(classifier.logits(crop[None])[0], expected, atol=1e-4)
    ignored = classifier.preprocess(tmp_path / "turned.png", exif="ignore")
    assert not np.array_equal(ignored, crop)


# The page of the documents


PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text("utf-8")


def test_the_page_lists_every_stable_name() -> None:
    listed = set(re.findall(r"`(\w+)`", PAGE.partition("## Stable names")[2]))
    assert set(wideresnet.__all__) <= listed
    fields = {field.name for field in dataclasses.fields(wideresnet.Classifier)}
    assert listed - set(wideresnet.__all__) <= {*vars(wideresnet.Classifier), *fields}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_examples_of_the_page_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    values: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, values)
    shapes = {name: getattr(values[name], "shape", None) for name in ("crop", "logits", "features", "maps", "evidence")}
    assert shapes == {
        "crop": (32, 32, 3), "logits": (2, 10), "features": (1, 256), "maps": (1, 128, 16, 16), "evidence": (8, 8)
    }  # fmt: skip
    assert "no-such-file.png no such file" in capsys.readouterr().out
