"""Train a recipe with several seeds, one run folder each.

    RUN/seed-0/, RUN/seed-1/, …     the runs (see ``train``)
    RUN/seeds.json, RUN/seeds.html  the accuracies of those that are finished, their mean and interval; their curves
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path

from wideresnet.errors import ConfigError, needs_extra
from wideresnet.machine import machine_facts
from wideresnet.output.atomic import save_text
from wideresnet.records import Images, SeedRun, SeedsReport
from wideresnet.report import seeds as seeds_report
from wideresnet.report.escape import json_text
from wideresnet.tasks.train.train import RECIPE, SEEDS, Event, read_log, run_training

with needs_extra("training", "train"):
    from wideresnet.training.distributed import SINGLE_PROCESS, Group
    from wideresnet.training.recipe import Recipe


def train_seeds(
    recipe: Recipe, count: int, data: Path, run: Path, group: Group = SINGLE_PROCESS, cache: Path | None = None
) -> Generator[Event | SeedsReport, None, SeedsReport]:
    """Train ``recipe`` with ``count`` seeds, from its own on, or continue; yield a report after each, and return it.

    Finished runs are not trained again. The rest is as in ``run_training``.
    """
    seeds = range(recipe.seed, recipe.seed + count)
    with group.raise_on_all_ranks():
        _check_folder(run, seeds)
    for seed in seeds:
        seeded = recipe.model_copy(update={"seed": seed})
        images = yield from run_training(seeded, data, run / f"seed-{seed}", group, cache)
        finished = seeds[: seed - recipe.seed + 1]
        report = group.broadcast_from_rank0(partial(_write_report, recipe, images, run, finished, count))
        yield report
    return report


def _check_folder(run: Path, seeds: Sequence[int]) -> None:
    """Raise ConfigError for a seed that is too large, and for a folder with runs that the report would leave out."""
    if seeds[-1] >= 2**32:
        raise ConfigError(f"the last seed would be {seeds[-1]}", hint=f"use a seed of at most {2**32 - len(seeds)}")
    requested = {f"seed-{seed}" for seed in seeds}
    if left_out := sorted(path.name for path in run.glob("seed-*") if path.name not in requested):
        hint = "use another run folder, or more --seeds, so that they are included"
        raise ConfigError(f"{run} holds runs of other seeds: {', '.join(left_out[:5])}", hint)
    if (run / RECIPE).exists():
        raise ConfigError(f"{run} holds the run of a single seed", hint="use another run folder")


def _write_report(recipe: Recipe, images: Images, run: Path, seeds: Sequence[int], requested: int) -> SeedsReport:
    runs = tuple(SeedRun(seed, str(folder), read_log(folder)) for seed in seeds for folder in [run / f"seed-{seed}"])
    report = SeedsReport(recipe.architecture, requested, runs, images)
    save_text(run / SEEDS, json_text(seeds_report.to_json(report), indent=1) + "\n")
    conditions = {**recipe.model_dump(mode="json", exclude={"seed"}), **machine_facts()}
    save_text(run / "seeds.html", seeds_report.to_html(report, conditions))
    return report

