"""Completion of names by the Tab key; nothing heavy is imported."""

from __future__ import annotations


def model_names(incomplete: str) -> list[str]:
    """Return the models with weights whose name begins with ``incomplete``, which may be NAME=MODEL."""
    from wideresnet.cli.options import MODEL
    from wideresnet.serve.versions import split_alias
    from wideresnet.weights.catalogue import CATALOGUE

    _, begun = split_alias(incomplete)
    return [incomplete.removesuffix(begun) + name for name in (MODEL, *CATALOGUE) if name.startswith(begun)]


def recipe_names(incomplete: str) -> list[str]:
    """Return the recipes of this package whose name begins with ``incomplete``."""
    from wideresnet.training.recipe import RECIPES

    return sorted(path.stem for path in RECIPES.glob(f"{incomplete}*.toml"))
