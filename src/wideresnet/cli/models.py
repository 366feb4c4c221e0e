"""``wrn models``"""

from __future__ import annotations

from wideresnet.cli.options import Format
from wideresnet.cli.output import print_record


def models(format: Format = "table") -> None:
    """List every network: embedded, published and architectures to train.

    Accuracies are percent; "by" says who printed them, or that they were measured here. 'wrn info NAME' shows all of a
    model: exact numbers, transform and licence.

    Example: wrn models
    """
    from wideresnet.report import models as report
    from wideresnet.tasks.load.describe import list_models

    print_record(list_models(), lambda infos: list(map(report.to_json, infos)), report.to_table, format)
