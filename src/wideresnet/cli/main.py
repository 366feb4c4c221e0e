"""The command ``wrn``, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from wideresnet.cli.bench import bench
from wideresnet.cli.calibrate import calibrate
from wideresnet.cli.cascade import cascade
from wideresnet.cli.classify import classify
from wideresnet.cli.compare import compare
from wideresnet.cli.compile import compile as compile_command
from wideresnet.cli.data import data
from wideresnet.cli.embed import embed
from wideresnet.cli.evaluate import evaluate
from wideresnet.cli.explain import explain
from wideresnet.cli.export import export
from wideresnet.cli.finetune import finetune
from wideresnet.cli.help import Command, Group
from wideresnet.cli.identify import identify
from wideresnet.cli.info import info
from wideresnet.cli.merge import merge
from wideresnet.cli.models import models
from wideresnet.cli.output import held
from wideresnet.cli.recommend import recommend
from wideresnet.cli.serve import PREFIX, serve
from wideresnet.cli.streams import ReaderGone, check_output, drop_unwritten, open_streams, say
from wideresnet.cli.train import train
from wideresnet.errors import OutputError, WrnError
from wideresnet.precision import precision_name

PIPE = 128 + 13                                    # as for a process that SIGPIPE ends

app = typer.Typer(
    name="wrn",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,                         # which takes text in brackets for markup
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": precision_name},
)
for command in (
    models, info, identify, classify, evaluate, merge, compare, explain, embed, export, calibrate, compile_command,
    cascade, recommend, bench, train, finetune,
):
    app.command(cls=Command)(command)
app.command(cls=Command, context_settings={"auto_envvar_prefix": PREFIX})(serve)
app.add_typer(data)


def _show_version(version: bool) -> None:
    if version:
        from wideresnet import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Wide ResNets from weights to labels.

    Exit codes: 0 success, 1 some images failed, 2 error, 130 interrupted (Ctrl-C), 141 the reader of the output has
    ended.
    """
    if context.invoked_subcommand not in ("classify", "serve"):        # which may write to files or nothing
        check_output()


def run() -> None:
    """Run the command line. A WrnError is two lines on stderr and exit code 2, and so is an OSError of a file.

    Other exceptions are bugs.
    """
    open_streams()
    try:
        _run_app()
    except WrnError as error:
        sys.exit(_exit_code(error))
    except OSError as error:
        if error.filename is None:
            raise
        reason = f"cannot use {error.filename}: {error.strerror}"
        sys.exit(_exit_code(WrnError(reason, hint="check the permissions, and the spelling of the path")))
    finally:
        held.close()
        drop_unwritten()


def _run_app() -> None:
    """Run ``app()`` and flush its output."""
    try:
        app()
    except SystemExit as stop:
        # typer turns it into a silent exit code 1, even for a pipe to a child process.
        if isinstance(stop.__context__, BrokenPipeError):
            raise stop.__context__ from None
        sys.stdout.flush()
        sys.stderr.flush()
        raise


def _exit_code(error: WrnError) -> int:
    """Print ``error`` if somebody can read it; return its exit code."""
    try:
        if not isinstance(error, ReaderGone):
            say(f"error: {error.message}", err=True)
            if error.hint:
                say(f"hint:  {error.hint}", err=True)
            return 2
    except OutputError as output_error:
        error = output_error
    return PIPE if isinstance(error, ReaderGone) else 2
