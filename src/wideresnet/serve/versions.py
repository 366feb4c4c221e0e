"""Names of models: "NAME", or "NAME/2" for the numbered version 2 of NAME; as an option "NAME=MODEL"."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeVar

Model = TypeVar("Model")

VERSION = "1"                                      # of a model without numbered versions; a new graph is a reload


def split_alias(choice: str) -> tuple[str, str]:
    """Return alias and model of ALIAS=MODEL; the alias is "" of a model alone, such as runs/lr=0.1/bundle or lr=0.1."""
    alias, equals, model = choice.partition("=")
    return (alias, model) if equals and "/" not in alias and not os.path.exists(choice) else ("", choice)


def split_name(name: str) -> tuple[str, str]:
    """Return the name without its version, and the version."""
    model, _, version = name.partition("/")
    return model, version or VERSION


def name_and_version(name: str) -> dict[str, str]:
    """Return the members that name a model in the Open Inference Protocol."""
    model, version = split_name(name)
    return {"name": model, "version": version}


def group_versions(models: Mapping[str, Model]) -> dict[str, dict[str, Model]]:
    """Return the versions of each model, in the order of ``models``: the first is the model's default."""
    groups: dict[str, dict[str, Model]] = {}
    for name, model in models.items():
        base, version = split_name(name)
        groups.setdefault(base, {})[version] = model
    return groups
