"""The answers to several images as Python callers get them: a list that a notebook shows, and a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wideresnet.output.answers import to_table
from wideresnet.records import Failure, Prediction

Answer = TypeVar("Answer", bound=Prediction | Failure)


class Predictions(list[Answer]):
    """A list of predictions (and failures), in the order of the images; notebooks show the first ``SHOWN`` of them.

    A list that was sorted or shortened shows every answer beside its own crop.
    """

    SHOWN = 20

    def __init__(self, answers: Iterable[Answer] = (), crops: Iterable[NDArray[np.uint8] | Failure] = ()) -> None:
        super().__init__(answers)
        self._pairs = list(zip(self, crops, strict=False))             # whatever the order of the list becomes

    @property
    def crops(self) -> list[NDArray[np.uint8] | Failure | None]:
        """The network's inputs to the answers that are shown, RGB uint8 [S, S, 3]; None where it was not kept."""
        crop_of = {id(answer): crop for answer, crop in self._pairs}
        return [crop_of.get(id(answer)) for answer in self[: self.SHOWN]]

    def to_table(self) -> Any:
        """Return a ``pyarrow.Table`` with a row for each class of each image; see ``wideresnet.to_table``."""
        return to_table(self)

    def _repr_html_(self) -> str:
        from wideresnet.report.html.predictions import to_html

        return to_html(self[: self.SHOWN], self.crops, len(self))
