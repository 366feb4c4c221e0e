"""What the loop is fed: batches of CIFAR or of class folders, in an order that only (seed, epoch) decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from wideresnet.data.cifar import CifarArrays
from wideresnet.data.splits import FolderArrays
from wideresnet.data.statistics import STATISTICS
from wideresnet.records import RGB
from wideresnet.training.augment import (
    crop_and_flip,
    crop_and_resize,
    flips,
    normalise,
    random_boxes,
    reflect_pad,
    standardise,
)
from wideresnet.training.recipe import Recipe

Batch = tuple[Tensor, Tensor]                      # float32 [B, 3, S, S] channels-last, normalised; int64 [B]


class Batches(Protocol):
    """A data set as the loop sees it."""

    @property
    def classes(self) -> int:
        """How many classes there are."""
        ...

    @property
    def count(self) -> int:
        """How many training pictures there are."""
        ...

    def training(self, epoch: int) -> Iterator[Batch]:
        """One pass over the training pictures, augmented; the last incomplete batch is left out."""
        ...

    def test(self) -> Iterator[Batch]:
        """Every test picture once, as the finished network will be shown it."""
        ...


@dataclass(frozen=True, eq=False)
class CifarBatches:
    """CIFAR: reflect-padded, a random 32×32 cut out, flipped."""

    recipe: Recipe
    arrays: CifarArrays

    @property
    def classes(self) -> int:
        """See ``Batches``."""
        return STATISTICS[self.recipe.data].classes

    @property
    def count(self) -> int:
        """See ``Batches``."""
        return len(self.arrays.train_labels)

    @cached_property
    def _padded(self) -> Tensor:
        return reflect_pad(torch.from_numpy(self.arrays.train_images), self.recipe.crop_padding)

    def training(self, epoch: int) -> Iterator[Batch]:
        """See ``Batches``."""
        recipe, statistics = self.recipe, STATISTICS[self.recipe.data]
        labels = torch.from_numpy(self.arrays.train_labels)
        draws = Draws(recipe, self.count, epoch)
        corners = torch.randint(0, 2 * recipe.crop_padding + 1, (self.count, 2), generator=draws.generator)
        flipped = draws.flips()
        side = self.arrays.train_images.shape[1]
        for chosen in draws.batches():
            pictures = crop_and_flip(self._padded, chosen, corners[chosen], flipped[chosen], side)
            yield normalise(pictures, statistics.mean, statistics.std, recipe.size_at(epoch)), labels[chosen]

    def test(self) -> Iterator[Batch]:
        """See ``Batches``."""
        images, labels = torch.from_numpy(self.arrays.test_images), torch.from_numpy(self.arrays.test_labels)
        statistics = STATISTICS[self.recipe.data]
        return in_order(images, labels, 500, statistics.mean, statistics.std)


@dataclass(frozen=True, eq=False)
class FolderBatches:
    """Class folders: a random part of each picture, resized and flipped; tested on what a bundle would see."""

    recipe: Recipe
    arrays: FolderArrays

    @property
    def classes(self) -> int:
        """See ``Batches``."""
        return len(self.arrays.labels.names)

    @property
    def count(self) -> int:
        """See ``Batches``."""
        return len(self.arrays.train_labels)

    def training(self, epoch: int) -> Iterator[Batch]:
        """See ``Batches``."""
        recipe, spec = self.recipe, self.recipe.preprocess()
        images, labels = torch.from_numpy(self.arrays.train_images), torch.from_numpy(self.arrays.train_labels)
        draws = Draws(recipe, self.count, epoch)
        boxes = random_boxes(self.count, recipe.crop_scale, recipe.crop_ratio, draws.generator)
        flipped = draws.flips()
        for chosen in draws.batches():
            pictures = crop_and_resize(images[chosen], boxes[chosen], flipped[chosen], recipe.size_at(epoch))
            pictures = standardise(pictures, spec.mean, spec.std)
            yield pictures.contiguous(memory_format=torch.channels_last), labels[chosen]

    def test(self) -> Iterator[Batch]:
        """See ``Batches``."""
        images, labels = torch.from_numpy(self.arrays.val_images), torch.from_numpy(self.arrays.val_labels)
        spec = self.recipe.preprocess()
        return in_order(images, labels, 100, spec.mean, spec.std)


class Draws:
    """The random numbers of one epoch, which (seed, epoch) decide, drawn in the order in which they are asked for."""

    def __init__(self, recipe: Recipe, count: int, epoch: int) -> None:
        self.recipe, self.epoch = recipe, epoch
        self.base = torch.rand(count, generator=torch.Generator().manual_seed(recipe.seed)) < 0.5
        seed = recipe.seed * 1_000_003 + epoch
        self.generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)                                         # dropout draws from the global one
        self.order = torch.randperm(count, generator=self.generator)

    def flips(self) -> Tensor:
        """Which of all pictures are mirrored: bool [N]."""
        return flips(self.recipe.flip, self.base, self.epoch, self.generator)

    def batches(self) -> Iterator[Tensor]:
        """The indices of every whole batch: int64 [B]."""
        size = self.recipe.batch_size
        return iter(torch.split(self.order[: len(self.order) // size * size], size))


def in_order(images: Tensor, labels: Tensor, size: int, mean: RGB, std: RGB) -> Iterator[Batch]:
    """All of ``images`` uint8 [N, S, S, 3] as they are, normalised, ``size`` at a time."""
    for some, targets in zip(torch.split(images, size), torch.split(labels, size), strict=True):
        yield normalise(some, mean, std, some.shape[1]), targets
