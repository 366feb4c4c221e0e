"""What a long task is at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """So many done of a total; 0: nobody knows how many there are."""

    what: str
    done: int
    total: int
