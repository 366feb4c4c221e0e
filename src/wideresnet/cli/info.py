"""``wrn info``"""

from __future__ import annotations

from typing import Annotated

import typer

from wideresnet.cli.check_data import check_normalisation
from wideresnet.cli.complete import model_names
from wideresnet.cli.groups import FileOptions, with_groups
from wideresnet.cli.options import CheckImages, Format
from wideresnet.cli.output import print_record


@with_groups
def info(
    model: Annotated[
        str,
        typer.Argument(
            help="A name of 'wrn models', any WRN-N-K, a bundle, a weights file, or hf-hub:OWNER/NAME.",
            autocompletion=model_names,
        ),
    ],
    options: FileOptions,
    classes: Annotated[int | None, typer.Option(min=1, help="The number of classes of an architecture.")] = None,
    data: CheckImages = None,
    format: Format = "table",
) -> None:
    """Show a model's parameters, MACs, transform, labels, licence and accuracy; of a weights file what was found in it.

    Example: wrn info wide_resnet50_2.tv_in1k

    Example: wrn info WRN-28-10 --classes 100 --format json

    Example: wrn info checkpoint.pth.tar
    """
    from wideresnet.report import models as report
    from wideresnet.tasks.load.describe import describe
    from wideresnet.tasks.load.load import ModelChoice, load_bundle

    if data:
        check_normalisation(load_bundle(ModelChoice(model, facts=options.facts(headless=True))), data)
    print_record(describe(model, classes, options.facts()), report.to_json, report.to_text, format)
