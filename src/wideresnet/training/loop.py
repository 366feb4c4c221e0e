"""The training loop, on one page: Nesterov SGD as in the paper, or Muon, on batches of tensors."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wideresnet.architectures import Variant, get_architecture, with_variant
from wideresnet.errors import ConfigError, TrainingError, errors_as
from wideresnet.machine import available_cpus
from wideresnet.models import create_model, zero_branches
from wideresnet.training.batches import Batch, Batches
from wideresnet.training.checkpoint import STOPPED, TrainingState, save_checkpoint
from wideresnet.training.distributed import SINGLE_PROCESS, Group, check_group
from wideresnet.training.layer_groups import freeze, rate_factor, training_mode
from wideresnet.training.muon import Muon
from wideresnet.training.recipe import Recipe
from wideresnet.training.schedule import count_steps, learning_rate

STATISTICS_BATCHES = 100                           # of the batch norms of averaged weights


@dataclass(frozen=True)
class Step:
    """A finished step. ``step`` counts from 1 over the whole run; ``loss`` is the mean over the batch of all ranks."""

    epoch: int
    step: int
    steps: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Epoch:
    """A finished epoch, its checkpoint written.

    ``top1`` and ``val_loss`` are of the test set (the fraction right, the mean cross-entropy), nan if not evaluated;
    ``loss`` and ``train_top1`` means over the steps, of augmented images; ``learning_rate`` is that of the last step.
    ``top1_flip`` is the accuracy of logits averaged over an image and its mirror image, with ``flip_evaluation``.
    """

    epoch: int
    loss: float
    top1: float
    seconds: float
    val_loss: float = math.nan
    train_top1: float = math.nan
    learning_rate: float = math.nan
    top1_flip: float = math.nan


@dataclass
class Trainer:
    """The tensors of a run on its group's device. ``averaged`` is the average of weights, or ``model`` without one."""

    recipe: Recipe
    model: nn.Module
    averaged: nn.Module
    optimiser: torch.optim.SGD
    group: Group = SINGLE_PROCESS
    epoch: int = 0                                 # finished epochs
    log: list[dict[str, float]] = field(default_factory=list)

    def weights(self) -> dict[str, Tensor]:
        """Return the state dict that is evaluated and published, on the CPU."""
        return {key: value.cpu() for key, value in self.averaged.state_dict().items()}

    def state(self) -> TrainingState:
        """Return the content of a checkpoint."""
        averaged = self.averaged.state_dict() if self.averaged is not self.model else {}
        optimiser = self.optimiser.state_dict()
        return TrainingState(self.recipe, self.epoch, self.model.state_dict(), averaged, optimiser, self.log)


def train(trainer: Trainer, data: Batches, run: Path) -> Iterator[Step | Epoch]:
    """Train to the recipe's last epoch, and write a checkpoint to the folder ``run`` after each epoch.

    Stopped anywhere and continued with a trainer of the checkpoint, a run ends with the weights of an uninterrupted
    one. Every rank of a group calls this; rank 0 writes. Raises TrainingError if a loss is not finite or the images
    do not fill a batch, ConfigError if a batch does not divide among the ranks.
    """
    recipe, group = trainer.recipe, trainer.group
    check_group(group, recipe.batch_size)
    steps = count_steps(recipe, data.count)
    for epoch in range(trainer.epoch, recipe.epochs):
        started, figures, rate = time.perf_counter(), [], math.nan
        training_mode(trainer.model, recipe)
        for index, (images, targets) in enumerate(data.training(epoch)):
            step = epoch * steps + index
            rate = learning_rate(recipe, step, steps)
            loss, correct = take_step(trainer, images, targets, rate)
            if not math.isfinite(loss):
                group.broadcast_from_rank0(partial(save_checkpoint, run, trainer.state(), STOPPED))
                raise TrainingError(
                    f"the loss became {loss} at step {step + 1} (epoch {epoch})",
                    hint=f"try a lower learning_rate; {run} has the last checkpoint, and the state before this step in"
                    f" {STOPPED}",
                )
            update_average(trainer, step)
            figures.append((loss, correct))
            yield Step(epoch, step + 1, recipe.epochs * steps, loss, rate)
        is_evaluated = (epoch + 1) % recipe.evaluate_every == 0 or epoch + 1 == recipe.epochs
        if recipe.swa:
            average_epoch(trainer, data if is_evaluated else None, epoch)
        group.copy_from_rank0([*trainer.model.state_dict().values(), *trainer.averaged.state_dict().values()])
        top1, val_loss, top1_flip = validate(trainer, data) if is_evaluated else (math.nan,) * 3
        loss, correct = (sum(column) / len(figures) for column in zip(*figures, strict=True))
        report = Epoch(epoch, loss, top1, time.perf_counter() - started, val_loss, correct, rate, top1_flip)
        trainer.log.append(asdict(report))
        trainer.epoch = epoch + 1
        group.broadcast_from_rank0(partial(save_checkpoint, run, trainer.state()))
        yield report


def prepare(
    recipe: Recipe,
    classes: int,
    group: Group = SINGLE_PROCESS,
    saved: TrainingState | None = None,
    weights: Mapping[str, Tensor] | None = None,
    variant: Variant | None = None,
) -> Trainer:
    """Make the model, its average and the optimiser; ``variant``: see ``with_variant``.

    They continue from the checkpoint ``saved``, if given; else they start from the state dict ``weights``, or from
    fresh weights, which are equal on every rank.
    """
    torch.set_num_threads(group.threads(available_cpus()))
    torch.backends.cudnn.allow_tf32 = False        # "f32" means 24 bits on GPUs too; their convolutions default to 11
    torch.manual_seed(recipe.seed)
    architecture = with_variant(get_architecture(recipe.architecture, classes, recipe.dropout), variant or {})
    model = channels_last(create_model(architecture))
    if weights is not None:
        model.load_state_dict(weights)
    elif recipe.zero_init:
        zero_branches(model)
    freeze(model, recipe)
    averaged = model = model.to(group.device)
    if recipe.ema or recipe.swa:
        averaged = channels_last(create_model(architecture)).to(group.device)
        averaged.load_state_dict(model.state_dict())
    trainer = Trainer(recipe, model, averaged, make_optimiser(recipe, model), group)
    if saved is not None:
        model.load_state_dict(saved.model)
        if averaged is not model:
            averaged.load_state_dict(saved.averaged)
        trainer.optimiser.load_state_dict(saved.optimiser)
        trainer.epoch, trainer.log = saved.epoch, saved.log
    return trainer


def channels_last(model: nn.Module) -> nn.Module:
    """Store the weights channels-last, the fastest memory format for convolutions on CPUs."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def make_optimiser(recipe: Recipe, model: nn.Module) -> torch.optim.SGD:
    """Make Nesterov SGD or Muon with the recipe's decay of matrices and vectors and rate of each stage and the head."""
    groups: dict[tuple[float, bool, bool], dict[str, Any]] = {}
    stages = sum(name.startswith("layer") for name, _ in model.named_children())
    rate, momentum = recipe.learning_rate, recipe.momentum
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        factor, is_matrix = rate_factor(name, recipe, stages), parameter.ndim > 1
        turns = recipe.muon_rate > 0 and parameter.ndim == 4
        factor *= recipe.muon_rate / rate if turns else 1.0
        decay = recipe.weight_decay if is_matrix else recipe.norm_weight_decay
        # "share" is the factor's name in every checkpoint.
        settings = {"params": [], "weight_decay": decay, "share": factor, "turns": turns}
        groups.setdefault((factor, is_matrix, turns), settings)["params"].append(parameter)
    if recipe.muon_rate:
        if not any(settings["turns"] for settings in groups.values()):
            raise ConfigError(f"frozen = {recipe.frozen} leaves muon_rate no convolution", hint="freeze fewer groups")
        dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
        return Muon(list(groups.values()), rate, momentum, dtype)
    return torch.optim.SGD(list(groups.values()), rate, momentum, nesterov=momentum > 0, foreach=True)


def take_step(trainer: Trainer, images: Tensor, targets: Tensor, rate: float) -> tuple[float, float]:
    """Compute loss and gradients of a batch and update the weights; return loss and accuracy, means over all ranks.

    The accuracy is against the likeliest class of each target, a fraction.
    ``images`` and ``targets`` are this rank's rows of the batch. If the loss is not finite, nothing is updated.
    """
    for group in trainer.optimiser.param_groups:
        group["lr"] = rate * group.get("share", 1.0)    # missing from checkpoints of older versions
    with errors_as(ValueError, TrainingError, "one image of so few pixels is no batch", "choose a larger batch_size"):
        logits, targets = forward(trainer, trainer.model, images, targets)
    loss = compute_loss(logits.float(), targets, trainer.recipe)
    correct = logits.argmax(1) == (targets.argmax(1) if targets.ndim > 1 else targets)
    means = [loss.detach().double(), correct.double().mean()]
    trainer.group.average(means)
    value, accuracy = (mean.item() for mean in means)
    if math.isfinite(value):
        trainer.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        trainer.group.average(p.grad for p in trainer.model.parameters() if p.grad is not None)
        trainer.optimiser.step()
    return value, accuracy


def compute_loss(logits: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    """Return the mean loss of logits [B, C] against labels int64 [B] or probabilities float32 [B, C].

    A teacher's probabilities are softened by the temperature T, and so are these: the divergence times T², which keeps
    the size of the gradients.
    """
    if not recipe.teacher:
        return F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)
    log_probabilities = F.log_softmax(logits / recipe.temperature, 1)
    return F.kl_div(log_probabilities, targets, reduction="batchmean") * recipe.temperature**2


def forward(trainer: Trainer, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Move a batch to the device; return its logits [B, C], computed in the recipe's precision, and its targets."""
    device = trainer.group.device
    images, targets = images.to(device), targets.to(device)
    is_bf16 = trainer.recipe.precision == "bf16"
    with torch.autocast(torch.device(device).type, torch.bfloat16) if is_bf16 else nullcontext():
        return model(images), targets


@torch.no_grad()
def update_average(trainer: Trainer, step: int) -> None:
    """Move the averaged weights and statistics of ``ema`` towards the model's; faster in the first steps."""
    if trainer.recipe.ema:
        move_average(trainer, 1 - min(trainer.recipe.ema, (1 + step) / (10 + step)))


@torch.no_grad()
def average_epoch(trainer: Trainer, data: Batches | None, epoch: int) -> None:
    """Set the averaged weights of ``swa`` to the mean after the epochs that count so far; before them, to the model's.

    Statistics of batch norms are computed from ``data``, if given: those of the model belong to other weights.
    """
    averaged = max(1, 1 + epoch - (trainer.recipe.epochs - trainer.recipe.swa))
    move_average(trainer, 1 / averaged)
    if data and averaged > 1:
        update_statistics(trainer, islice(data.training(epoch), STATISTICS_BATCHES))


def move_average(trainer: Trainer, weight: float) -> None:
    """Move the averaged weights and statistics towards the model's by the fraction ``weight`` of the difference."""
    new = [t for t in trainer.model.state_dict().values() if t.is_floating_point()]
    old = [t for t in trainer.averaged.state_dict().values() if t.is_floating_point()]
    torch._foreach_lerp_(old, new, weight)


def update_statistics(trainer: Trainer, batches: Iterable[Batch]) -> None:
    """Give the averaged network's batch norms the mean statistics of ``batches``, except where they are frozen."""
    training_mode(trainer.averaged, trainer.recipe)
    norms = [m for m in trainer.averaged.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None                       # the mean of all batches
    if norms:
        for images, targets in batches:
            forward(trainer, trainer.averaged, images, targets)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def validate(trainer: Trainer, data: Batches) -> tuple[float, float, float]:
    """Return top-1 (a fraction) and mean cross-entropy of the averaged weights on the test images of all ranks.

    The third value is ``top1_flip`` (see ``Epoch``). Raises TrainingError if the loss is not finite: the weights of the
    last step are not, which no later step of training would tell.
    """
    trainer.averaged.eval()
    correct = flip_correct = count = 0
    loss = 0.0
    for images, targets in data.test():
        logits, targets = forward(trainer, trainer.averaged, images, targets)
        loss += F.cross_entropy(logits.float(), targets, reduction="sum").item()
        correct += int((logits.argmax(1) == targets).sum())
        count += len(targets)
        if trainer.recipe.flip_evaluation:
            logits = logits + forward(trainer, trainer.averaged, images.flip(3), targets)[0]
            flip_correct += int((logits.argmax(1) == targets).sum())
    sums = zip(*trainer.group.gather((correct, count, loss, flip_correct)), strict=True)
    correct, count, loss, flip_correct = map(sum, sums)
    if not math.isfinite(loss):
        problem = f"the loss of the images that are not trained on became {loss}"
        raise TrainingError(problem, hint="try a lower learning_rate; the last checkpoint is the one before it")
    return correct / count, loss / count, flip_correct / count if trainer.recipe.flip_evaluation else math.nan
