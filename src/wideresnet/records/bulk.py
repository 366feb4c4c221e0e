"""Results of bulk runs on a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field

from wideresnet.records.accuracy import EngineInfo
from wideresnet.records.images import Failure
from wideresnet.records.skipped import Skipped


@dataclass(frozen=True)
class ShardDone:
    """One shard of a bulk run: answered and written, or (``error``) neither.

    ``attempt`` counts from 1: later ones mean that something ended an earlier one. ``crashed`` is how many of the
    ``failures`` end the process that decodes them.
    """

    number: int
    pictures: int = 0
    failures: int = 0
    seconds: float = 0.0
    node: str = ""                                 # Ray's id of it
    host: str = ""
    engine: EngineInfo | None = None
    attempt: int = 1
    crashed: int = 0
    error: str = ""
    hint: str = ""


@dataclass(frozen=True)
class BulkReport:
    """A bulk run whose every shard is written. ``kept`` shards were there before it began."""

    output: str
    model: str
    pictures: int
    shards: int
    kept: int
    seconds: float                                 # of this run
    engines: tuple[EngineInfo, ...]
    failures: tuple[Failure, ...] = ()
    shards_of_host: dict[str, int] = field(default_factory=dict)
    again: int = 0                                 # shards that took more than one attempt
    avoided: dict[str, str] = field(default_factory=dict)      # nodes left out, and why
    assumed: tuple[str, ...] = ()                  # of the model, as on its card
    skipped: Skipped = field(default_factory=Skipped)
