"""Recipes: what is wrong in one is named before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from wideresnet.architectures import get_architecture
from wideresnet.datasets.statistics import STATISTICS
from wideresnet.errors import ConfigError
from wideresnet.records import IMAGENET_MEAN
from wideresnet.training.recipe import RECIPES as RECIPES_FOLDER
from wideresnet.training.recipe import list_recipes, read_recipe
from wideresnet.training.schedule import learning_rate

RECIPES = sorted(RECIPES_FOLDER.glob("*.toml"))
SMALLEST = 'architecture = "wrn_10_1"\nepochs = 4\nlearning_rate = 0.1\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_that_is_shipped_is_valid(path: Path) -> None:
    assert get_architecture(read_recipe(path).architecture)


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
        ("schedule", "'linear'"), ("evaluate_every", "0"), ("epochs", "'many'"), ("stored", "0"), ("cutout", "33"),
        ("crop_scale", "0.5"), ("input_size", "-1"), ("head_rate", "0"), ("cutout", "-1"),
        ("epochs", "true"), ("epochs", "2.0"), ("epochs", "'2'"), ("learning_rate", "true"), ("learning_rate", "'0.1'"),
        ("zero_init", "1"), ("trivial", "'yes'"), ("seed", "1.0"), ("learning_rate", "inf"), ("learning_rate", "nan"),
        ("weight_decay", "inf"), ("mixup", "inf"), ("temperature", "inf"), ("ema", "nan"), ("batch_size", "1e9"),
        ("randaugment", "15"), ("randaugment_magnitude", "31"), ("swa", "-1"), ("muon_rate", "0.6"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_named(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"recipe\.toml: {key}: "):
        read_recipe(write(tmp_path, SMALLEST), {key: value})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"milestones": "[2, 4]"}, "milestone 4 is not before the last epoch 4"),
        ({"milestones": "[0, 2]"}, "milestones must rise from epoch 1 on"),
        ({"milestones": "[2, 2]"}, "milestones must rise from epoch 1 on"),
        ({"milestones": "[3, 2]"}, "milestones must rise from epoch 1 on"),
        ({"decay": "0.5"}, "decay is for milestones: set them"),
        ({"warmup": "0.1"}, "warmup is for the schedules one-cycle and cosine, not for steps"),
        ({"sizes": "[[0, 0]]"}, "sizes.0.1: Input should be greater than or equal to 1"),
        ({"sizes": "[[0, 16.0]]"}, "sizes.0.1: Input should be a valid integer"),
        ({"sizes": "[[false, 16]]"}, "sizes.0.0: Input should be a valid integer"),
        ({"sizes": "[[1, 24]]"}, "sizes must start at epoch 0 and rise"),
        ({"sizes": "[[0, 24], [0, 32]]"}, "sizes must start at epoch 0 and rise"),
        ({"sizes": "[]"}, "sizes must start at epoch 0 and rise"),
        ({"crop_scale": "[0.5, 0.3]"}, "crop_scale must be a smaller and a larger number, got 0.5 and 0.3"),
        ({"crop_ratio": "[2, 1]"}, "crop_ratio must be a smaller and a larger number"),
        ({"data": "folder", "whitening": "zca"}, "whitening is for 32×32 images"),
        ({"whitening": "zca", "trivial": "true"}, "trivial is for images that are not whitened"),
        ({"whitening": "zca", "jitter": "0.2"}, "jitter is for images that are not whitened"),
        ({"data": "folder", "cutout": "8"}, "cutout is for 32×32 images"),
        ({"milestones": "[2]", "schedule": "cosine"}, "milestones is for the schedule steps, not for cosine"),
        ({"data": "folder", "stored": "24"}, "stored images of 24 pixels are smaller than the largest of sizes"),
        ({"whitening": "zca", "randaugment": "2"}, "randaugment is for images that are not whitened"),
        ({"randaugment_magnitude": "5"}, "randaugment_magnitude is for randaugment"),
        ({"swa": "2", "ema": "0.9"}, "swa is for runs with ema = 0: both average"),
        ({"muon_rate": "0.02", "zero_init": "true"}, "zero_init is for SGD: Muon keeps the norm"),
        ({"mixup": "0.2", "batch_size": "1"}, "mixup is for batches of two images or more"),
        ({"cutmix": "1.0", "batch_size": "1"}, "cutmix is for batches of two images or more"),
        ({"swa_rate": "0.5"}, "swa_rate is for swa: set its number of epochs"),
        ({"swa": "2", "swa_rate": "0.5"}, "swa_rate is for milestones: set them"),
        ({"swa": "1"}, "swa must average 2 to 4 epochs, got 1"),
        ({"swa": "5"}, "swa must average 2 to 4 epochs, got 5"),
        ({"data": "folder", "input_resize": "31"}, "input_resize 31 is smaller than input_size"),
    ],
)
def test_settings_that_do_not_fit_together_are_explained(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_recipe(write(tmp_path, SMALLEST), change)


@pytest.mark.parametrize(("key", "value"), [("crop_scale", "[0.0, 1.0]"), ("crop_scale", "[0.1, 1.1]")])
def test_a_fraction_of_an_image_is_above_0_and_at_most_1(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"recipe\.toml: {key}\.[01]: "):
        read_recipe(write(tmp_path, SMALLEST), {key: value})


def test_the_finished_network_sees_what_the_recipe_says(tmp_path: Path) -> None:
    path = write(tmp_path, SMALLEST)
    cifar = read_recipe(path, {"sizes": "[[0, 24]]"}).preprocess()
    assert (cifar.resize, cifar.crop, cifar.mean) == (32, 32, STATISTICS["cifar10"].mean)
    folder = {"data": "folder", "sizes": "[[0, 64], [2, 112], [9, 160]]"}
    usual = read_recipe(path, folder).preprocess()
    assert (usual.resize, usual.crop, usual.mean) == (128, 112, IMAGENET_MEAN), "of the last epoch there is"
    assert read_recipe(path, folder | {"input_size": "140"}).preprocess().resize == 160
    chosen = read_recipe(path, folder | {"input_size": "128", "input_resize": "144"}).preprocess()
    assert (chosen.resize, chosen.crop) == (144, 128)


def test_a_removed_setting_is_refused_and_its_old_default_read(tmp_path: Path) -> None:
    """Run folders of older versions state it."""
    path = write(tmp_path, SMALLEST)
    assert read_recipe(path, {"sync_norms": "false"}) == read_recipe(path)
    with pytest.raises(ConfigError, match="no setting called 'sync_norms'"):
        read_recipe(path, {"sync_norms": "true"})


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="learning_rate: Field required"):
        read_recipe(write(tmp_path, 'architecture = "wrn_10_1"\nepochs = 4\n'))


def test_changes_are_read_as_toml_and_otherwise_as_words(tmp_path: Path) -> None:
    changes = {"epochs": "7", "ema": "0.9", "sizes": "[[0, 16], [2, 32]]", "flip": "alternating", "seed": "3"}
    recipe = read_recipe(write(tmp_path, SMALLEST), changes)
    assert (recipe.epochs, recipe.ema, recipe.flip, recipe.seed) == (7, 0.9, "alternating", 3)
    assert recipe.sizes == ((0, 16), (2, 32))
    assert [recipe.size_at(epoch) for epoch in range(4)] == [16, 16, 32, 32]


def test_bytes_of_windows_editors_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode())
    assert read_recipe(path) == read_recipe(write(tmp_path, SMALLEST))


def test_what_a_recipe_writes_it_reads(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, SMALLEST), {"milestones": "[1, 3]", "weight_decay": "0", "sizes": "[[0, 16]]"})
    assert read_recipe(write(tmp_path, recipe.to_toml())) == recipe


def test_a_file_that_is_missing_or_no_toml_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        read_recipe(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_recipe(write(tmp_path, "epochs = = 4"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mixup": "0.001", "data": '"folder"', "stored": "40"}, "mixup and cutmix must be 0 .none. or at least 0.01"),
        ({"balanced": "true", "data": '"cifar10"'}, "balanced is for class folders, not for cifar10"),
    ],
)
def test_augmentation_that_would_do_nothing_is_refused(tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('architecture = "wrn_10_1"\nepochs = 1\nlearning_rate = 0.1\n')
    with pytest.raises(ConfigError, match=reason):
        read_recipe(file, changes)


def test_svhn_is_divided_by_255_and_whitened_values_pass_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, SMALLEST)
    svhn = read_recipe(path, {"data": "svhn"})
    assert (svhn.preprocess().mean, svhn.preprocess().std) == ((0, 0, 0), (1, 1, 1))
    whitened = read_recipe(path, {"data": "cifar100", "whitening": "zca"}).statistics()
    assert (whitened.classes, whitened.mean, whitened.std) == (100, (0, 0, 0), (1 / 255,) * 3)


def test_the_recipes_of_the_paper_say_what_it_says() -> None:
    folder = RECIPES[0].parent
    cifar, svhn, imagenet = (read_recipe(folder / f"paper-{name}.toml") for name in ("cifar", "svhn", "imagenet"))
    assert [learning_rate(cifar, epoch, 1) for epoch in (0, 59, 60, 119, 120, 160, 199)] == pytest.approx(
        [0.1, 0.1, 0.02, 0.02, 0.004, 0.0008, 0.0008]
    )
    assert [learning_rate(svhn, epoch, 1) for epoch in (0, 79, 80, 120)] == pytest.approx([0.01, 0.01, 0.001, 0.0001])
    assert (cifar.batch_size, cifar.weight_decay, cifar.norm_weight_decay, cifar.momentum) == (128, 5e-4, 5e-4, 0.9)
    assert (svhn.dropout, svhn.flip, svhn.crop_padding, svhn.architecture) == (0.4, "none", 0, "wrn_16_8")
    shown = imagenet.preprocess()
    assert (imagenet.architecture, shown.resize, shown.crop) == ("wide_resnet50_2", 256, 224)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("temperature = 2.0", "temperature is for distillation"),
        ('teacher = "a"\nlabel_smoothing = 0.1', "label_smoothing is for labels"),
        ('teacher = "a"\nwhitening = "zca"', "teacher is for images that are not whitened"),
        ('teacher = "a"\ndata = "folder"', "teacher is for 32×32 images"),
        ("teacher_views = 4", "teacher_views is for distillation"),
        ('teacher = "a"\nteacher_views = 3\nflip = "alternating"', "flip is for an even number of teacher_views"),
        ('teacher = "a"\nteacher_views = 4\ntrivial = true', "teacher_views is for crops and flips only"),
        (
            'teacher = "a"\nteacher_views = 4\ncutout = 8\nmixup = 0.2\njitter = 0.1\nerasing = 0.1\ncutmix = 1.0',
            "crops and flips only: leave out jitter, erasing, cutout, mixup, cutmix",
        ),
    ],
)
def test_settings_that_distillation_lacks_or_needs_are_refused(tmp_path: Path, settings: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_recipe(write(tmp_path, SMALLEST + settings + "\n"))


# Recipes by name


@pytest.mark.parametrize("name", ["wrn-16-4-cifar10-short", "wrn-16-4-cifar10-short.toml"])
def test_a_recipe_of_the_package_goes_by_its_name_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_recipe(Path(name)).architecture == "wrn_16_4"
    Path(name).write_text(SMALLEST, "utf-8")
    assert read_recipe(Path(name)).architecture == "wrn_10_1", "a file of that name comes first"


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("wrn-16-4-cifar", "no recipe called 'wrn-16-4-cifar', and no file wrn-16-4-cifar", "did you mean 'wrn-16-4-"),
        ("mine.toml", "no recipe called 'mine', and no file mine.toml", "'wrn train --list' lists the recipes"),
        ("recipes/paper-svhn.toml", "no recipe at recipes/paper-svhn.toml", "use paper-svhn, the name of a recipe"),
    ],
)
def test_another_name_is_answered_with_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        read_recipe(Path(name))
    assert (caught.value.message, caught.value.hint.startswith(hint)) == (message, True)


def test_the_list_states_the_accuracy_that_the_recipe_states() -> None:
    measured = {recipe.name: recipe.top1 for recipe in list_recipes()}
    assert measured["wrn-16-4-cifar10-short"] == 0.9516
    assert measured["paper-cifar"] is None
