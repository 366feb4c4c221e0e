"""Conventions that may fit a weights file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fit:
    """One candidate: a normalisation by name, fields of the variant, and how well they fit."""

    normalise: str                                 # a name of datasets.statistics.NORMALISATIONS, or "file"
    variant: dict[str, Any]
    mismatch: float                                # of the norms' statistics; 0: as in training
    accuracy: float | None = None                  # top-1 in [0, 1]; None without labels


@dataclass(frozen=True)
class Identification:
    """The candidates for a weights file, best first, tried on ``n`` images."""

    file: str
    n: int
    labelled: bool
    fits: tuple[Fit, ...]
