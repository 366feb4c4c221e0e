"""The command ``wrn`` and the one place where errors become words and exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from wideresnet.cli.bench import bench
from wideresnet.cli.classify import classify
from wideresnet.cli.compare import compare
from wideresnet.cli.compile import compile as compile_command
from wideresnet.cli.data import data
from wideresnet.cli.embed import embed
from wideresnet.cli.evaluate import evaluate
from wideresnet.cli.explain import explain
from wideresnet.cli.export import export
from wideresnet.cli.finetune import finetune
from wideresnet.cli.info import info
from wideresnet.cli.merge import merge
from wideresnet.cli.models import models
from wideresnet.cli.recommend import recommend
from wideresnet.cli.serve import PREFIX, serve
from wideresnet.cli.train import train
from wideresnet.errors import WrnError

app = typer.Typer(
    name="wrn",
    help="Wide ResNets from weights to labels. Exit codes: 0 all well, 1 some pictures failed, 2 an error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
for command in (
    models, info, classify, evaluate, merge, compare, explain, embed, export, compile_command, recommend, bench, train,
    finetune,
):
    app.command()(command)
app.command(context_settings={"auto_envvar_prefix": PREFIX})(serve)
app.add_typer(data)


def _show_version(wanted: bool) -> None:
    if wanted:
        from wideresnet import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Wide ResNets from weights to labels. Exit codes: 0 all well, 1 some pictures failed, 2 an error."""


def run() -> None:
    """Entry point. A WrnError is two lines on stderr and exit code 2; other exceptions are faults of ours."""
    # File names may hold bytes that are no UTF-8; they go out as they came in.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="surrogateescape")
    try:
        _run_app()
    except WrnError as error:
        typer.echo(f"error: {error.message}", err=True)
        if error.hint:
            typer.echo(f"hint:  {error.hint}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        # The reader has gone ('wrn models | head'). Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _run_app() -> None:
    """``app()``, with a reader that has gone as a BrokenPipeError."""
    try:
        app()
    except SystemExit as stop:
        # typer makes exit code 1 of it, which here means that pictures failed.
        if isinstance(stop.__context__, BrokenPipeError):
            raise stop.__context__ from None
        sys.stdout.flush()
        raise
