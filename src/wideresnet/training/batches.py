"""What the loop is fed: batches of CIFAR or of class folders, in an order that only (seed, epoch) decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from wideresnet.datasets.cifar import CifarArrays
from wideresnet.datasets.splits import FolderArrays
from wideresnet.datasets.statistics import Statistics
from wideresnet.records import Preprocess
from wideresnet.training.augment import (
    crop_and_flip,
    crop_and_resize,
    flips,
    normalise,
    random_boxes,
    reflect_pad,
    standardise,
)
from wideresnet.training.distributed import SINGLE_PROCESS, Group
from wideresnet.training.mix import cutmix, erase, jitter, mixup
from wideresnet.training.recipe import Recipe
from wideresnet.training.trivial import trivial_augment
from wideresnet.training.whiten import Whitening, fit_whitening

# float32 [B, 3, S, S] channels-last, normalised; int64 [B], or float32 [B, C] where targets are mixed.
Batch = tuple[Tensor, Tensor]


class Batches(Protocol):
    """A data set as the loop sees it; of each batch only what the rank of this process learns from."""

    @property
    def classes(self) -> int:
        """How many classes there are."""
        ...

    @property
    def count(self) -> int:
        """How many training images there are."""
        ...

    def training(self, epoch: int) -> Iterator[Batch]:
        """One pass over the training images, augmented; the last incomplete batch is left out.

        A batch is this rank's rows of one of ``batch_size``. All ranks make the same draws, so that together they see
        the images that one process would see.
        """
        ...

    def test(self) -> Iterator[Batch]:
        """Every test image once, as the finished network will be shown it: whole batches, in turn to each rank."""
        ...


@dataclass(frozen=True, eq=False)
class CifarBatches:
    """CIFAR and SVHN: whitened if asked for, reflect-padded, a random 32×32 cut out, flipped."""

    recipe: Recipe
    arrays: CifarArrays
    group: Group = SINGLE_PROCESS

    @property
    def classes(self) -> int:
        """See ``Batches``."""
        return self.recipe.statistics().classes

    @property
    def count(self) -> int:
        """See ``Batches``."""
        return len(self.arrays.train_labels)

    @cached_property
    def _whitening(self) -> Whitening | None:
        wanted = self.recipe.whitening == "zca"
        return fit_whitening(torch.from_numpy(self.arrays.train_images)) if wanted else None

    @cached_property
    def _padded(self) -> Tensor:
        return reflect_pad(self._whitened(self.arrays.train_images), self.recipe.crop_padding)

    def _whitened(self, images: NDArray[np.uint8]) -> Tensor:
        batch = torch.from_numpy(images)
        return self._whitening(batch) if self._whitening else batch

    def training(self, epoch: int) -> Iterator[Batch]:
        """See ``Batches``."""
        recipe, statistics = self.recipe, self.recipe.statistics()
        labels = torch.from_numpy(self.arrays.train_labels)
        draws = Draws(recipe, self.count, epoch, group=self.group)
        corners = torch.randint(0, 2 * recipe.crop_padding + 1, (self.count, 2), generator=draws.generator)
        flipped = draws.flips()
        side = self.arrays.train_images.shape[1]
        for chosen in draws.batches():
            batch = crop_and_flip(self._padded, chosen, corners[chosen], flipped[chosen], side)
            yield normalise(batch, statistics.mean, statistics.std, recipe.size_at(epoch)), labels[chosen]

    def test(self) -> Iterator[Batch]:
        """See ``Batches``."""
        images, labels = self._whitened(self.arrays.test_images), torch.from_numpy(self.arrays.test_labels)
        statistics = self.recipe.statistics()
        return in_order(images, labels, 500, self.group, statistics)


@dataclass(frozen=True, eq=False)
class FolderBatches:
    """Class folders: a random part of each image, resized and flipped; tested on what a bundle would see.

    Among several ranks, parts and flips are those of one process. Colours, boxes and mixing are drawn by each rank for
    itself, and images mixed with others of the same rank.
    """

    recipe: Recipe
    arrays: FolderArrays
    spec: Preprocess | None = None                 # of the finished network, where the recipe does not say
    group: Group = SINGLE_PROCESS

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
        recipe, spec = self.recipe, self.spec or self.recipe.preprocess()
        images, labels = torch.from_numpy(self.arrays.train_images), torch.from_numpy(self.arrays.train_labels)
        draws = Draws(recipe, self.count, epoch, labels if recipe.balanced else None, self.group)
        boxes = random_boxes(self.count, recipe.crop_scale, recipe.crop_ratio, draws.generator)
        flipped = draws.flips()
        for chosen in draws.batches():
            batch = crop_and_resize(images[chosen], boxes[chosen], flipped[chosen], recipe.size_at(epoch))
            batch = standardise(coloured(batch, recipe, draws.generator), spec.mean, spec.std)
            batch, targets = mixed(batch, labels[chosen], self.classes, recipe, draws.generator)
            yield batch.contiguous(memory_format=torch.channels_last), targets

    def test(self) -> Iterator[Batch]:
        """See ``Batches``."""
        images, labels = torch.from_numpy(self.arrays.val_images), torch.from_numpy(self.arrays.val_labels)
        spec = self.spec or self.recipe.preprocess()
        return in_order(images, labels, 100, self.group, spec)


class Draws:
    """The random numbers of one epoch, which (seed, epoch) decide, drawn in the order in which they are asked for.

    They are the same on every rank until ``batches`` is called, and each rank's own from then on.
    """

    def __init__(
        self, recipe: Recipe, count: int, epoch: int, balance: Tensor | None = None, group: Group = SINGLE_PROCESS
    ) -> None:
        """``balance``: the labels int64 [count] where classes are to come equally often."""
        self.recipe, self.epoch, self.group = recipe, epoch, group
        self.base = torch.rand(count, generator=torch.Generator().manual_seed(recipe.seed)) < 0.5
        self.seed = recipe.seed * 1_000_003 + epoch
        self.generator = torch.Generator().manual_seed(self.seed)
        torch.manual_seed(self._own_seed)                               # dropout draws from the global one
        if balance is None:
            self.order = torch.randperm(count, generator=self.generator)
        else:
            self.order = balanced_order(balance, self.generator)

    def flips(self) -> Tensor:
        """Which of all images are mirrored: bool [N]."""
        return flips(self.recipe.flip, self.base, self.epoch, self.generator)

    def batches(self) -> Iterator[Tensor]:
        """The indices of this rank's rows of every whole batch: int64 [B]."""
        if not self.group.is_rank0:
            self.generator.manual_seed(self._own_seed)
        size = self.recipe.batch_size
        return map(self.group.own_rows, torch.split(self.order[: len(self.order) // size * size], size))

    @property
    def _own_seed(self) -> int:
        # Only the last 32 bits of a seed count; the golden ratio's keep the seeds of ranks far apart.
        return self.seed + self.group.rank * 0x9E3779B9


def balanced_order(labels: Tensor, generator: torch.Generator) -> Tensor:
    """As many indices as there are ``labels`` (int64 [N], each class at least once): each class as often as any other.

    Images of a class take turns, so that classes of equal size come out as a plain permutation.
    """
    classes = int(labels.max()) + 1
    drawn = []
    for index in range(classes):
        members, quota = (labels == index).nonzero()[:, 0], (len(labels) + index) // classes
        turns = [members[torch.randperm(len(members), generator=generator)] for _ in range(-(-quota // len(members)))]
        drawn.append(torch.cat(turns)[:quota])
    order = torch.cat(drawn)
    return order[torch.randperm(len(order), generator=generator)]


def coloured(planes: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Float [B, 3, H, W] in 0..255 with colours and places changed as the recipe asks."""
    if recipe.trivial:
        planes = trivial_augment(planes, generator)
    return jitter(planes, recipe.jitter, generator) if recipe.jitter else planes


def mixed(
    planes: Tensor, labels: Tensor, classes: int, recipe: Recipe, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Normalised images erased and mixed as the recipe asks; targets are float [B, C] where it mixes at all."""
    if recipe.erasing:
        planes = erase(planes, recipe.erasing, generator)
    kinds = [(mix, alpha) for mix, alpha in ((mixup, recipe.mixup), (cutmix, recipe.cutmix)) if alpha]
    if not kinds:
        return planes, labels
    mix, alpha = kinds[int(torch.randint(len(kinds), (), generator=generator))]
    return mix(planes, F.one_hot(labels, classes).float(), alpha, generator)


def in_order(
    images: Tensor, labels: Tensor, size: int, group: Group, look: Statistics | Preprocess
) -> Iterator[Batch]:
    """All of ``images`` uint8 [N, S, S, 3] as they are, normalised, ``size`` at a time: this rank's of the batches.

    They are the batches of one process, so that every image gets the answer that it would get there.
    """
    batches = zip(group.own_rows(torch.split(images, size)), group.own_rows(torch.split(labels, size)), strict=True)
    for some, targets in batches:
        yield normalise(some, look.mean, look.std, some.shape[1]), targets
