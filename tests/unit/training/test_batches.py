"""What the loop is fed: decided by (seed, epoch), every image once, and tested on what a bundle sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fakes import tiny_images
from wideresnet.datasets.cifar import CifarArrays
from wideresnet.datasets.splits import FolderArrays
from wideresnet.errors import ConfigError
from wideresnet.records import IMAGENET_MEAN, IMAGENET_STD, Labels, Preprocess
from wideresnet.training.augment import normalise, to_planes
from wideresnet.training.batches import (
    Batches,
    CifarBatches,
    FolderBatches,
    balanced_order,
    erase_and_mix,
    first_images,
)
from wideresnet.training.recipe import Recipe
from wideresnet.training.whiten import fit_whitening

CIFAR = Recipe(architecture="wrn_10_1", epochs=4, batch_size=8, learning_rate=0.1, sizes=((0, 24), (2, 32)))
FOLDER = Recipe(
    architecture="wrn_10_1", data="folder", epochs=4, batch_size=8, learning_rate=0.1, stored=24,
    sizes=((0, 12), (2, 16)), input_size=20,
)  # fmt: skip
NUMBERS = np.arange(20)                            # each image's label is its number


def cifar(recipe: Recipe = CIFAR) -> CifarBatches:
    return CifarBatches(recipe, CifarArrays(tiny_images(20, 32), NUMBERS, tiny_images(6, 32), NUMBERS[:6]))


def folder(recipe: Recipe = FOLDER) -> FolderBatches:
    labels = Labels(tuple(f"class {number}" for number in NUMBERS))
    train, val = tiny_images(20, recipe.stored), tiny_images(6, recipe.preprocess().crop)
    return FolderBatches(recipe, FolderArrays("mine", labels, train, NUMBERS, val, NUMBERS[:6]))


BOTH = pytest.mark.parametrize("make", [cifar, folder])


def epoch_of(batches: Batches, epoch: int) -> tuple[Tensor, list[int]]:
    """All images of an epoch, and their numbers."""
    images, labels = zip(*batches.training(epoch), strict=True)
    return torch.cat(images), torch.cat(labels).tolist()


@BOTH
def test_an_epoch_is_whole_batches_of_different_images(make) -> None:
    assert make().count == 20
    batches = list(make().training(0))
    assert [len(labels) for _, labels in batches] == [8, 8], "four images fill no batch"
    assert len(set(epoch_of(make(), 0)[1])) == 16
    for images, _ in batches:
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)


@BOTH
def test_only_seed_and_epoch_decide(make) -> None:
    batches = make()
    first, numbers = epoch_of(batches, 1)
    epoch_of(batches, 0)
    torch.rand(5)
    again, same = epoch_of(batches, 1)
    assert numbers == same
    assert torch.equal(first, again)
    other_epoch = epoch_of(batches, 0)[1]
    other_seed = epoch_of(make(batches.recipe.model_copy(update={"seed": 1})), 1)[1]
    assert len({tuple(numbers), tuple(other_epoch), tuple(other_seed)}) == 3


# Computed before CIFAR had erasing, Cutout and mixing: what a recipe draws does not change with new settings.
DRAWN: list[tuple[str, dict[str, object], list[float], list[object]]] = [
    (
        "cifar", {"sizes": ((0, 32),)}, [0.1267, 0.1114, 0.0919, 0.0865, 0.0719, 0.1459, 0.1019, 0.1323],
        [4, 7, 0, 14, 16, 10, 15, 3],
    ),
    (
        "cifar", {"sizes": ((0, 32),), "trivial": True},
        [0.4396, -1.4421, -0.0053, -0.1452, 0.0683, 0.1459, -0.5359, -0.0016], [4, 7, 0, 14, 16, 10, 15, 3],
    ),
    (
        "cifar", {"flip": "alternating", "crop_padding": 2, "seed": 3},
        [0.0797, 0.1254, 0.1211, 0.1158, 0.0817, 0.1144, 0.1222, 0.0768], [12, 9, 19, 4, 17, 7, 2, 16],
    ),
    (
        "folder", {"mixup": 0.4, "cutmix": 1.0, "erasing": 0.3, "jitter": 0.2, "trivial": True},
        [-0.1002, -0.8251, 0.1605, 0.0187, 0.0074, -0.4937, -0.2453, -0.3422],
        [{15: 0.5625, 4: 0.4375}, {10: 0.5625, 7: 0.4375}, {16: 0.6944, 0: 0.3056}, {4: 0.5625, 14: 0.4375},
         {14: 0.9167, 16: 0.0833}, {3: 0.7639, 10: 0.2361}, {15: 0.7917, 7: 0.2083}, {3: 0.8889, 0: 0.1111}],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "means", "answers"), DRAWN)
def test_a_recipe_draws_what_it_always_drew(
    kind: str, changes: dict[str, object], means: list[float], answers: list[object]
) -> None:
    make, recipe = {"cifar": (cifar, CIFAR), "folder": (folder, FOLDER)}[kind]
    *_, (images, targets) = make(recipe.model_copy(update=changes)).training(1)
    assert images.mean((1, 2, 3)).tolist() == pytest.approx(means, abs=2e-4)
    if targets.ndim == 1:
        assert targets.tolist() == answers
    else:
        shares = [{k: pytest.approx(v, abs=1e-3) for k, v in enumerate(row) if v} for row in targets.tolist()]
        assert shares == answers


@BOTH
def test_images_have_the_size_of_their_epoch(make) -> None:
    batches = make()
    for epoch in range(4):
        size = batches.recipe.size_at(epoch)
        assert epoch_of(batches, epoch)[0].shape == (16, 3, size, size)


def test_cifar_is_tested_at_32_pixels_and_folders_at_the_size_of_the_finished_network() -> None:
    assert (cifar().classes, folder().classes) == (10, 20)
    for batches, side in ((cifar(), 32), (folder(), 20)):
        ((images, labels),) = batches.test()
        assert (images.shape, labels.tolist()) == ((6, 3, side, side), [0, 1, 2, 3, 4, 5])


def test_folders_are_tested_on_their_images_as_they_are() -> None:
    ((images, _),) = folder().test()
    expected = normalise(to_planes(torch.from_numpy(tiny_images(6, 20))), IMAGENET_MEAN, IMAGENET_STD, 20)
    assert torch.equal(images, expected)


def test_a_crop_of_everything_shows_each_image_whole_and_every_other_time_mirrored() -> None:
    recipe = FOLDER.model_copy(
        update={"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "sizes": ((0, 24),), "flip": "alternating"}
    )
    stored = normalise(to_planes(torch.from_numpy(tiny_images(20, 24))), IMAGENET_MEAN, IMAGENET_STD, 24)
    mirrored: dict[int, set[bool]] = {}
    for epoch in range(2):
        for image, number in zip(*epoch_of(folder(recipe), epoch), strict=True):
            plain = torch.allclose(image, stored[number], atol=1e-4)
            assert plain or torch.allclose(image, stored[number].flip(-1), atol=1e-4)
            mirrored.setdefault(number, set()).add(plain)
    twice = [number for number in mirrored if all(number in epoch_of(folder(recipe), e)[1] for e in range(2))]
    assert twice
    assert all(mirrored[number] == {True, False} for number in twice)


def test_crops_differ_from_epoch_to_epoch() -> None:
    recipe = FOLDER.model_copy(update={"flip": "none", "sizes": ((0, 12),)})
    (first, first_numbers), (second, second_numbers) = (epoch_of(folder(recipe), epoch) for epoch in range(2))
    both = sorted(set(first_numbers) & set(second_numbers))
    assert not any(torch.equal(first[first_numbers.index(n)], second[second_numbers.index(n)]) for n in both)


def test_balanced_order_shows_every_class_as_often_and_its_images_in_turn() -> None:
    labels = torch.tensor([0] * 12 + [1] * 4 + [2])
    order = balanced_order(labels, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[order]).tolist() == [5, 6, 6]
    assert len(set(order[labels[order] == 0].tolist())) == 5
    assert sorted(torch.bincount(order, minlength=17)[12:16].tolist()) == [1, 1, 2, 2]
    even = balanced_order(torch.arange(12) % 3, torch.Generator().manual_seed(0))
    assert sorted(even.tolist()) == list(range(12)), "where classes are equal, each image once"
    assert even.tolist() != list(range(12))


def test_mixed_targets_are_shares_of_classes_and_plain_ones_stay_numbers() -> None:
    mixing = FOLDER.model_copy(update={"mixup": 0.4, "cutmix": 1.0, "erasing": 0.3, "jitter": 0.2, "trivial": True})
    images, targets = next(folder(mixing).training(0))
    assert (images.shape, targets.shape, targets.dtype) == ((8, 3, 12, 12), (8, 20), torch.float32)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    assert images.is_contiguous(memory_format=torch.channels_last)
    _, plain = next(folder(FOLDER.model_copy(update={"erasing": 0.3})).training(0))
    assert plain.dtype == torch.int64


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_one_image_for_a_process_is_not_mixed_with_itself(mix: str) -> None:
    recipe, planes = CIFAR.model_copy(update={mix: 1.0}), torch.zeros(1, 3, 8, 8)
    with pytest.raises(ConfigError, match="mixup and cutmix need two images per process, got one"):
        erase_and_mix(planes, torch.tensor([1]), 10, recipe, torch.Generator())


def test_small_images_are_mixed_like_others() -> None:
    labels, images = np.arange(40) % 10, np.repeat(np.arange(40, dtype=np.uint8), 3072).reshape(40, 32, 32, 3) * 6
    arrays = CifarArrays(images, labels, images[:1], labels[:1])
    recipe = CIFAR.model_copy(update={"mixup": 1.0, "batch_size": 40, "crop_padding": 0, "sizes": ((0, 32),)})
    ((mixed, targets),) = CifarBatches(recipe, arrays).training(0)
    assert (targets.shape, targets.dtype) == ((40, 10), torch.float32)
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(targets.sum(1), torch.ones(40))
    values = recipe.statistics().std[0] * mixed[:, 0, 0, 0] + recipe.statistics().mean[0]
    # Image k of value 6 k / 255 has class k modulo 10: of two values the shares follow, of shares the value modulo 10.
    two = (targets > 0).sum(1) == 2                # the others were mixed with an image of their class
    assert two.sum() > 25
    for value, target in zip((255 * values / 6)[two].tolist(), targets[two], strict=True):
        first, second = target.nonzero()[:, 0].tolist()
        pairs = [(i, j) for i in range(first, 40, 10) for j in range(second, 40, 10)]
        assert min(abs(value - float(target[first]) * i - (1 - float(target[first])) * j) for i, j in pairs) < 1e-3


def test_the_weights_say_how_their_images_are_normalised() -> None:
    spec = Preprocess(resize=20, crop=20, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.25))
    batches = FolderBatches(FOLDER, folder().arrays, spec)
    ((images, _),) = batches.test()
    expected = normalise(to_planes(torch.from_numpy(tiny_images(6, 20))), spec.mean, spec.std, 20)
    assert torch.equal(images, expected)
    own, usual = (next(batches_of.training(0))[0] for batches_of in (batches, folder()))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    usual_mean, usual_std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(own * std + mean, usual * usual_std + usual_mean, atol=1e-5, rtol=0)


def test_whitened_images_are_cut_and_tested_as_they_are() -> None:
    recipe = CIFAR.model_copy(update={"whitening": "zca", "crop_padding": 0, "flip": "none", "sizes": ((0, 4),)})
    arrays = CifarArrays(tiny_images(40, 4), np.arange(40) % 10, tiny_images(6, 4), NUMBERS[:6])
    whitening = fit_whitening(torch.from_numpy(arrays.train_images))
    batches = CifarBatches(recipe, arrays)
    ((tested, _),) = batches.test()
    expected = whitening(torch.from_numpy(arrays.test_images)).permute(0, 3, 1, 2)
    torch.testing.assert_close(tested, expected, atol=1e-4, rtol=1e-4)
    learnt = whitening(torch.from_numpy(arrays.train_images)).permute(0, 3, 1, 2)
    shown, _ = epoch_of(batches, 0)
    assert all((learnt - image).abs().flatten(1).max(1).values.min() < 1e-3 for image in shown)


@pytest.mark.parametrize("name", ["cutout", "erasing"])
def test_small_images_are_erased_at_32_pixels_and_then_resized(name: str) -> None:
    """White images: what is missing is the area of the box at 32 pixels, whatever size the network sees."""
    white = np.full((400, 32, 32, 3), 255, np.uint8)
    recipe = CIFAR.model_copy(update={"batch_size": 400, "crop_padding": 0, "sizes": ((0, 20),), name: 1})
    if name == "cutout":
        recipe = recipe.model_copy(update={name: 8})
    arrays = CifarArrays(white, np.arange(400) % 10, white[:1], NUMBERS[:1])
    ((images, _),) = CifarBatches(recipe, arrays).training(0)
    assert images.shape == (400, 3, 20, 20)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (recipe.statistics().mean, recipe.statistics().std))
    brightest = (1 - mean) / std
    missing = (1 - images / brightest).mean((1, 2, 3))
    if name == "cutout":
        inside = missing > 60 / 1024               # not cut off at a border
        assert missing[inside].median().item() == pytest.approx(64 / 1024, rel=0.02)
        assert missing.max() < 70 / 1024
        assert missing.min() > 13 / 1024           # a corner: 4 × 4
    else:
        assert missing.min() > 0.01
        assert 0.35 < missing.max() < 0.45, "the paper's 40 % of CIFAR"


@pytest.mark.parametrize(
    "changes", [{"jitter": 0.3}, {"erasing": 0.9}, {"cutout": 12}, {"mixup": 1.0}, {"cutmix": 1.0}, {"trivial": True},
                {"randaugment": 2}]
)
def test_a_teacher_answers_the_images_of_its_student_as_they_are_changed(changes: dict[str, object]) -> None:
    shown = []

    def teacher(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        shown.append(images)
        return images.reshape(len(images), -1)[:, :10].astype(np.float32)

    recipe = CIFAR.model_copy(update={"teacher": "t", "sizes": ((0, 32),), **changes})
    arrays = CifarArrays(tiny_images(20, 32), NUMBERS % 10, tiny_images(6, 32), NUMBERS[:6])
    images, targets = next(replace(cifar(recipe), arrays=arrays, teacher=teacher).training(0))
    statistics = recipe.statistics()
    seen = normalise(to_planes(torch.from_numpy(shown[0])), statistics.mean, statistics.std, 32)
    torch.testing.assert_close(images, seen, atol=0.51 / 255 / min(statistics.std), rtol=0)
    plain, _ = next(cifar(CIFAR.model_copy(update={"sizes": ((0, 32),)})).training(0))
    assert (images != plain).any()
    torch.testing.assert_close(targets, torch.softmax(torch.from_numpy(shown[0]).reshape(8, -1)[:, :10] / 4, 1))


def test_a_teacher_answers_the_augmented_images_and_its_answers_are_softened() -> None:
    shown = []

    def teacher(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        shown.append(images)
        return images.reshape(len(images), -1)[:, :10].astype(np.float32)

    recipe = CIFAR.model_copy(update={"teacher": "t", "temperature": 2.0, "sizes": ((0, 32),)})
    batches = replace(cifar(recipe), teacher=teacher)
    (images, targets), (same, _) = next(batches.training(0)), next(cifar(recipe).training(0))
    assert torch.equal(images, same), "the images are those without a teacher"
    statistics = recipe.statistics()
    assert torch.equal(images, normalise(to_planes(torch.from_numpy(shown[0])), statistics.mean, statistics.std, 32))
    logits = torch.from_numpy(shown[0].reshape(8, -1)[:, :10].astype(np.float32))
    torch.testing.assert_close(targets, torch.softmax(logits / 2, 1))


def test_a_teacher_answers_views_that_repeat_once() -> None:
    asked = 0

    def teacher(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal asked
        asked += len(images)
        return images.reshape(len(images), -1)[:, :10].astype(np.float32)

    recipe = CIFAR.model_copy(update={"teacher": "t", "teacher_views": 2, "sizes": ((0, 32),), "flip": "alternating"})
    batches = replace(cifar(recipe), teacher=teacher)
    statistics = recipe.statistics()
    views: dict[int, set[bytes]] = {0: set(), 1: set()}
    for epoch in range(6):
        for images, targets in batches.training(epoch):
            planes = 255 * images * torch.tensor(statistics.std).view(3, 1, 1)
            pixels = (planes + 255 * torch.tensor(statistics.mean).view(3, 1, 1)).permute(0, 2, 3, 1)
            logits = pixels.round().reshape(len(images), -1)[:, :10]
            torch.testing.assert_close(targets, torch.softmax(logits / recipe.temperature, 1))
            views[epoch % 2] |= {image.round().byte().numpy().tobytes() for image in pixels}
    assert asked == sum(map(len, views.values())), "every view was asked once"
    assert len(views[0]) <= 20
    assert not views[0] & views[1]


def test_small_images_are_augmented_too() -> None:
    plain, changed = (
        cifar(CIFAR.model_copy(update={"trivial": trivial, "crop_padding": 0, "flip": "none"}))
        for trivial in (False, True)
    )
    (before, labels), (after, same_labels) = next(plain.training(0)), next(changed.training(0))
    assert torch.equal(labels, same_labels)
    assert before.shape == after.shape
    is_changed = (before != after).flatten(1).any(1).float().mean()
    assert 0.5 < is_changed < 1
    assert torch.equal(after, next(changed.training(0))[0]), "seed and epoch decide"


@BOTH
def test_the_first_images_are_those_of_the_first_batch(make) -> None:
    batches = make()
    spec = batches.recipe.preprocess()
    images, labels = next(batches.training(0))
    first = first_images(batches, spec, 5)
    assert [image.target for image in first] == [{int(label): 1.0} for label in labels[:5]]
    again = normalise(torch.from_numpy(np.stack([image.pixels for image in first])).permute(0, 3, 1, 2).float(),
                      spec.mean, spec.std, images.shape[-1])  # fmt: skip
    torch.testing.assert_close(again, images[:5], atol=0.5 / 255 / min(spec.std) + 1e-3, rtol=0)


def test_the_first_images_of_a_mixed_batch_name_both_classes() -> None:
    recipe = FOLDER.model_copy(update={"mixup": 1.0})
    targets = [image.target for image in first_images(folder(recipe), recipe.preprocess())]
    assert len(targets) == 8
    assert any(len(target) == 2 for target in targets)
    assert all(sum(target.values()) == pytest.approx(1, abs=1e-3) for target in targets)


def test_images_that_fill_no_batch_have_no_first_one() -> None:
    recipe = CIFAR.model_copy(update={"batch_size": 64})
    assert first_images(cifar(recipe), recipe.preprocess()) == []
