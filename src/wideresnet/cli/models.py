"""``wrn models``"""

from __future__ import annotations

from wideresnet.cli.options import Format
from wideresnet.cli.output import print_record


def models(format: Format = "table") -> None:
    """List every network: embedded, published and architectures to train.

    Accuracies are in percent; "by" names their publisher, or says that they were measured here. 'wrn info NAME' shows
    all facts about a model: exact numbers, transform and licence.

    Example: wrn models
    """
    from wideresnet.report import models as report
    from wideresnet.tasks.load.describe import list_models

    print_record(list_models(), lambda infos: list(map(report.to_json, infos)), report.to_table, format)
