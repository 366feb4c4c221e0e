"""Evaluations of parts of a data set -> that of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add

from wideresnet.errors import DataError
from wideresnet.records import Conditions, EvalReport


def merge(reports: Mapping[str, EvalReport]) -> EvalReport:
    """The sum of reports by the names of their files, each over another shard of one data set.

    Shards may be missing: see ``missing``. Raises DataError when two do not belong together: another model,
    transform, runtime, precision or data set, or the same shard twice.
    """
    names = list(reports)
    for name in names[1:]:
        _refuse_others(names[0], reports[names[0]], name, reports[name])
    for place, name in enumerate(names):
        for other in names[:place]:
            both = set(_shards(reports[name])) & set(_shards(reports[other]))
            if both or not _shards(reports[name]) or not _shards(reports[other]):
                what = f"shard {', '.join(sorted(both))}" if both else "the whole data set"
                raise DataError(f"{other} and {name} are both of {what}", hint="every image may be counted once")
    return reduce(add, reports.values())


def missing(report: EvalReport) -> Sequence[str]:
    """The shards that the report lacks of the whole data set."""
    have = _shards(report)
    if not have:
        return ()
    count = int(have[0].split("/")[1])
    return [shard for shard in (f"{i}/{count}" for i in range(1, count + 1)) if shard not in have]


def _shards(report: EvalReport) -> tuple[str, ...]:
    return report.conditions.shards if report.conditions else ()


def _refuse_others(name: str, first: EvalReport, other_name: str, other: EvalReport) -> None:
    for what, one, two in zip(_IDENTITY, _identity(first), _identity(other), strict=True):
        if one != two:
            raise DataError(
                f"{name} and {other_name} do not add up: the {what} is {one!r} in one and {two!r} in the other",
                hint="merge shards of one evaluation: the same model, data and precision",
            )


_IDENTITY = (
    "model", "weights' sha256", "graph's sha256", "transform", "runtime", "precision", "data", "data's sha256",
    "number of images", "number of shards",
)  # fmt: skip


def _identity(report: EvalReport) -> tuple[object, ...]:
    """What must be the same in all parts, by ``_IDENTITY``."""
    conditions, engine = report.conditions, report.engine
    ran = (engine.runtime, engine.precision) if engine else (None, None)
    if conditions is None:
        return (report.model, None, None, None, *ran, report.data, None, None, None)
    return (
        report.model, conditions.weights_sha256, conditions.graph_sha256, conditions.preprocess, *ran,
        report.data, conditions.data_sha256, conditions.pictures, _count(conditions),
    )  # fmt: skip


def _count(conditions: Conditions) -> str:
    return conditions.shards[0].split("/")[1] if conditions.shards else "1"
