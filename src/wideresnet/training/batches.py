"""Batches of CIFAR, SVHN or class folders for training; their order follows from seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from wideresnet.datasets.cifar import CifarArrays
from wideresnet.datasets.splits import FolderArrays
from wideresnet.datasets.statistics import Statistics
from wideresnet.errors import ConfigError
from wideresnet.records import Preprocess, TrainingImage
from wideresnet.training import augment
from wideresnet.training.distributed import SINGLE_PROCESS, Group
from wideresnet.training.mix import ERASED_AREA, ERASED_AREA_OF_CIFAR, cutmix, cutout, erase, jitter, mixup
from wideresnet.training.recipe import Recipe
from wideresnet.training.trivial import rand_augment, trivial_augment
from wideresnet.training.whiten import Whitening, fit_whitening

# Images float32 [B, 3, S, S], channels-last and normalised; targets int64 [B], or float32 [B, C] where they are mixed
# or a teacher's.
Batch = tuple[Tensor, Tensor]
Teacher = Callable[[NDArray[np.uint8]], NDArray[np.float32]]           # RGB uint8 [B, 32, 32, 3] -> logits [B, C]


@dataclass(frozen=True, eq=False)
class CifarBatches:
    """CIFAR and SVHN: whitened if the recipe says so, padded, randomly cropped to 32×32, flipped, changed, resized.

    They are stored and augmented on the group's device; a teacher gets them as they are then, at 32×32. Colours,
    erasing and mixing depend on the ranks, see ``FolderBatches``.
    """

    recipe: Recipe
    arrays: CifarArrays
    group: Group = SINGLE_PROCESS
    teacher: Teacher | None = None
    # A teacher's logits float32 [N, C] by view, nan where not computed yet.
    _answers: dict[int, Tensor] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.recipe.statistics().classes

    @property
    def count(self) -> int:
        """The number of training images."""
        return len(self.arrays.train_labels)

    @cached_property
    def _whitening(self) -> Whitening | None:
        return fit_whitening(torch.from_numpy(self.arrays.train_images)) if self.recipe.whitening == "zca" else None

    @cached_property
    def _padded(self) -> Tensor:
        return augment.reflect_pad(self._whitened(self.arrays.train_images), self.recipe.crop_padding)

    def _whitened(self, images: NDArray[np.uint8]) -> Tensor:
        batch = torch.from_numpy(images)
        return (self._whitening(batch) if self._whitening else batch).to(self.group.device)

    def training(self, epoch: int) -> Iterator[Batch]:
        """Yield this rank's rows of every batch of an epoch, augmented; an incomplete last batch is left out.

        All ranks draw the same random numbers, so that together they read the images that one process would.
        """
        recipe, statistics, device = self.recipe, self.recipe.statistics(), self.group.device
        mean = 255 * torch.tensor(statistics.mean, device=device).view(3, 1, 1)
        labels = torch.from_numpy(self.arrays.train_labels)
        view = epoch % recipe.teacher_views if recipe.teacher_views else epoch
        view_draws = EpochDraws(recipe, self.count, view, group=self.group)
        corners = torch.randint(0, 2 * recipe.crop_padding + 1, (self.count, 2), generator=view_draws.generator)
        flipped = view_draws.flips()
        draws = view_draws if view == epoch else EpochDraws(recipe, self.count, epoch, group=self.group)
        side = self.arrays.train_images.shape[1]
        for rows in draws.batches():
            own_corners, own_flipped = corners[rows].to(device), flipped[rows].to(device)
            images = augment.crop_and_flip(self._padded, rows.to(device), own_corners, own_flipped, side)
            planes = change_colours(augment.to_planes(images), recipe, draws.generator)
            targets = labels[rows].to(device)
            planes, targets = erase_and_mix(planes, targets, self.classes, recipe, draws.generator, mean)
            if self.teacher:
                targets = F.softmax(self._teacher_logits(view, rows, planes) / recipe.temperature, 1)
            yield augment.normalise(planes, statistics.mean, statistics.std, recipe.size_at(epoch)), targets

    def _teacher_logits(self, view: int, rows: Tensor, planes: Tensor) -> Tensor:
        """Return the teacher's logits float32 [B, C] of the images ``rows``; those of views that repeat are kept."""
        assert self.teacher
        images = planes.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        if not self.recipe.teacher_views:
            return torch.from_numpy(self.teacher(images))
        answers = self._answers.setdefault(view, torch.full((self.count, self.classes), torch.nan))
        missing = answers[rows, 0].isnan()
        if missing.any():
            answers[rows[missing]] = torch.from_numpy(self.teacher(images[missing.numpy()]))
        return answers[rows]

    def test(self) -> Iterator[Batch]:
        """Yield the test images once, preprocessed as for the finished network; ranks take turns at the batches."""
        images, labels = self._whitened(self.arrays.test_images), torch.from_numpy(self.arrays.test_labels)
        return evaluation_batches(images, labels, 500, self.group, self.recipe.statistics())


@dataclass(frozen=True, eq=False)
class FolderBatches:
    """Class folders: a random part of each image, resized and flipped; tested with the bundle's preprocessing.

    Crops and flips do not depend on the number of ranks. Colours, erasing and mixing do: each rank draws them for its
    own rows, and mixes images of its own rows only.
    """

    recipe: Recipe
    arrays: FolderArrays
    spec: Preprocess | None = None                 # of the finished network; None: the recipe's
    group: Group = SINGLE_PROCESS

    @property
    def classes(self) -> int:
        """See ``CifarBatches``."""
        return len(self.arrays.labels.names)

    @property
    def count(self) -> int:
        """See ``CifarBatches``."""
        return len(self.arrays.train_labels)

    def training(self, epoch: int) -> Iterator[Batch]:
        """See ``CifarBatches``."""
        recipe, spec = self.recipe, self.spec or self.recipe.preprocess()
        images, labels = torch.from_numpy(self.arrays.train_images), torch.from_numpy(self.arrays.train_labels)
        draws = EpochDraws(recipe, self.count, epoch, labels if recipe.balanced else None, self.group)
        boxes = augment.random_boxes(self.count, recipe.crop_scale, recipe.crop_ratio, draws.generator)
        flipped = draws.flips()
        for rows in draws.batches():
            stored, own_boxes, own_flipped, targets = (
                values[rows].to(self.group.device) for values in (images, boxes, flipped, labels)
            )
            planes = augment.crop_and_resize(stored, own_boxes, own_flipped, recipe.size_at(epoch))
            planes = augment.standardise(change_colours(planes, recipe, draws.generator), spec.mean, spec.std)
            planes, targets = erase_and_mix(planes, targets, self.classes, recipe, draws.generator)
            yield planes.contiguous(memory_format=torch.channels_last), targets

    def test(self) -> Iterator[Batch]:
        """See ``CifarBatches``."""
        images, labels = torch.from_numpy(self.arrays.val_images), torch.from_numpy(self.arrays.val_labels)
        return evaluation_batches(images, labels, 100, self.group, self.spec or self.recipe.preprocess())


# A data set as the training loop reads it; of each batch only the rows of this process's rank.
Batches = CifarBatches | FolderBatches


def first_images(batches: Batches, spec: Preprocess, count: int = 16) -> list[TrainingImage]:
    """Return images of the first batch as the network is trained on them; fewer than ``count`` in small batches.

    ``spec`` has the mean and standard deviation of the batches.
    """
    batch = next(batches.training(0), (torch.empty(0, 3, 1, 1), torch.empty(0, 1)))
    images, targets = (values[:count].cpu() for values in batch)
    planes = 255 * (images * torch.tensor(spec.std).view(3, 1, 1) + torch.tensor(spec.mean).view(3, 1, 1))
    pixels = planes.clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy()
    return [TrainingImage(image, _target(row)) for image, row in zip(pixels, targets, strict=True)]


def _target(target: Tensor) -> dict[int, float]:
    """Return a label, or the two likeliest classes of float [C], with their probabilities."""
    if target.ndim == 0:
        return {int(target): 1.0}
    return {index: float(target[index]) for index in target.argsort(descending=True)[:2].tolist() if target[index]}


class EpochDraws:
    """The random numbers of an epoch, decided by (seed, epoch) and the order of the calls.

    They are equal on every rank until ``batches`` is called, and different from then on.
    """

    def __init__(
        self, recipe: Recipe, count: int, epoch: int, balance: Tensor | None = None, group: Group = SINGLE_PROCESS
    ) -> None:
        """Seed the generators. ``balance``: the labels, int64 [count], if all classes are to be equally frequent."""
        self.recipe, self.epoch, self.group = recipe, epoch, group
        self.base = torch.rand(count, generator=torch.Generator().manual_seed(recipe.seed)) < 0.5
        self.seed = recipe.seed * 1_000_003 + epoch
        self.generator = torch.Generator().manual_seed(self.seed)
        torch.manual_seed(self._seed_of_rank)      # of the global generator, which dropout uses
        if balance is None:
            self.order = torch.randperm(count, generator=self.generator)
        else:
            self.order = balanced_order(balance, self.generator)

    def flips(self) -> Tensor:
        """Return which of all images are mirrored: bool [N]."""
        return augment.choose_flips(self.recipe.flip, self.base, self.epoch, self.generator)

    def batches(self) -> Iterator[Tensor]:
        """Yield the indices of this rank's rows of each full batch: int64 [B]."""
        if not self.group.is_rank0:
            self.generator.manual_seed(self._seed_of_rank)
        size = self.recipe.batch_size
        return map(self.group.own_rows, torch.split(self.order[: len(self.order) // size * size], size))

    @property
    def _seed_of_rank(self) -> int:
        # Generators use the last 32 bits of a seed; multiples of the golden ratio keep those of ranks far apart.
        return self.seed + self.group.rank * 0x9E3779B9


def balanced_order(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw as many indices as there are ``labels`` (int64 [N], at least one per class), equally many of each class.

    The images of a class are used in turn, so that classes of equal size give a permutation.
    """
    classes = int(labels.max()) + 1
    by_class = []
    for label in range(classes):
        members, quota = (labels == label).nonzero()[:, 0], (len(labels) + label) // classes
        turns = [members[torch.randperm(len(members), generator=generator)] for _ in range(-(-quota // len(members)))]
        by_class.append(torch.cat(turns)[:quota])
    order = torch.cat(by_class)
    return order[torch.randperm(len(order), generator=generator)]


def change_colours(planes: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Apply the recipe's TrivialAugment, RandAugment and jitter to float [B, 3, H, W] in 0..255."""
    if recipe.trivial:
        planes = trivial_augment(planes, generator)
    if recipe.randaugment:
        planes = rand_augment(planes, recipe.randaugment, recipe.randaugment_magnitude, generator)
    return jitter(planes, recipe.jitter, generator) if recipe.jitter else planes


def erase_and_mix(
    planes: Tensor, labels: Tensor, classes: int, recipe: Recipe, generator: torch.Generator,
    mean: float | Tensor = 0.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Apply the recipe's random erasing, Cutout and mixing to float [B, 3, H, W] of the given mean colour.

    Mixed targets are float [B, C].
    """
    if recipe.erasing:
        area = ERASED_AREA if recipe.data == "folder" else ERASED_AREA_OF_CIFAR
        planes = erase(planes, recipe.erasing, generator, area, mean)
    if recipe.cutout:
        planes = cutout(planes, recipe.cutout, generator, mean)
    kinds = [(mix, alpha) for mix, alpha in ((mixup, recipe.mixup), (cutmix, recipe.cutmix)) if alpha]
    if not kinds:
        return planes, labels
    if len(labels) < 2:
        raise ConfigError("mixup and cutmix need two images per process, got one", hint="choose a larger batch_size")
    mix, alpha = kinds[int(torch.randint(len(kinds), (), generator=generator))]
    return mix(planes, F.one_hot(labels, classes).float(), alpha, generator)


def evaluation_batches(
    images: Tensor, labels: Tensor, size: int, group: Group, spec: Statistics | Preprocess
) -> Iterator[Batch]:
    """Yield this rank's batches of ``images`` (uint8 or whitened float [N, S, S, 3]), normalised without augmentation.

    Their borders are those of a run of one process, so that every image gets the same logits there.
    """
    batches = zip(group.own_rows(torch.split(images, size)), group.own_rows(torch.split(labels, size)), strict=True)
    for batch, targets in batches:
        yield augment.normalise(augment.to_planes(batch), spec.mean, spec.std, batch.shape[1]), targets
