"""Distillation: the teacher is checked before anything is trained, and a run knows which one it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes import tiny_bundle
from wideresnet.bundle import Bundle, write_bundle
from wideresnet.datasets.labels import read_labels
from wideresnet.errors import ConfigError

pytest.importorskip("torch")

from wideresnet.tasks.train.train import open_teacher
from wideresnet.training.recipe import Recipe

RECIPE = Recipe(architecture="wrn_10_1", epochs=1, learning_rate=0.1, precision="f32")


def teacher(folder: Path, labels: tuple[str, ...] = read_labels("cifar10").names) -> Recipe:
    bundle: Bundle = tiny_bundle()
    card = replace(bundle.card, labels_name="")
    write_bundle(folder / "teacher", replace(bundle, card=card, labels=replace(bundle.labels, names=labels)))
    return RECIPE.model_copy(update={"teacher": str(folder / "teacher")})


def test_a_run_records_its_teacher_and_refuses_another(tmp_path: Path) -> None:
    recipe, answer = open_teacher(teacher(tmp_path))
    assert recipe.teacher_sha256 == tiny_bundle().sha256
    assert answer is not None
    assert answer(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2, 10)
    assert open_teacher(recipe)[0] == recipe
    with pytest.raises(ConfigError, match="another SHA-256"):
        open_teacher(recipe.model_copy(update={"teacher_sha256": "0" * 64}))


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    names = read_labels("cifar10").names
    with pytest.raises(ConfigError, match="10 classes at 32 pixels"):
        open_teacher(teacher(tmp_path, (*names[1:], names[0])))


def test_a_cascade_is_no_teacher() -> None:
    with pytest.raises(ConfigError, match=r"cifar10\.cascade is a cascade of 2 networks"):
        open_teacher(RECIPE.model_copy(update={"teacher": "cifar10.cascade"}))


def test_without_a_teacher_nothing_is_opened() -> None:
    assert open_teacher(RECIPE) == (RECIPE, None)
