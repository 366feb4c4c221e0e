"""``wrn train``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wideresnet.cli.options import Format, TextOrJson
from wideresnet.cli.output import locate, print_json, progress
from wideresnet.errors import ConfigError


def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML file; see recipes/.")],
    data: Annotated[
        Path | None, typer.Option(help="The recipe's archive or its folder; without it, downloaded once.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run folder [runs/RECIPE].")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="key=value over the recipe; repeatable.")
    ] = None,
    format: Format = TextOrJson.table,
) -> None:
    """Train on CIFAR. Interrupt it at any time; the same command goes on from the last whole epoch.

    Example: wrn train recipes/wrn-16-4-cifar10-short.toml

    Example: wrn train recipes/wrn-16-4-cifar10-short.toml --data cifar/ --set seed=1 -o runs/seed1
    """
    from wideresnet.tasks.train import Epoch, read_recipe, run_training

    settings = read_recipe(recipe, dict(map(_pair, change or [])))
    archive = locate(data or Path(settings.data))
    run = output or Path("runs") / recipe.stem
    last = None
    try:
        with progress("steps") as bars:
            task = bars.add_task("training", total=None)
            for event in run_training(settings, archive, run):
                if isinstance(event, Epoch):
                    last = event
                    if format is TextOrJson.table:
                        bars.console.print(_line(event))
                else:
                    bars.update(task, completed=event.step, total=event.steps)
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command goes on from the last whole epoch in {run}", err=True)
        raise typer.Exit(130) from None
    if format is TextOrJson.json:
        print_json({"run": str(run), "epochs": settings.epochs, "top1": 100 * last.top1 if last else None})
    else:
        typer.echo(f"{run / 'model.safetensors'}: 'wrn export -m' makes a bundle of it")


def _pair(change: str) -> tuple[str, str]:
    key, sign, value = change.partition("=")
    if not sign:
        raise ConfigError(f"--set takes key=value, got {change!r}")
    return key.strip(), value.strip()


def _line(event: object) -> str:
    from wideresnet.tasks.train import Epoch

    assert isinstance(event, Epoch)
    top1 = "" if event.top1 != event.top1 else f"  top-1 {100 * event.top1:.2f} %"
    return f"epoch {event.epoch + 1:3d}  loss {event.loss:.4f}{top1}  {event.seconds:.0f} s"
