"""``wrn train``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.options import Format, TextOrJson
from wideresnet.cli.output import locate, print_json, progress
from wideresnet.errors import ConfigError

if TYPE_CHECKING:
    from wideresnet.tasks.train import Epoch, Pictures


def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML file; see recipes/.")],
    data: Annotated[
        Path | None,
        typer.Option(help="A folder with train/ and val/, or the CIFAR archive (downloaded once if left out)."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder [runs/RECIPE].")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="key=value over the recipe; repeatable.")
    ] = None,
    format: Format = TextOrJson.table,
) -> None:
    """Train on CIFAR or on class folders. Interrupt it at any time; the same command goes on from the last whole epoch.

    Example: wrn train recipes/wrn-16-4-cifar10-short.toml

    Example: wrn train recipes/wrn-16-4-cifar10-short.toml --data cifar/ --set seed=1 -o runs/seed1

    Example: wrn train recipes/wide-resnet14-2-imagenette.toml --data imagenette/
    """
    from wideresnet.tasks.train import Pictures, Step, read_recipe, run_training

    settings = read_recipe(recipe, dict(map(_pair, change or [])))
    if data is None and settings.data == "folder":
        raise ConfigError(f"{recipe} trains on class folders of yours", hint="name the folder with --data FOLDER")
    source = locate(data or Path(settings.data))
    run = output or Path("runs") / recipe.stem
    last, failures = None, 0
    try:
        with progress("steps") as bars:
            task = bars.add_task("reading pictures", total=None)
            for event in run_training(settings, source, run):
                if isinstance(event, Step):
                    bars.update(task, description="training", completed=event.step, total=event.steps)
                    continue
                if isinstance(event, Pictures):
                    failures = _list_failures(event)
                else:
                    last = event
                if format is TextOrJson.table:
                    bars.console.print(_line(event))
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on from the last whole epoch in {run}", err=True)
        raise typer.Exit(130) from None
    if format is TextOrJson.json:
        print_json({"run": str(run), "epochs": settings.epochs, "top1": 100 * last.top1 if last else None})
    else:
        typer.echo(f"{run / 'model.safetensors'}: 'wrn export -m' makes a bundle of it")
    if failures:
        raise typer.Exit(1)


def _pair(change: str) -> tuple[str, str]:
    key, sign, value = change.partition("=")
    if not sign:
        raise ConfigError(f"--set takes key=value, got {change!r}")
    return key.strip(), value.strip()


def _line(event: Pictures | Epoch) -> str:
    from wideresnet.tasks.train import Epoch

    if isinstance(event, Epoch):
        top1 = "" if event.top1 != event.top1 else f"  top-1 {100 * event.top1:.2f} %"
        return f"epoch {event.epoch + 1:3d}  loss {event.loss:.4f}{top1}  {event.seconds:.0f} s"
    classes = len(event.labels.names)
    return f"{event.name}: {event.train} pictures of {classes} classes to train on, {event.test} to test"


def _list_failures(pictures: Pictures) -> int:
    """Every picture that could not be read, on stderr; how many there are."""
    from wideresnet.report import text

    for failure in pictures.failures:
        typer.echo(text.of_failure(failure), err=True)
    return len(pictures.failures)
