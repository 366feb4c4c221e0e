"""The training loop, on one page: SGD as the paper did it, on batches that never leave tensors."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wideresnet.architectures import get_architecture
from wideresnet.errors import TrainingError
from wideresnet.machine import available_cpus
from wideresnet.models import create_model
from wideresnet.training.batches import Batches
from wideresnet.training.checkpoint import STOPPED, TrainingState, load_checkpoint, save_checkpoint
from wideresnet.training.distributed import SINGLE_PROCESS, Group, check_group, share_norms
from wideresnet.training.layer_groups import freeze, rate_of, training_mode
from wideresnet.training.memory import keep_memory
from wideresnet.training.recipe import Recipe
from wideresnet.training.schedule import learning_rate


@dataclass(frozen=True)
class Step:
    """One step done. ``step`` counts from 1 over the whole run; ``loss`` is the mean of the batch of all ranks."""

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
    """The tensors of one run, on its group's device. ``averaged`` is the EMA copy, or the model itself without EMA."""

    recipe: Recipe
    model: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.SGD
    group: Group = SINGLE_PROCESS
    log: list[dict[str, float]] = field(default_factory=list)


def train(
    recipe: Recipe, data: Batches, run: Path, start: Mapping[str, Tensor] | None = None
) -> Iterator[Step | Epoch]:
    """Train in folder ``run``, going on from its checkpoint if there is one; yields as the work goes on.

    ``start``: the state dict to begin with, instead of fresh weights.

    After every epoch the checkpoint is written; stop anywhere and call again with the same recipe, and the
    weights come out as if nothing had happened. In a group every rank calls this, and rank 0 reads and writes.
    Raises TrainingError on a non-finite loss, and when there are fewer images than one batch takes; ConfigError
    where a batch does not divide among the ranks.
    """
    group = data.group
    check_group(group, recipe.batch_size)
    if data.count < recipe.batch_size:
        raise TrainingError(
            f"{data.count} training images do not fill one batch of {recipe.batch_size}",
            hint="choose a smaller batch_size",
        )
    trainer, first = prepare(recipe, data.classes, run, start, group)
    steps = data.count // recipe.batch_size
    for epoch in range(first, recipe.epochs):
        started, losses = time.perf_counter(), []
        training_mode(trainer.model, recipe)
        for index, (images, targets) in enumerate(data.training(epoch)):
            step = epoch * steps + index
            rate = learning_rate(recipe, step, steps)
            loss = take_step(trainer, images, targets, rate)
            if not math.isfinite(loss):
                group.from_first(partial(save_checkpoint, run, state_of(trainer, epoch), STOPPED))
                raise TrainingError(
                    f"the loss became {loss} at step {step + 1} (epoch {epoch})",
                    hint=f"the last whole epoch is kept in {run}, and what gave that loss in {STOPPED} there;"
                    " try a lower learning_rate",
                )
            update_average(trainer, step)
            losses.append(loss)
            yield Step(epoch, step + 1, recipe.epochs * steps, loss, rate)
        group.copy_first([*trainer.model.state_dict().values(), *trainer.averaged.state_dict().values()])
        wanted = (epoch + 1) % recipe.evaluate_every == 0 or epoch + 1 == recipe.epochs
        top1 = accuracy(trainer, data) if wanted else math.nan
        done = Epoch(epoch, sum(losses) / len(losses), top1, time.perf_counter() - started)
        trainer.log.append(asdict(done))
        group.from_first(partial(save_checkpoint, run, state_of(trainer, epoch + 1)))
        yield done


def prepare(
    recipe: Recipe, classes: int, run: Path, start: Mapping[str, Tensor] | None = None, group: Group = SINGLE_PROCESS
) -> tuple[Trainer, int]:
    """Model, average and optimiser, fresh, of ``start``, or from rank 0's checkpoint in ``run``; and the first epoch.

    Fresh weights are drawn alike on every rank.
    """
    keep_memory()
    torch.set_num_threads(group.threads(available_cpus()))
    torch.backends.cudnn.allow_tf32 = False        # "f32" is 24 bits on GPUs, too, whose convolutions would take 11
    torch.manual_seed(recipe.seed)
    architecture = get_architecture(recipe.architecture, classes, recipe.dropout)
    model = channels_last(create_model(architecture))
    if start is not None:
        model.load_state_dict(start)
    if recipe.sync_norms and group.size > 1:
        share_norms(model, group)
    freeze(model, recipe)
    averaged = model = model.to(group.device)
    if recipe.ema:
        averaged = channels_last(create_model(architecture)).to(group.device)
        averaged.load_state_dict(model.state_dict())
    trainer = Trainer(recipe, model, averaged, make_optimiser(recipe, model), group)
    saved = group.from_first(partial(load_checkpoint, run, recipe))
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
    """Nesterov SGD: vectors (batch norm and biases) have a weight decay of their own, stages and classifier a rate."""
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    stages = sum(name.startswith("layer") for name, _ in model.named_children())
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        share, matrix = rate_of(name, recipe, stages), parameter.ndim > 1
        decay = recipe.weight_decay if matrix else recipe.norm_weight_decay
        group = groups.setdefault((share, matrix), {"params": [], "weight_decay": decay, "share": share})
        group["params"].append(parameter)
    nesterov = recipe.momentum > 0
    rate, momentum = recipe.learning_rate, recipe.momentum
    return torch.optim.SGD(list(groups.values()), rate, momentum, nesterov=nesterov, foreach=True)


def take_step(trainer: Trainer, images: Tensor, targets: Tensor, rate: float) -> float:
    """Forward, backward, update. Returns the mean loss of the batch; where that is no number, nothing is updated.

    Batch, loss and gradients are those of all ranks, of which ``pictures`` and ``targets`` are this one's rows.
    """
    for group in trainer.optimiser.param_groups:
        group["lr"] = rate * group.get("share", 1.0)    # checkpoints of older versions have none
    logits, targets = answer(trainer, trainer.model, images, targets)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=trainer.recipe.label_smoothing)
    mean = loss.detach().double()
    trainer.group.average([mean])
    value = mean.item()
    if math.isfinite(value):
        trainer.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        trainer.group.average(each.grad for each in trainer.model.parameters() if each.grad is not None)
        trainer.optimiser.step()
    return value


def answer(trainer: Trainer, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [B, C] of ``pictures`` in the recipe's precision, and ``targets``, both on the device."""
    device = trainer.group.device
    images, targets = images.to(device), targets.to(device)
    half = trainer.recipe.precision == "bf16"
    with torch.autocast(torch.device(device).type, torch.bfloat16) if half else nullcontext():
        return model(images), targets


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
def accuracy(trainer: Trainer, data: Batches) -> float:
    """Top-1 of the averaged weights on the test images of all ranks, as a fraction: counts add up exactly."""
    trainer.averaged.eval()
    correct = seen = 0
    for images, targets in data.test():
        logits, targets = answer(trainer, trainer.averaged, images, targets)
        correct += int((logits.argmax(1) == targets).sum())
        seen += len(targets)
    correct, seen = map(sum, zip(*trainer.group.gather((correct, seen)), strict=True))
    return correct / seen


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
