"""The answer to one image, or why there is none, as text and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from wideresnet.records import Failure, Prediction
from wideresnet.report.escape import printable


def to_text(answer: Prediction | Failure, language: str = "en") -> str:
    """Return the path with its classes, likeliest first, on one line; of a failure the error, with its hint.

    Remarks on the image, and the name of its set, are in ``language``.
    """
    path = printable(answer.path)
    if isinstance(answer, Failure):
        return f"{path}: {printable(answer.error)}" + (f"\n  hint: {printable(answer.hint)}" if answer.hint else "")
    classes = (f"{printable(score.label)} {100 * score.probability:.1f} %" for score in answer.predictions)
    remark, members = answer.remark(language), printable(answer.set_text(language))
    # Answers are printed as they come, so that the widest name is not known yet.
    return f"{path:<24}  {' · '.join(filter(None, (remark, *classes)))}" + (f"  {members}" if members else "")


def to_json(answer: Prediction | Failure) -> dict[str, Any]:
    """Return ``{path, predictions: [{index, label, probability}, …]}``, or ``{path, error, hint}``.

    Answers of calibrated models also have ``p_known`` and ``unknown``, and ``set`` if sets were requested.
    """
    return {name: value for name, value in asdict(answer).items() if value is not None}
