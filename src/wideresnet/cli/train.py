"""``wrn train``"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.checks import check_unused
from wideresnet.cli.options import Alpha, Cache, Format, TextOrJson, Where
from wideresnet.cli.output import (
    check_targets,
    list_failures,
    locate,
    print_json,
    say_skipped,
)
from wideresnet.cli.streams import print_lines, say
from wideresnet.cli.training import follow_run, parse_changes
from wideresnet.errors import ConfigError, WrnError

if TYPE_CHECKING:
    from wideresnet.tasks.train.train import Event, Group
    from wideresnet.training.recipe import Recipe


# Data sets that are not downloaded.
YOURS = {"folder": "your own class folders", "svhn": "SVHN's three .mat files"}

Data = Annotated[
    Path | None, typer.Option(help="A folder with train/ and val/, or the archive of CIFAR (downloaded) or SVHN.")
]
Run = Annotated[Path | None, typer.Option("--output", "-o", help="Run folder [runs/RECIPE].")]
Change = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: key=value; repeatable.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Measure a few steps, print schedule, time and memory; do not train.")
]
Tensorboard = Annotated[
    bool, typer.Option("--tensorboard", help="Also write curves to RUN/tensorboard (extra tensorboard).")
]


def train(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A TOML file; see recipes/.")],
    data: Data = None,
    output: Run = None,
    change: Change = None,
    dry_run: DryRun = False,
    tensorboard: Tensorboard = False,
    alpha: Alpha = None,
    cache: Cache = None,
    device: Where = "auto",
    format: Format = "table",
) -> None:
    """Train on CIFAR, SVHN or class folders. The same command continues an interrupted run after its last epoch.

    Example: wrn train recipes/wrn-16-4-cifar10-short.toml

    Example: wrn train recipes/wrn-16-4-cifar10-short.toml --data cifar/ --set seed=1 -o runs/seed1

    Example: wrn train recipes/paper-cifar.toml --set data=cifar100 --set dropout=0.3 --dry-run

    Example: wrn train recipes/paper-imagenet.toml --data imagenet/ --cache /scratch/decoded
    """
    from wideresnet.tasks.train.train import check_cache, join, read_recipe

    with join(device) as group, _errors_of_rank0(group):
        with group.raise_on_all_ranks():
            changes = parse_changes(change) | ({"alpha": alpha} if alpha else {})
            settings = read_recipe(recipe, changes)
            if data is None and settings.data in YOURS and not dry_run:
                message = f"{recipe} trains on {YOURS[settings.data]}"
                raise ConfigError(message, hint="name the folder with --data FOLDER")
            check_cache(settings, cache)
            check_unused(context, dry_run, "with --dry-run, which writes nothing", "output", "tensorboard")
            named = dry_run and settings.data != "folder"
            check_unused(context, named, f"with --dry-run: how many images {settings.data} has is known", "data")
        if not dry_run:
            _train(settings, data, output or Path("runs") / recipe.stem, group, cache, tensorboard, format)
        elif group.is_rank0:
            _print_plan(settings, data, cache is not None, group.device, format)


def _train(
    settings: Recipe, data: Path | None, run: Path, group: Group, cache: Path | None, tensorboard: bool,
    format: TextOrJson,
) -> None:  # fmt: skip
    from wideresnet.records import map_events
    from wideresnet.tasks.train.train import run_training
    from wideresnet.training.memory import keep_memory

    keep_memory()
    with group.raise_on_all_ranks():
        if group.is_rank0:
            check_targets(folders=[run])
        source = locate(data or Path(settings.data), instead="name your own copy with --data FILE")
        events = run_training(settings, source, run, group, cache)
        if tensorboard and group.is_rank0:
            from wideresnet.tasks.train.tensorboard import with_curves

            events = with_curves(events, run / "tensorboard")
    if not group.is_rank0:
        deque(events, maxlen=0)
        return
    try:
        images = follow_run(map_events(events, _report_data), lines=format == "table", unit="steps")
    except KeyboardInterrupt:
        say(f"stopped; the same command continues after the last complete epoch in {run}", err=True)
        raise typer.Exit(130) from None
    if format == "json":
        last = json.loads((run / "log.jsonl").read_text("utf-8").splitlines()[-1])     # of a run finished before, too
        document = {"run": str(run), "epochs": last["epoch"] + 1, "top1": 100 * last["top1"]}
        print_json({**document, "failures": len(images.failures), "skipped": asdict(images.skipped)})
    elif settings.whitening == "none":
        say(f"{run / 'model.safetensors'}: 'wrn export -m' makes a bundle of it")
    # torchrun would take it for a crash, and start a finished run again.
    if images.failures and group.size == 1:
        raise typer.Exit(1)


@contextmanager
def _errors_of_rank0(group: Group) -> Iterator[None]:
    """Let rank 0 report errors; the other processes exit silently with the same code."""
    try:
        yield
    except (WrnError, KeyboardInterrupt) as error:
        if group.is_rank0:
            raise
        raise typer.Exit(2 if isinstance(error, WrnError) else 130) from None


def _print_plan(settings: Recipe, data: Path | None, cached: bool, device: str, format: TextOrJson) -> None:
    from wideresnet.report import plan as plan_report
    from wideresnet.tasks.train.plan import plan_training
    from wideresnet.training.memory import keep_memory

    keep_memory()
    plan = plan_training(settings, data, cached=cached, device=device)
    if format == "json":
        print_json(plan_report.to_json(plan))
    else:
        print_lines(plan_report.to_text(plan))
    say_skipped([plan.skipped], plan.data)


def _report_data(event: Event) -> Event:
    """List the unreadable and skipped files of the data set at once; show steps as progress."""
    from wideresnet.tasks.train.train import Images, Progress, Step

    if isinstance(event, Images):
        list_failures(event.failures)
        say_skipped([event.skipped], event.name)
    return Progress("training", event.step, event.steps) if isinstance(event, Step) else event
