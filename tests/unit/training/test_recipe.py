"""Recipes: what is wrong in one is named before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from wideresnet.architectures import get_architecture
from wideresnet.errors import ConfigError
from wideresnet.training.recipe import read_recipe

RECIPES = sorted((Path(__file__).parents[3] / "recipes").glob("*.toml"))
SMALLEST = 'architecture = "wrn_10_1"\nepochs = 4\nlearning_rate = 0.1\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_that_is_shipped_is_valid(path: Path) -> None:
    assert get_architecture(read_recipe(path).architecture).family == "cifar"


def test_recipes_are_shipped() -> None:
    assert RECIPES


def test_an_unknown_setting_is_refused_with_the_closest_known_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no setting called 'learning_rat'") as caught:
        read_recipe(write(tmp_path, SMALLEST + "learning_rat = 0.2\n"))
    assert caught.value.hint == "did you mean 'learning_rate'?"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", "0"), ("batch_size", "0"), ("learning_rate", "0.0"), ("learning_rate", "-1.0"),
        ("dropout", "1.0"), ("momentum", "1.0"), ("ema", "1.0"), ("label_smoothing", "-0.1"), ("seed", "-1"),
        ("crop_padding", "17"), ("flip", "'sideways'"), ("precision", "'f16'"), ("data", "'imagenet'"),
        ("schedule", "'cosine'"), ("evaluate_every", "0"), ("epochs", "'many'"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_named(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"recipe\.toml: {key}: "):
        read_recipe(write(tmp_path, SMALLEST), {key: value})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"milestones": "[2, 4]"}, "milestone 4 is not before the last epoch 4"),
        ({"sizes": "[[1, 24]]"}, "sizes must start at epoch 0 and rise"),
        ({"sizes": "[[0, 24], [0, 32]]"}, "sizes must start at epoch 0 and rise"),
        ({"sizes": "[]"}, "sizes must start at epoch 0 and rise"),
    ],
)
def test_settings_that_do_not_fit_together_are_explained(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_recipe(write(tmp_path, SMALLEST), change)


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="learning_rate: Field required"):
        read_recipe(write(tmp_path, 'architecture = "wrn_10_1"\nepochs = 4\n'))


def test_changes_are_read_as_toml_and_otherwise_as_words(tmp_path: Path) -> None:
    changes = {"epochs": "7", "ema": "0.9", "sizes": "[[0, 16], [2, 32]]", "flip": "alternating", "seed": "3"}
    recipe = read_recipe(write(tmp_path, SMALLEST), changes)
    assert (recipe.epochs, recipe.ema, recipe.flip, recipe.seed) == (7, 0.9, "alternating", 3)
    assert recipe.sizes == ((0, 16), (2, 32))
    assert [recipe.size_at(epoch) for epoch in range(4)] == [16, 16, 32, 32]


def test_a_file_that_is_missing_or_no_toml_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        read_recipe(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_recipe(write(tmp_path, "epochs = = 4"))
