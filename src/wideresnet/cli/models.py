"""``wrn models``"""

from __future__ import annotations

import typer

from wideresnet.cli.options import Format, TextOrJson
from wideresnet.cli.output import print_json


def models(format: Format = TextOrJson.table) -> None:
    """List every network: embedded, published and architectures to train.

    Accuracies are percent; "by" says who printed them, or that they were measured here.

    Example: wrn models
    """
    from wideresnet.report import document, text
    from wideresnet.tasks.describe import list_models

    infos = list_models()
    if format is TextOrJson.json:
        print_json([document.of_model(info) for info in infos])
    else:
        typer.echo(text.of_models(infos))
