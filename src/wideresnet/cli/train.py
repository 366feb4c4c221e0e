"""``wrn train``"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from wideresnet.cli.checks import check_unused
from wideresnet.cli.complete import recipe_names
from wideresnet.cli.options import Alpha, Cache, Change, Format, TextOrJson, Where
from wideresnet.cli.output import check_targets, locate, print_json, print_record, say_next, say_skipped
from wideresnet.cli.progress import waiting
from wideresnet.cli.streams import say
from wideresnet.cli.training import errors_of_rank0, follow_run, list_problems_of_data, parse_changes, say_unreached
from wideresnet.errors import ConfigError, check_extra

if TYPE_CHECKING:
    from wideresnet.cli.training import RunEvent
    from wideresnet.records import Images
    from wideresnet.tasks.train.train import Group
    from wideresnet.training.recipe import Recipe

Report = TypeVar("Report")

YOURS = {"folder": "your own class folders", "svhn": "SVHN's three .mat files"}    # data that is not downloaded

Run = Annotated[Path | None, typer.Option("--output", "-o", help="Run folder.", show_default="runs/RECIPE")]


def train(
    context: typer.Context,
    recipe: Annotated[
        Path | None, typer.Argument(help="The name of a recipe (--list), or a TOML file.", autocompletion=recipe_names)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A folder with train/ and val/, or the archive of CIFAR (downloaded) or SVHN.")
    ] = None,
    output: Run = None,
    change: Change = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=2, help="Train N runs in RUN/seed-…, counting up from the recipe's seed; report the mean."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure a few steps, print schedule, time and memory; do not train.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write curves to RUN/tensorboard (extra tensorboard).")
    ] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the recipes of this package; do not train.")] = False,
    alpha: Alpha = None,
    cache: Cache = None,
    device: Where = "auto",
    format: Format = "table",
) -> None:
    """Train on CIFAR, SVHN or class folders. The same command continues an interrupted run after its last epoch.

    Example: wrn train wrn-16-4-cifar10-short

    Example: wrn train wrn-16-4-cifar10-short --data cifar/ --set seed=1 -o runs/seed1

    Example: wrn train wrn-16-1-cifar10-short --seeds 3

    Example: wrn train paper-cifar --set data=cifar100 --set dropout=0.3 --dry-run

    Example: wrn train paper-imagenet --data imagenet/ --cache /scratch/decoded
    """
    if list_all:
        return _list_recipes(context, format)
    if recipe is None:
        raise ConfigError("no recipe", hint="'wrn train --list' lists them")
    from wideresnet.tasks.train.train import check_start, join, read_recipe
    from wideresnet.training.memory import keep_memory

    with join(device) as group, errors_of_rank0(group):
        with group.raise_on_all_ranks():
            settings = read_recipe(recipe, parse_changes(change, {"alpha": alpha}))
            if data is None and settings.data in YOURS and not dry_run:
                raise ConfigError(f"{recipe} trains on {YOURS[settings.data]}", "name the folder with --data FOLDER")
            check_start(settings, cache)
            check_unused(context, dry_run, "with --dry-run, which writes nothing", "output", "tensorboard")
            check_unused(context, seeds is not None, "with --seeds: train one run of each seed for it", "tensorboard")
            if tensorboard:
                check_extra("writing for TensorBoard", "tensorboard", "tensorboard")
        keep_memory()
        run = output or Path("runs") / recipe.stem
        if group.is_rank0:
            say_unreached(settings.epochs, settings.sizes, settings.teacher_views)
        if dry_run:
            if group.is_rank0:
                _print_plan(settings, data, cache is not None, group.device, seeds or 1, format)
        elif seeds is not None:
            _train_seeds(settings, seeds, data, run, group, cache, format)
        else:
            _train(settings, data, run, group, cache, tensorboard, format)


def _list_recipes(context: typer.Context, format: TextOrJson) -> None:
    from wideresnet.report import recipes
    from wideresnet.training.recipe import list_recipes

    names = {parameter.name or "" for parameter in context.command.params} - {"list_all", "format"}
    check_unused(context, True, "with --list", *names)
    print_record(list_recipes(), recipes.to_json, recipes.to_text, format)


def _train(
    settings: Recipe, data: Path | None, run: Path, group: Group, cache: Path | None, tensorboard: bool,
    format: TextOrJson,
) -> None:  # fmt: skip
    from wideresnet.report import training as training_report
    from wideresnet.tasks.train.train import run_training

    with group.raise_on_all_ranks():
        events = run_training(settings, _open_source(settings, data, run, group), run, group, cache)
        if tensorboard and group.is_rank0:
            from wideresnet.tasks.train.tensorboard import with_curves

            events = with_curves(events, run / "tensorboard")
    images = _follow(settings, events, run, group, format)
    if images is None:
        return
    if format == "json":
        print_json(training_report.to_json(str(run), (run / "log.jsonl").read_text("utf-8"), images))
    elif settings.whitening == "none":
        weights = run / "model.safetensors"
        say(f"{weights}: the weights of the last epoch")
        say_next(("evaluate", data or settings.data, "-m", weights), ("export", "-m", weights, "-o", run / "bundle"))
    _end(images, group)


def _train_seeds(
    settings: Recipe, seeds: int, data: Path | None, run: Path, group: Group, cache: Path | None, format: TextOrJson
) -> None:
    from wideresnet.report import seeds as seeds_report
    from wideresnet.tasks.train.seeds import train_seeds

    with group.raise_on_all_ranks():
        events = train_seeds(settings, seeds, _open_source(settings, data, run, group), run, group, cache)
    report = _follow(settings, events, run, group, format)
    if report is None:
        return
    print_record(report, seeds_report.to_json, seeds_report.to_text, format)
    if format == "table":
        say(f"{run / 'seeds.html'}: the curves of all seeds")
    _end(report.images, group)


def _open_source(settings: Recipe, data: Path | None, run: Path, group: Group) -> Path:
    """Lock the run folder and return the path of the data."""
    check_targets(folders=[run] if group.is_rank0 else ())
    return locate(data or Path(settings.data), instead="name your own copy with --data FILE")


def _follow(
    settings: Recipe, events: Generator[RunEvent, None, Report], run: Path, group: Group, format: TextOrJson
) -> Report | None:
    """Run a training to its end; return its result on rank 0, which alone shows it, None on the others."""
    from wideresnet.records import follow, map_events

    if not group.is_rank0:
        follow(events)
        return None
    events = map_events(events, list_problems_of_data)
    stopped = f"the same command continues after the last complete epoch in {run}"
    purpose = "validation" if settings.data == "folder" else "testing"         # the official test set decides nothing
    return follow_run(events, stopped, lines=format == "table", unit="steps", purpose=purpose)


def _end(images: Images, group: Group) -> None:
    if images.failures and group.size == 1:        # torchrun would start a finished run again
        raise typer.Exit(1)


def _print_plan(
    settings: Recipe, data: Path | None, cached: bool, device: str, runs: int, format: TextOrJson
) -> None:
    from wideresnet.report import plan as plan_report
    from wideresnet.tasks.train.plan import plan_training
    from wideresnet.tasks.train.train import Group

    with waiting("measuring steps"):
        plan = plan_training(settings, data and locate(data), cached=cached, group=Group(device=device))
    plan = replace(plan, runs=runs)
    print_record(plan, plan_report.to_json, plan_report.to_text, format)
    say_skipped(plan.skipped, plan.data)
