"""``wrn train``"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.checks import refuse_idle
from wideresnet.cli.options import Alpha, Cache, Device, Format, TextOrJson, Where
from wideresnet.cli.output import (
    check_targets,
    list_failures,
    locate,
    print_json,
    progress_bars,
    say_skipped,
    update_bar,
)
from wideresnet.cli.streams import print_lines, say
from wideresnet.errors import ConfigError, WrnError
from wideresnet.report.escape import printable

if TYPE_CHECKING:
    from wideresnet.tasks.train.train import Epoch, Event, Group, Images
    from wideresnet.training.recipe import Recipe


# What is not downloaded.
YOURS = {"folder": "class folders of yours", "svhn": "SVHN's three .mat files"}


def train(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="A TOML file; see recipes/.")],
    data: Annotated[
        Path | None,
        typer.Option(help="A folder with train/ and val/, SVHN's, or the CIFAR archive (downloaded if left out)."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder [runs/RECIPE].")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="key=value over the recipe; repeatable.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure a few steps, print schedule, time and memory; train nothing.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write curves to RUN/tensorboard too (extra tensorboard).")
    ] = False,
    alpha: Alpha = None,
    cache: Cache = None,
    device: Where = Device.auto,
    format: Format = TextOrJson.table,
) -> None:
    """Train on CIFAR, SVHN or class folders. Interrupt it at any time; the same command goes on from the last epoch.

    Example: wrn train recipes/wrn-16-4-cifar10-short.toml

    Example: wrn train recipes/wrn-16-4-cifar10-short.toml --data cifar/ --set seed=1 -o runs/seed1

    Example: wrn train recipes/paper-cifar.toml --set data=cifar100 --set dropout=0.3 --dry-run

    Example: wrn train recipes/paper-imagenet.toml --data imagenet/ --cache /scratch/decoded
    """
    from wideresnet.tasks.train.train import check_cache, join, read_recipe

    with join(device.value) as group, _one_voice(group):
        with group.raise_on_all_ranks():
            changes = dict(map(pair, change or [])) | ({"alpha": alpha} if alpha else {})
            settings = read_recipe(recipe, changes)
            if data is None and settings.data in YOURS and not dry_run:
                what = f"{recipe} trains on {YOURS[settings.data]}"
                raise ConfigError(what, hint="name the folder with --data FOLDER")
            check_cache(settings, cache)
            refuse_idle(context, dry_run, "with --dry-run, which writes nothing", "output", "tensorboard")
            named = dry_run and settings.data != "folder"
            refuse_idle(context, named, f"with --dry-run: how many images {settings.data} has is known", "data")
        if not dry_run:
            _train(settings, data, output or Path("runs") / recipe.stem, group, cache, tensorboard, format)
        elif group.is_rank0:
            _print_plan(settings, data, cache is not None, group.device, format)


def _train(
    settings: Recipe, data: Path | None, run: Path, group: Group, cache: Path | None, tensorboard: bool,
    format: TextOrJson,
) -> None:  # fmt: skip
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
        images = _follow(events, format is TextOrJson.table)
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on from the last whole epoch in {run}", err=True)
        raise typer.Exit(130) from None
    if format is TextOrJson.json:
        last = json.loads((run / "log.jsonl").read_text("utf-8").splitlines()[-1])     # of a run finished before, too
        document = {"run": str(run), "epochs": last["epoch"] + 1, "top1": 100 * last["top1"]}
        print_json({**document, "failures": len(images.failures), "skipped": asdict(images.skipped)})
    elif settings.whitening == "none":
        say(f"{run / 'model.safetensors'}: 'wrn export -m' makes a bundle of it")
    # torchrun would take it for a crash, and start a finished run again.
    if images.failures and group.size == 1:
        raise typer.Exit(1)


@contextmanager
def _one_voice(group: Group) -> Iterator[None]:
    """Of several processes the first one speaks for all; the others end with its exit code."""
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
    if format is TextOrJson.json:
        print_json(plan_report.to_json(plan))
    else:
        print_lines(plan_report.to_text(plan))
    say_skipped([plan.skipped], plan.data)


def _follow(events: Generator[Event, None, Images], lines: bool) -> Images:
    """Run the training with a bar and (``lines``) a line an epoch; return the data set that it learnt from."""
    from wideresnet.records import follow
    from wideresnet.tasks.train.train import Images, Progress, Step

    with progress_bars("steps") as bars:
        task = bars.add_task("reading images", total=None)

        def show(event: Event) -> None:
            if isinstance(event, Step):
                event = Progress("training", event.step, event.steps)
            if isinstance(event, Progress):
                update_bar(bars, task, event)
                return
            if isinstance(event, Images):
                list_failures(event.failures)
                say_skipped([event.skipped], event.name)
            if lines:
                bars.console.print(printable(_line(event)))

        return follow(events, show)


def pair(change: str) -> tuple[str, str]:
    """``key=value`` of ``--set``. Raises ConfigError."""
    key, sign, value = change.partition("=")
    if not sign:
        raise ConfigError(f"--set takes key=value, got {change!r}")
    return key.strip(), value.strip()


def _line(event: Images | Epoch) -> str:
    from wideresnet.tasks.train.train import Epoch

    if isinstance(event, Epoch):
        return epoch_line(event)
    classes = len(event.labels.names)
    return f"{event.name}: {event.train} images of {classes} classes to train on, {event.test} to test"


def epoch_line(epoch: Epoch) -> str:
    """What came of an epoch, in a line."""
    top1 = "" if epoch.top1 != epoch.top1 else f"  top-1 {100 * epoch.top1:.2f} %"
    return f"epoch {epoch.epoch + 1:3d}  loss {epoch.loss:.4f}{top1}  {epoch.seconds:.0f} s"
