"""Settings: one value, whatever it comes from, and every key that nobody knows refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from wideresnet.config import as_toml
from wideresnet.errors import ConfigError
from wideresnet.records import Preprocess
from wideresnet.tasks.finetune.settings import BATCH_SIZE, FULL_DEFAULTS, FinetuneSettings, make_recipe, read_settings

SPEC = Preprocess(resize=40, crop=35, mode="squash")


def test_options_count_more_than_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('mode = "full"\nval_fraction = 0.3\nepochs = 7\nsizes = [[0, 64]]\n')
    settings = read_settings(file, {"epochs": "9", "seed": 4})
    assert settings == FinetuneSettings(mode="full", val_fraction=0.3, seed=4, recipe={"epochs": 9, "sizes": [[0, 64]]})
    assert read_settings(None, {}) == FinetuneSettings()


def test_what_was_asked_for_reads_as_itself(tmp_path: Path) -> None:
    settings = read_settings(None, {"mode": "full", "epochs": "9", "mixup": "0.2", "patience": "3"})
    values = settings.model_dump(mode="json")
    (tmp_path / "again.toml").write_text(as_toml(values.pop("recipe") | values))
    assert read_settings(tmp_path / "again.toml", {}) == settings


@pytest.mark.parametrize(
    ("changes", "reason", "hint"),
    [
        ({"epoks": "3"}, "no setting called 'epoks'", "did you mean 'epochs'?"),
        ({"patiens": "3"}, "no setting called 'patiens'", "did you mean 'patience'?"),
        ({"mode": "some"}, "mode: Input should be 'probe' or 'full', got 'some'", ""),
        ({"mode": "full", "frozen": "9"}, "frozen: Input should be less than or equal to 5, got 9", ""),
        ({"mode": "full", "architecture": "wrn_16_4"}, "architecture follows from the weights", "leave it out"),
        ({"mode": "full", "zero_init": True}, "zero_init follows from the weights", "leave it out"),
        ({"epochs": "3"}, "epochs: only for the full mode", "--mode full"),
        ({"val_fraction": "0"}, "val_fraction: Input should be greater than 0", ""),
        ({"mode": "full", "swa": "2", "patience": "3"}, "patience has no effect with swa", "leave out patience"),
        ({"l2": "[]"}, "l2: Tuple should have at least 1 item", ""),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, str], reason: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(None, changes)
    assert reason in caught.value.message
    assert hint in caught.value.hint


def test_the_recipe_follows_from_weights_and_images() -> None:
    recipe = make_recipe(FinetuneSettings(mode="full", seed=3), "wrn_10_1", SPEC, 20)
    assert (recipe.architecture, recipe.data, recipe.seed, recipe.balanced) == ("wrn_10_1", "folder", 3, True)
    assert (recipe.preprocess().crop, recipe.preprocess().resize, recipe.sizes) == (35, 40, ((0, 35),))
    assert (recipe.batch_size, recipe.stored, recipe.epochs) == (20, 40, FULL_DEFAULTS["epochs"])
    assert make_recipe(FinetuneSettings(), "wrn_10_1", SPEC, 1000).batch_size == BATCH_SIZE
    own = FinetuneSettings(mode="full", recipe={"epochs": 2, "sizes": ((0, 24),), "batch_size": 4})
    changed = make_recipe(own, "wrn_10_1", SPEC, 20)
    assert (changed.epochs, changed.sizes, changed.batch_size) == (2, ((0, 24),), 4)
