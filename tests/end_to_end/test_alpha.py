"""Transparent images mean the same to every command: the alpha is dropped, or with --alpha white laid on white."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import wideresnet
from commands import Wrn
from fakes import FakeEngine, tiny_bundle
from serving import NAME, open_model
from wideresnet.bundle import read_bundle, with_alpha
from wideresnet.errors import ConfigError
from wideresnet.serve.app import make_app
from wideresnet.serve.models import open_models
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings, make_settings
from wideresnet.training.recipe import Recipe


def rgba(seed: int) -> Image.Image:
    """Noise of colours, half of it hidden."""
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 4), np.uint8)
    pixels[..., 3] = np.where(np.arange(48) < 24, 255, 0)
    return Image.fromarray(pixels)


def on_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


@pytest.fixture
def logos(tmp_path: Path) -> Path:
    """The same four images with alpha, without it, and on white: class folders of the same names in three folders."""
    for number in range(4):
        image = rgba(number)
        for kind, saved in {"alpha": image, "plain": image.convert("RGB"), "white": on_white(image)}.items():
            folder = tmp_path / kind / ("cat" if number % 2 else "dog")
            folder.mkdir(parents=True, exist_ok=True)
            saved.save(folder / f"{number}.png")
    return tmp_path


def shown(wrn: Wrn, *arguments: str | Path) -> list[object]:
    done = wrn("classify", *arguments, "--format", "json")
    assert (done.code, done.notes) == (0, "")
    return [each["predictions"] for each in done.json]


def test_classify(wrn: Wrn, tiny: Path, logos: Path) -> None:
    """Without the option as Pillow and torchvision: the colours count as they are stored."""
    assert shown(wrn, "alpha", "-m", tiny) == shown(wrn, "plain", "-m", tiny)
    assert shown(wrn, "alpha", "-m", tiny, "--alpha", "white") == shown(wrn, "white", "-m", tiny)
    assert shown(wrn, "alpha", "-m", tiny, "--alpha", "drop") == shown(wrn, "plain", "-m", tiny)
    assert shown(wrn, "white", "-m", tiny) != shown(wrn, "plain", "-m", tiny)


def test_evaluate_reports_it(wrn: Wrn, tiny: Path, logos: Path) -> None:
    def scores(folder: str, *options: str) -> list[dict[str, str]]:
        done = wrn("evaluate", folder, "-m", tiny, "-o", "scores.csv", "--report", "page.html", *options)
        assert done.code == 0, done.err
        rows = csv.DictReader(Path("scores.csv").read_text().splitlines())
        return [{key: value for key, value in row.items() if key not in ("path", "seconds")} for row in rows]

    assert scores("alpha", "--alpha", "white") == scores("white")
    scores("alpha", "--alpha", "white")
    assert "laid on white" in Path("page.html").read_text()
    done = wrn("evaluate", "alpha", "-m", tiny, "--alpha", "white", "--format", "json").json
    assert done["counts"]["conditions"]["preprocess"]["alpha"] == "white"
    refused = wrn("evaluate", "--results", "result.txt", "-m", tiny, "--alpha", "white")
    assert (refused.code, "--alpha" in refused.err) == (2, True)


def test_embed_and_explain(wrn: Wrn, tiny: Path, logos: Path) -> None:
    for folder, options in (("alpha", ("--alpha", "white")), ("white", ())):
        assert wrn("embed", folder, "-m", tiny, "-o", f"{folder}.npz", *options).code == 0
        assert wrn("explain", folder, "-m", tiny, "--format", "json", *options).code == 0
    with np.load("alpha.npz") as one, np.load("white.npz") as other:
        assert np.array_equal(one["features"], other["features"])


def test_finetune_remembers_it_in_the_bundle(wrn: Wrn, tiny: Path, logos: Path) -> None:
    """What was learnt on white is shown on white, by every command that opens the bundle; and a run keeps to it."""
    done = wrn("finetune", "--from", tiny, "--data", "alpha", "-o", "run", "--alpha", "white", "--format", "json")
    assert done.code == 0, done.err
    assert read_bundle(Path("run/bundle")).card.preprocess.alpha == "white"
    assert shown(wrn, "alpha", "-m", "run/bundle") == shown(wrn, "white", "-m", "run/bundle")
    plain = wrn("finetune", "--from", tiny, "--data", "white", "-o", "same", "--format", "json")
    assert plain.json["path"] == done.json["path"]
    other = wrn("finetune", "--from", tiny, "--data", "alpha", "-o", "run")
    assert (other.code, "different: alpha" in other.err) == (2, True)
    assert wrn("finetune", "--from", "run/bundle", "--data", "alpha", "-o", "next").code == 0
    assert read_bundle(Path("next/bundle")).card.preprocess.alpha == "white"
    options = "--precision", "fp16", "--data", "alpha", "--gate", "none", "-o", "half"
    assert wrn("compile", "-m", "run/bundle", *options).code == 0
    assert read_bundle(Path("half")).card.preprocess.alpha == "white"


def test_a_card_that_does_not_say_it_drops_the_alpha(wrn: Wrn, tiny: Path, logos: Path) -> None:
    card = json.loads((tiny / "card.json").read_text())
    assert card["preprocess"].pop("alpha") == "drop"
    (tiny / "card.json").write_text(json.dumps(card))
    assert read_bundle(tiny).card.preprocess.alpha == "drop"
    assert shown(wrn, "alpha", "-m", tiny) == shown(wrn, "plain", "-m", tiny)


def test_python(tiny: Path, logos: Path) -> None:
    """Each function that opens a model takes it."""
    file, white = logos / "alpha" / "dog" / "0.png", logos / "white" / "dog" / "0.png"
    classifier = wideresnet.load(tiny, alpha="white")
    assert np.array_equal(classifier.preprocess(file), wideresnet.load(tiny).preprocess(white))
    assert np.array_equal(wideresnet.preprocess(file, str(tiny), alpha="white"), classifier.preprocess(file))
    one, other = (wideresnet.embed([f], tiny, alpha=a) for f, a in ((file, "white"), (white, None)))
    assert np.array_equal(one["features"], other["features"])
    a, b = (wideresnet.explain([f], tiny, alpha=a)[0] for f, a in ((file, "white"), (white, None)))
    assert np.array_equal(a.maps[0].evidence, b.maps[0].evidence)


def test_serve(tiny: Path) -> None:
    """A black image of which nothing is seen is the class of black, and with the setting that of white."""
    file = io.BytesIO()
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(file, "PNG")
    for alpha, expected in ((None, 0), ("drop", 0), ("white", 9)):
        service = Service(ServeSettings())
        service.set_models({NAME: open_model(with_alpha(tiny_bundle(), alpha), FakeEngine())})
        with TestClient(make_app(service)) as client:
            answer = client.post("/v1/classify?k=1", content=file.getvalue()).json()
            assert answer["results"][0]["predictions"][0]["index"] == expected
            described = client.get("/v1/models").json()["models"][0]
            assert described["preprocess"]["alpha"] == (alpha or "drop")
    models = open_models(make_settings({"models": [str(tiny)], "alpha": "white"}), lambda _: None)
    assert [model.classifier.card.preprocess.alpha for model in models.values()] == ["white"]
    with pytest.raises(ConfigError, match="alpha"):
        make_settings({"alpha": "grey"})


def test_train_takes_it_for_class_folders(wrn: Wrn, tmp_path: Path) -> None:
    recipe = 'architecture = "wrn_10_1"\nepochs = 1\nlearning_rate = 0.1\n'
    (tmp_path / "mine.toml").write_text(recipe)
    refused = wrn("train", "mine.toml", "--alpha", "white", "--dry-run")
    assert (refused.code, "alpha is for class folders" in refused.err) == (2, True)


def test_a_recipe_of_class_folders_may_ask_for_it() -> None:
    values = {"architecture": "wrn_10_1", "epochs": 1, "learning_rate": 0.1}
    assert Recipe(**values, data="folder", alpha="white").preprocess().alpha == "white"
    with pytest.raises(ValueError, match="alpha is for class folders"):
        Recipe(**values, alpha="white")
