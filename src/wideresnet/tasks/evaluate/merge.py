"""Merging of the evaluations of a data set's shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from itertools import combinations
from operator import add

from wideresnet.errors import DataError
from wideresnet.records import EvalReport, RunIdentity


def merge(reports: Mapping[str, EvalReport]) -> EvalReport:
    """Return the sum of reports, by file name, each over another shard of one data set.

    Shards may be missing: see ``missing``. Raises DataError if two reports do not belong together: another model,
    preprocessing, runtime, precision or data set, or the same shard twice.
    """
    names = list(reports)
    identity = _identity(reports[names[0]]).as_json()
    for name in names[1:]:
        for change in _identity(reports[name]).differences(identity):
            raise DataError(
                f"{names[0]} and {name} do not add up: the {change.key} is {change.earlier!r} in one"
                f" and {change.now!r} in the other",
                hint="merge shards of one evaluation: the same model, data and precision",
            )
    for first, second in combinations(names, 2):
        shards_a, shards_b = _shards(reports[first]), _shards(reports[second])
        common = set(shards_a) & set(shards_b)
        if common or not shards_a or not shards_b:
            counted = f"shard {', '.join(sorted(common))}" if common else "the complete data set"
            raise DataError(f"{first} and {second} are both of {counted}", hint="give each image in one file only")
    return reduce(add, reports.values())


def missing(report: EvalReport) -> Sequence[str]:
    """Return the shards of the data set that are not in the report."""
    shards = _shards(report)
    if not shards:
        return ()
    count = int(shards[0].split("/")[1])
    return [shard for shard in (f"{i}/{count}" for i in range(1, count + 1)) if shard not in shards]


def _shards(report: EvalReport) -> tuple[str, ...]:
    return report.conditions.shards if report.conditions else ()


def _identity(report: EvalReport) -> RunIdentity:
    """Return the values that must be the same in all parts."""
    conditions, engine = report.conditions, report.engine
    values: dict[str, object] = {"model": report.model, "data": report.data}
    if model := report.uncertainty:
        coverage = f"{100 * model.sets.level:g} %" if model.sets else "not asked for"
        values |= {"calibration": model.calibration, "coverage": coverage}
    if engine:
        values |= {"runtime": engine.runtime, "precision": engine.precision}
    if conditions:
        values |= {
            "weights' sha256": conditions.weights_sha256, "graph's sha256": conditions.graph_sha256,
            "transform": asdict(conditions.preprocess), "EXIF orientation": conditions.exif,
            "data's sha256": conditions.data_sha256, "number of images": conditions.pictures,
            "number of shards": conditions.shards[0].split("/")[1] if conditions.shards else "1",
        }  # fmt: skip
    return RunIdentity(values)
