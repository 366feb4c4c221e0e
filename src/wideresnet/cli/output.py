"""Output of the commands: JSON on stdout, notes on stderr; models and data opened with a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from wideresnet.cli.progress import download_bar
from wideresnet.cli.streams import print_lines, say
from wideresnet.errors import ConfigError, os_errors_as
from wideresnet.report.escape import json_text

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.datasets.labelled import LabelledData
    from wideresnet.records import Alpha, EngineInfo, Failure, Labels, ModelCard, Skipped
    from wideresnet.tasks.load.load import ModelChoice

Record = TypeVar("Record")

held = ExitStack()                                 # locks of the running command, released by ``main.run``


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    typer.echo(json_text(document, indent=1))


def print_record(
    record: Record, to_json: Callable[[Record], Any], to_text: Callable[[Record], str], format: str
) -> None:
    """Print a record on stdout, as ``to_json`` or ``to_text`` renders it."""
    if format == "json":
        print_json(to_json(record))
    else:
        print_lines(to_text(record))


def check_targets(*files: Path | None, folders: Iterable[Path | None] = ()) -> None:
    """Lock files and folders until the command ends; None is ignored.

    Raises ConfigError if one cannot be written or another process is writing it, before any work.
    """
    from wideresnet.output.atomic import check_file, check_folder

    for file in filter(None, files):
        check_file(file)
        hold(file)
    for folder in filter(None, folders):
        check_folder(folder)
        hold(folder, inside=True)


def hold(output: Path, *, inside: bool = False) -> None:
    """Lock an output until the command ends; see ``lock_output``. Raises ConfigError."""
    from wideresnet.output.lock import lock_output

    with os_errors_as(ConfigError, f"cannot write {output}", hint="name another file or folder"):
        held.enter_context(lock_output(output, command=True, inside=inside))


def hold_bundle(output: Path, *models: str | Path | None) -> None:
    """Lock the folder of a bundle to write. Raises WrnError if it holds other files, or one of the ``models``."""
    from wideresnet.bundle import check_target

    check_target(output, *models)
    hold(output)


def list_failures(failures: Iterable[Failure]) -> None:
    """List the images that could not be read on stderr, each once."""
    from wideresnet.report import answer

    for failure in dict.fromkeys(failures):
        print_lines(answer.to_text(failure), err=True)


def say_skipped(skipped: Skipped, *sources: object) -> None:
    """Report the skipped files of ``sources`` on stderr: one line per note, and one for all files."""
    from wideresnet.images.files import describe_skipped

    names = ", ".join(map(str, sources)) if len(sources) <= 3 else f"{len(sources)} places"
    for line in (*skipped.notes, describe_skipped(skipped, names)):
        if line:
            say(line, err=True)


def list_problems(warnings: Iterable[str], failures: Iterable[Failure], skipped: Skipped, data: object) -> None:
    """List the warnings of a report on ``data``, its unreadable images and its skipped files on stderr."""
    list_notes(warnings, "warning")
    list_failures(failures)
    say_skipped(skipped, data)


def list_notes(notes: Iterable[str], kind: str = "note") -> None:
    """Print every assumption or warning on stderr, once."""
    for note in dict.fromkeys(notes):
        say(f"{kind}: {note}", err=True)


def say_model(card: ModelCard, engine: EngineInfo | str) -> None:
    """Say on stderr which model answers, and by which engine."""
    from wideresnet.report.formats import model_text

    say(model_text(card.name, card.classes, card.preprocess.crop, engine), err=True)


def say_next(*commands: Iterable[str | Path]) -> None:
    """Name on stderr the commands that one would type next."""
    from wideresnet.report.formats import command_text

    for arguments in commands:
        say(f"next: {command_text(list(map(str, arguments)))}", err=True)


def locate(data: Path, instead: str = "") -> Path:
    """Return ``data``, or the official CIFAR archive for "cifar10" or "cifar100"; see ``fetch_archive``."""
    from wideresnet.tasks.load.cifar_archive import locate_data

    with download_bar(str(data)) as show:
        return locate_data(data, show, instead=instead)


def open_data(data: Path, labels: Labels, labels_file: Path | None = None) -> LabelledData:
    """Open the labelled images at ``data`` (see ``locate``)."""
    from wideresnet.datasets.open import open_labelled

    return open_labelled(locate(data), labels, ground_truth=labels_file)


def open_bundle(
    choice: ModelChoice, resolution: int = 0, transform: str | None = None, alpha: Alpha | None = None
) -> Bundle:
    """Load a model, downloaded if need be; report on stderr the full name of a bare one, and assumptions.

    ``resolution`` is the input size in pixels; 0: as on its card. ``transform`` "zoo" is the model zoo's
    preprocessing. ``alpha`` is the treatment of transparent images; None: as on its card.
    """
    from wideresnet.bundle import with_alpha
    from wideresnet.prediction_sets import alpha_notes
    from wideresnet.tasks.load.load import NOTES_OF_CHANGES, assumptions, load_bundle

    with download_bar(choice.name) as show:
        bundle = load_bundle(choice, show)
    if bundle.card.name.startswith(f"{choice.name}."):
        say(f"{choice.name} is {bundle.card.name} here; name a tag to choose another", err=True)
    if bundle.card.assumed:
        say(assumptions(choice.name, bundle.card.assumed), err=True)
    if resolution:
        from wideresnet.bundle.derive import at_resolution

        bundle = at_resolution(bundle, resolution)
    if transform:
        from wideresnet.tasks.zoo.outputs import zoo_transform

        bundle = zoo_transform(bundle)
    if resolution or transform or choice.facts.normalise:
        list_notes(note for name, note in bundle.card.notes.items() if name in NOTES_OF_CHANGES)
    list_notes(alpha_notes(bundle.card, alpha))
    return with_alpha(bundle, alpha)
