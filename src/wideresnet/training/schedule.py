"""The learning rate at each step."""

from __future__ import annotations

from wideresnet.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate of step ``step`` (from 0) of a run of ``recipe.epochs`` × ``steps_per_epoch`` steps."""
    if recipe.schedule == "steps":
        passed = sum(step // steps_per_epoch >= milestone for milestone in recipe.milestones)
        return recipe.learning_rate * recipe.decay**passed
    total = recipe.epochs * steps_per_epoch
    top = recipe.warmup * total
    # The middle of the step, so that neither the first nor the last one has rate 0.
    now = step + 0.5
    return recipe.learning_rate * (now / top if now < top else (total - now) / (total - top))
