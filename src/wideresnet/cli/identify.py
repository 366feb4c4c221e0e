"""``wrn identify``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wideresnet.cli.checks import check_unused
from wideresnet.cli.groups import FileOptions, with_groups
from wideresnet.cli.options import Format, InferenceDevice
from wideresnet.cli.output import list_notes, list_problems, open_data, print_record
from wideresnet.cli.progress import run_with_bar
from wideresnet.errors import ConfigError

IMAGES = 512


@with_groups
def identify(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A weights file.")],
    options: FileOptions,
    data: Annotated[
        Path | None, typer.Option(help="Labelled images: class folders, shards, a CIFAR archive, cifar10, cifar100.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Ordinary images of the right kind, without labels.")] = None,
    device: InferenceDevice = "cpu",
    format: Format = "table",
) -> None:
    """Infer the normalisation and variant of a network, which its weights file does not state, from images.

    The best convention is the one under which the network reproduces the statistics that its batch norms stored in
    training; with --data, the best one of the most accurate ones. At most 512 images are used. Exit code 1: one of them
    could not be read.

    Example: wrn identify checkpoint.pth.tar --data cifar10

    Example: wrn identify checkpoint.pth.tar --images photos/ --format json
    """
    import numpy as np

    from wideresnet.datasets.shards import check_inputs
    from wideresnet.report import identification
    from wideresnet.tasks.classify.sources import InputImages
    from wideresnet.tasks.identify.identify import identify as rank
    from wideresnet.tasks.load.check_statistics import sample_batch
    from wideresnet.tasks.load.weights_file import read_file

    if (data is None) == (images is None):
        raise ConfigError("give either labelled images or images", hint="--data cifar10, or --images FOLDER")
    check_unused(context, True, "where all of them are tried", "normalise", "activation", "shortcut")
    check_inputs([images] if images else [])
    model = read_file(file, options.facts())
    if data:
        labelled = open_data(data, model.labels)
        items, skipped, notes = list(labelled.items), labelled.skipped, labelled.notes
    else:
        inputs = InputImages([images or Path()])
        items, skipped, notes = list(inputs), inputs.skipped, ()
    batch = sample_batch(items, model.card.preprocess, IMAGES)
    list_notes(notes)
    list_problems((), batch.failures, skipped, data or images)
    labels = np.array([item.label for item in batch.items]) if data else None
    result = run_with_bar(rank(model, batch.pixels, labels), "identifying", "candidates")
    print_record(result, identification.to_json, identification.to_text, format)
    raise typer.Exit(1 if batch.failures else 0)
