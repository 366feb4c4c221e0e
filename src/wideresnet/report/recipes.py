"""The recipes of this package as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from wideresnet.records import RecipeInfo
from wideresnet.report.formats import json_percent, text_table


def to_json(recipes: Sequence[RecipeInfo]) -> list[dict[str, Any]]:
    """Return the recipes as JSON values; accuracies are in percent."""
    return [{**asdict(recipe), "top1": recipe.top1 and json_percent(recipe.top1)} for recipe in recipes]


def to_text(recipes: Sequence[RecipeInfo]) -> str:
    """Return one row of text a recipe."""
    rows = [
        (recipe.name, recipe.architecture, recipe.data, str(recipe.epochs),
         f"{100 * recipe.top1:.2f} %" if recipe.top1 else "not measured")
        for recipe in recipes
    ]  # fmt: skip
    return text_table([("recipe", "network", "data", "epochs", "top-1"), *rows], right={3})
