"""The schedule of a run: steps per epoch and the learning rate at each step."""

from __future__ import annotations

import math

from wideresnet.errors import TrainingError
from wideresnet.training.recipe import Recipe


def count_steps(recipe: Recipe, images: int) -> int:
    """Return the steps per epoch with ``images`` training images. Raises TrainingError if they do not fill a batch."""
    if images < recipe.batch_size:
        problem = f"{images} training images do not fill one batch of {recipe.batch_size}"
        raise TrainingError(problem, hint="choose a smaller batch_size")
    return images // recipe.batch_size


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the rate of step ``step`` (from 0) of a run of ``recipe.epochs`` × ``steps_per_epoch`` steps."""
    lowest = recipe.swa_rate if recipe.swa else 0.0
    if recipe.schedule == "steps":
        passed = sum(step // steps_per_epoch >= milestone for milestone in recipe.milestones)
        return recipe.learning_rate * max(recipe.decay**passed, lowest)
    total = recipe.epochs * steps_per_epoch
    top = recipe.warmup * total
    # The middle of the step, so that neither the first nor the last step has rate 0.
    now = step + 0.5
    if now < top:
        return recipe.learning_rate * (now / top)
    factor = (total - now) / (total - top)
    if recipe.schedule == "cosine":
        factor = (1 - math.cos(math.pi * factor)) / 2
    return recipe.learning_rate * max(factor, lowest)
