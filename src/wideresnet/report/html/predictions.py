"""Predictions as a notebook shows them: a thumbnail of the crop beside the bars of the probabilities."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wideresnet.records import Failure, Prediction
from wideresnet.report.html.overlay import encoded
from wideresnet.report.html.page import escape

SIDE = 96                                          # pixels of a thumbnail
_ROW = "display:flex;gap:12px;align-items:center;margin:4px 0"


def to_html(
    answers: Sequence[Prediction | Failure], crops: Sequence[NDArray[np.uint8] | Failure | None], count: int
) -> str:
    """Return inline HTML of the first ``answers`` of ``count``; ``crops``: RGB uint8 [S, S, 3], or None."""
    more = f"<p>… {count - len(answers):,} more</p>" if count > len(answers) else ""
    return "".join(map(_row, answers, crops)) + more


def _row(answer: Prediction | Failure, crop: NDArray[np.uint8] | Failure | None) -> str:
    if isinstance(answer, Failure):
        return "<br>".join(map(escape, filter(None, (f"{answer.path}: {answer.error}", answer.hint)))) + "<br>"
    return f'<div style="{_ROW}">{_thumbnail(crop)}{answer._repr_html_()}</div>'


def _thumbnail(crop: NDArray[np.uint8] | Failure | None) -> str:
    if not isinstance(crop, np.ndarray):
        return ""
    jpeg = base64.b64encode(encoded(Image.fromarray(crop).resize((SIDE, SIDE)), "JPEG")).decode()
    return f'<img width="{SIDE}" height="{SIDE}" alt="" src="data:image/jpeg;base64,{jpeg}">'
