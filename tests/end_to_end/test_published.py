"""``wrn evaluate --published``: measured beside published, one JSON document on stdout, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fakes import tiny_bundle, tiny_images
from wideresnet.bundle import write_bundle
from wideresnet.cli.main import run
from wideresnet.records import Measured
from wideresnet.tasks.evaluate.model import evaluate
from wideresnet.tasks.load.load import open_classifier

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def wrn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command, without a connection or anything in its cache: exit code, stdout, stderr."""
    monkeypatch.setenv("WRN_OFFLINE", "1")
    monkeypatch.setenv("WRN_CACHE", str(tmp_path / "cache"))

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wrn", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            run()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images of noise in each class folder."""
    for place, image in enumerate(tiny_images(20, 32)):
        folder = tmp_path / "val" / str(place % 10)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{place}.png")
    return tmp_path / "val"


@pytest.fixture
def bundle(tmp_path: Path, data: Path) -> Path:
    """A bundle whose card says what a real engine measures on ``data``."""
    made = tiny_bundle()
    found = evaluate(open_classifier(made), data)
    measured = Measured("val", found.n, found.correct1, found.correct5, "openvino", "f32")
    write_bundle(tmp_path / "tiny", replace(made, card=replace(made.card, measured=(measured,))))
    return tmp_path / "tiny"


def test_a_model_as_accurate_as_its_card_says_passes(wrn: Run, bundle: Path, data: Path) -> None:
    code, out, err = wrn("evaluate", data, "--published", "-m", bundle)
    assert code == 0
    assert out.splitlines()[1].startswith("passed  wrn_10_1.tiny")
    assert "f32" in out
    assert err.startswith("passed  wrn_10_1.tiny: top-1")


def test_json_is_one_document_and_a_sample_is_said_to_be_one(wrn: Run, bundle: Path, data: Path) -> None:
    code, out, _ = wrn("evaluate", data, "--published", "-m", bundle, "--limit", "10", "--format", "json")
    (row,) = json.loads(out)["models"]
    assert (row["measured"]["n"], row["allowed"]["rule"]) == (10, "interval")
    assert code == (0 if row["verdict"] == "passed" else 1)


def test_a_model_that_is_not_as_its_card_says_fails(wrn: Run, tmp_path: Path, data: Path) -> None:
    made = tiny_bundle()
    card = replace(made.card, measured=(Measured("val", 20, 20, 20, "openvino", "f32"),))
    write_bundle(tmp_path / "boast", replace(made, card=card))
    code, out, _ = wrn("evaluate", data, "--published", "-m", tmp_path / "boast")
    assert code == 1
    assert out.splitlines()[1].startswith("failed")


def test_without_data_or_weights_everything_is_listed_and_nothing_verified(wrn: Run) -> None:
    code, out, _ = wrn("evaluate", "--published")
    assert code == 1
    assert out.startswith("nothing was verified")
    assert "not here  wide_resnet50_2.tv_in1k" in out
    assert "put https://download.pytorch.org/models/wide_resnet50_2-95faca4d.pth into" in out


def test_options_without_effect_are_refused(wrn: Run, data: Path) -> None:
    code, _, err = wrn("evaluate", data, "--limit", "10")
    assert code == 2
    assert "add --published" in err
    code, _, err = wrn("evaluate", data, "--published", "--apply-exif")
    assert code == 2
    assert "--apply-exif has no effect beside --published" in err


def test_several_models_are_for_comparison_with_published_accuracy(wrn: Run, data: Path, bundle: Path) -> None:
    code, _, err = wrn("evaluate", data, "-m", bundle, "-m", "wrn_16_4.cifar10")
    assert code == 2
    assert "add --published" in err
