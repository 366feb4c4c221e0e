"""``wrn models``"""

from __future__ import annotations

from wideresnet.cli.options import Format
from wideresnet.cli.output import print_json
from wideresnet.cli.streams import print_lines


def models(format: Format = "table") -> None:
    """List every network: embedded, published and architectures to train.

    Accuracies are percent; "by" says who printed them, or that they were measured here. 'wrn info NAME' shows all of a
    model: exact numbers, transform and licence.

    Example: wrn models
    """
    from wideresnet.report import models as report
    from wideresnet.tasks.load.describe import list_models

    infos = list_models()
    if format == "json":
        print_json([report.to_json(info) for info in infos])
    else:
        print_lines(report.to_table(infos))
