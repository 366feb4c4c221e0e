"""Answers of other programs as a source of an evaluation: a ``result.txt`` or a folder of arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wideresnet.datasets.labelled import LabelledData
from wideresnet.records import EvalReport, Labels
from wideresnet.tasks.evaluate.evaluate import AnswerSource, source_of_data
from wideresnet.tasks.zoo.outputs import score_outputs, score_results
from wideresnet.tasks.zoo.results import read_results


def source_of_results(
    file: Path, labels: Labels, labels_name: str, data: LabelledData | None
) -> tuple[AnswerSource, int]:
    """Return the scores of the answers in ``file``, and the number of lines that it holds twice.

    Without ``data`` the folder of each image is its class.
    """
    results = read_results(file)
    blank = _blank(file, str(file), data)
    blank = replace(blank, known=min(5, results.known, len(labels.names)))
    scores = score_results(results, labels, data)
    if data is None:
        source = AnswerSource(scores, blank, labels, len(results.answers), labels_name=labels_name)
    else:
        source = source_of_data(scores, blank, labels, data, labels_name)
    return source, results.doubled


def source_of_outputs(folder: Path, labels: Labels, labels_name: str, data: LabelledData) -> AnswerSource:
    """Return the scores of the arrays in ``folder``."""
    return source_of_data(score_outputs(folder, data), _blank(folder, data.name, data), labels, data, labels_name)


def _blank(answers: Path, name: str, data: LabelledData | None) -> EvalReport:
    blank = EvalReport(f"answers in {answers}", name, None, 0, 0, 0)
    return replace(blank, data=data.name, notes=data.notes, skipped=data.skipped) if data else blank
