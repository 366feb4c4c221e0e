"""The training loop, on one page: SGD as the paper did it, on batches that never leave tensors."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wideresnet.architectures import get_architecture
from wideresnet.data.cifar import CifarArrays
from wideresnet.data.statistics import STATISTICS
from wideresnet.errors import TrainingError
from wideresnet.machine import available_cpus
from wideresnet.models import create_model
from wideresnet.training.augment import crop_and_flip, flips, normalise, reflect_pad
from wideresnet.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from wideresnet.training.recipe import Recipe
from wideresnet.training.schedule import learning_rate


@dataclass(frozen=True)
class Step:
    """One step done. ``step`` counts from 1 over the whole run; ``loss`` is the batch's mean."""

    epoch: int
    step: int
    steps: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Epoch:
    """One epoch done and saved. ``top1`` (a fraction of the test set) is nan where it was not evaluated."""

    epoch: int
    loss: float
    top1: float
    seconds: float


@dataclass
class Trainer:
    """The tensors of one run. ``averaged`` is the EMA copy, or the model itself without EMA."""

    recipe: Recipe
    model: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.SGD
    log: list[dict[str, float]] = field(default_factory=list)


def train(recipe: Recipe, data: CifarArrays, run: Path) -> Iterator[Step | Epoch]:
    """Train in folder ``run``, going on from its checkpoint if there is one; yields as the work goes on.

    After every epoch the checkpoint is written; stop anywhere and call again with the same recipe, and the
    weights come out as if nothing had happened. Raises TrainingError on a non-finite loss, and when there are
    fewer pictures than one batch takes.
    """
    if len(data.train_labels) < recipe.batch_size:
        raise TrainingError(
            f"{len(data.train_labels)} training pictures do not fill one batch of {recipe.batch_size}",
            hint="choose a smaller batch_size",
        )
    trainer, first = prepare(recipe, run)
    images = reflect_pad(torch.from_numpy(data.train_images), recipe.crop_padding)
    labels = torch.from_numpy(data.train_labels)
    steps = len(labels) // recipe.batch_size
    for epoch in range(first, recipe.epochs):
        started, losses = time.perf_counter(), []
        trainer.model.train()
        for index, (pictures, targets) in enumerate(shuffled_batches(recipe, images, labels, epoch)):
            step = epoch * steps + index
            rate = learning_rate(recipe, step, steps)
            loss = take_step(trainer, pictures, targets, rate)
            update_average(trainer, step)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} at step {step + 1} (epoch {epoch})",
                    hint=f"the last whole epoch is kept in {run}; try a lower learning_rate",
                )
            losses.append(loss)
            yield Step(epoch, step + 1, recipe.epochs * steps, loss, rate)
        wanted = (epoch + 1) % recipe.evaluate_every == 0 or epoch + 1 == recipe.epochs
        top1 = accuracy(trainer, data) if wanted else math.nan
        done = Epoch(epoch, sum(losses) / len(losses), top1, time.perf_counter() - started)
        trainer.log.append(asdict(done))
        save_checkpoint(run, state_of(trainer, epoch + 1))
        yield done


def prepare(recipe: Recipe, run: Path) -> tuple[Trainer, int]:
    """Model, average and optimiser, fresh or from the checkpoint in ``run``; and the epoch to begin with."""
    torch.set_num_threads(available_cpus())
    torch.manual_seed(recipe.seed)
    architecture = get_architecture(recipe.architecture, STATISTICS[recipe.data].classes, recipe.dropout)
    model = channels_last(create_model(architecture))
    averaged = model
    if recipe.ema:
        averaged = channels_last(create_model(architecture))
        averaged.load_state_dict(model.state_dict())
    trainer = Trainer(recipe, model, averaged, make_optimiser(recipe, model))
    saved = load_checkpoint(run, recipe)
    if saved is None:
        return trainer, 0
    model.load_state_dict(saved.model)
    if recipe.ema:
        averaged.load_state_dict(saved.averaged)
    trainer.optimiser.load_state_dict(saved.optimiser)
    trainer.log = saved.log
    return trainer, saved.epoch


def channels_last(model: nn.Module) -> nn.Module:
    """Weights in the memory order in which convolutions on CPUs are fastest."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def make_optimiser(recipe: Recipe, model: nn.Module) -> torch.optim.SGD:
    """Nesterov SGD, with a weight decay of its own for vectors (batch norm and biases)."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": recipe.norm_weight_decay},
    ]
    nesterov = recipe.momentum > 0
    return torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=nesterov, foreach=True)


def shuffled_batches(recipe: Recipe, images: Tensor, labels: Tensor, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass in an order that only (seed, epoch) decide; the last incomplete batch is left out.

    ``images``: padded uint8 [N, H, W, 3]. Yields float32 [B, 3, S, S] channels-last, and int64 [B].
    """
    statistics = STATISTICS[recipe.data]
    base = torch.rand(len(labels), generator=torch.Generator().manual_seed(recipe.seed)) < 0.5
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
    torch.manual_seed(recipe.seed * 1_000_003 + epoch)                  # dropout draws from the global one
    order = torch.randperm(len(labels), generator=generator)
    corners = torch.randint(0, 2 * recipe.crop_padding + 1, (len(labels), 2), generator=generator)
    flipped = flips(recipe.flip, base, epoch, generator)
    side = images.shape[1] - 2 * recipe.crop_padding
    for start in range(0, len(order) - recipe.batch_size + 1, recipe.batch_size):
        chosen = order[start : start + recipe.batch_size]
        pictures = crop_and_flip(images, chosen, corners[chosen], flipped[chosen], side)
        yield normalise(pictures, statistics.mean, statistics.std, recipe.size_at(epoch)), labels[chosen]


def take_step(trainer: Trainer, pictures: Tensor, targets: Tensor, rate: float) -> float:
    """Forward, backward, update. Returns the batch's mean loss."""
    for group in trainer.optimiser.param_groups:
        group["lr"] = rate
    with torch.autocast("cpu", torch.bfloat16, enabled=trainer.recipe.precision == "bf16"):
        logits = trainer.model(pictures)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=trainer.recipe.label_smoothing)
    trainer.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    trainer.optimiser.step()
    return loss.item()


@torch.no_grad()
def update_average(trainer: Trainer, step: int) -> None:
    """Move the averaged weights and statistics towards the model's; faster at first, when they are far off."""
    if trainer.averaged is trainer.model:
        return
    decay = min(trainer.recipe.ema, (1 + step) / (10 + step))
    new = [t for t in trainer.model.state_dict().values() if t.is_floating_point()]
    old = [t for t in trainer.averaged.state_dict().values() if t.is_floating_point()]
    torch._foreach_lerp_(old, new, 1 - decay)


@torch.no_grad()
def accuracy(trainer: Trainer, data: CifarArrays, batch_size: int = 500) -> float:
    """Top-1 of the averaged weights on the test pictures, as a fraction."""
    statistics = STATISTICS[trainer.recipe.data]
    images, labels = torch.from_numpy(data.test_images), torch.from_numpy(data.test_labels)
    trainer.averaged.eval()
    correct = 0
    for start in range(0, len(labels), batch_size):
        some, targets = images[start : start + batch_size], labels[start : start + batch_size]
        with torch.autocast("cpu", torch.bfloat16, enabled=trainer.recipe.precision == "bf16"):
            logits = trainer.averaged(normalise(some, statistics.mean, statistics.std, some.shape[1]))
        correct += int((logits.argmax(1) == targets).sum())
    return correct / len(labels)


def state_of(trainer: Trainer, epoch: int) -> TrainingState:
    """What goes into the checkpoint after ``epoch`` finished epochs."""
    return TrainingState(
        recipe=trainer.recipe.model_dump(mode="json"),
        epoch=epoch,
        model=trainer.model.state_dict(),
        averaged=trainer.averaged.state_dict() if trainer.recipe.ema else {},
        optimiser=trainer.optimiser.state_dict(),
        log=trainer.log,
    )
