"""The formats of scores of labelled images, one image a row or line, and their readers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wideresnet.errors import DataError, errors_as, os_errors_as
from wideresnet.output.row_format import PARQUET, RecordLayout, Row, TextFormat, csv_format, read_rows
from wideresnet.pipes import check_regular
from wideresnet.records import Failure, Labels, ModelCard, Scored
from wideresnet.report.escape import json_text
from wideresnet.unpickle import DAMAGE

TOP = 5                                            # classes of an answer that have columns
COLUMNS = {
    "path": str, "label": int, "rank": int, "masked_rank": int,
    **{f"answer{rank}": int for rank in range(1, TOP + 1)},
    **{f"probability{rank}": float for rank in range(1, TOP + 1)},
    "seconds": float, "error": str, "hint": str,
}  # fmt: skip
LOSSES = {"nll": float, "brier": float}          # columns of scores of all probabilities
CALIBRATED = {"p_known": float, "unknown": int}    # columns of calibrated models
CASCADE = {"passed_on": int}                       # of cascades
SETS = {"coverage": float, "set_size": int, "covered": int}        # and of their prediction sets
FURTHER: dict[str, Any] = LOSSES | CALIBRATED | SETS | CASCADE


def as_rows(answer: Scored | Failure) -> list[Row]:
    """Return one row by ``COLUMNS``; absent cells are empty."""
    if isinstance(answer, Failure):
        return [asdict(answer)]
    lists = zip(_LISTS, (answer.top, answer.probabilities), strict=True)
    cells = {f"{name}{rank}": value for name, values in lists for rank, value in enumerate(values, 1)}
    first = {"path": answer.path, "label": answer.label, "rank": answer.rank, "masked_rank": answer.masked_rank}
    return [{**first, **cells, "seconds": answer.seconds}]


_LISTS = ("answer", "probability")
METADATA = "wideresnet"                            # the key of the origin in Parquet


def as_json_line(answer: Scored | Failure, _number: int, origin: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return one JSON object on a line, with the fields of ``Scored`` or of ``Failure``, and those of ``origin``."""
    fields = {name: value for name, value in asdict(answer).items() if value is not None}
    return json_text({**fields, **origin}) + "\n"


TEXT_FORMATS = {"csv": csv_format(COLUMNS, as_rows), "jsonl": TextFormat("", as_json_line, "")}
FORMATS = (*TEXT_FORMATS, PARQUET)                 # also the suffixes of the files


def format_of(file: Path) -> str:
    """Return the format of a file of scores by its suffix. Raises DataError for an unknown one."""
    format = file.suffix.lower().removeprefix(".")
    if format not in FORMATS:
        names = ", ".join(f".{name}" for name in FORMATS)
        raise DataError(f"{file}: scores of images are kept as {names}", hint="end the name in one of them")
    return format


def read_scores(file: Path) -> Iterator[Scored | Failure]:
    """Yield the scores that 'wrn evaluate -o FILE' wrote, in order. Raises DataError for any other file."""
    check_regular(file, DataError, hint="write the scores to a file first")
    problem, hint = f"{file} holds no scores of images", "'wrn evaluate -o' writes them"
    # DAMAGE is also what pyarrow raises.
    with errors_as(DAMAGE, DataError, problem, hint), os_errors_as(DataError, f"cannot read {file}"):
        for row in read_rows(file, format_of(file), COLUMNS):
            yield score_of(row)


def score_of(row: Mapping[str, Any]) -> Scored | Failure:
    """Return the score in a row of such a file. Raises ValueError, KeyError or TypeError for any other row."""
    if row.get("error"):
        return Failure(row["path"], row["error"], row.get("hint") or "")
    top, probabilities = row.get("top"), row.get("probabilities")
    if top is None:                                # columns, not lists
        cells = ([row[f"{name}{rank}"] for rank in range(1, TOP + 1)] for name in _LISTS)
        top, probabilities = ([cell for cell in columns if cell not in ("", None)] for columns in cells)
    return Scored(
        path=row["path"],
        label=int(row["label"]),
        rank=int(row["rank"]),
        masked_rank=int(row["masked_rank"]),
        top=tuple(map(int, top)),
        probabilities=tuple(map(float, probabilities or ())),
        seconds=float(row["seconds"]),
        **{name: kind(row[name]) for name, kind in FURTHER.items() if row.get(name) not in ("", None)},
    )


SCORE_LAYOUT = RecordLayout(TEXT_FORMATS, COLUMNS, as_rows, score_of)


def score_layout(card: ModelCard, coverage: float = 0) -> RecordLayout:
    """Return the layout of the scores of a model, which has further columns if it is calibrated or a cascade."""
    calibrated = CALIBRATED | (SETS if coverage else {}) if card.uncertainty else {}
    columns = LOSSES | (CASCADE if card.cascade else {}) | calibrated

    def to_cells(answer: Scored | Failure) -> Row:
        cells = ((name, kind, getattr(answer, name, None)) for name, kind in columns.items())
        return {name: kind(value) for name, kind, value in cells if value is not None}

    return SCORE_LAYOUT.with_columns(columns, to_cells)


@dataclass(frozen=True)
class Origin:
    """The model, data set and classes of a file of scores, and the digest of its run, empty where they are not known.

    Parquet holds all of it, JSON lines all but the classes, and CSV nothing.
    """

    model: str = ""
    data: str = ""
    labels: Labels = field(default_factory=lambda: Labels(()))
    run: str = ""                                  # see ``RunIdentity.digest``

    def layout(self, scores: RecordLayout = SCORE_LAYOUT) -> RecordLayout:
        """Return the layout ``scores`` with this origin."""
        stated = {"model": self.model, "data": self.data, "run": self.run}
        lines = TextFormat("", partial(as_json_line, origin=stated), "")
        metadata = {METADATA: json_text(asdict(self))}
        return replace(scores, text_formats={**scores.text_formats, "jsonl": lines}, metadata=metadata)


def read_origin(file: Path) -> Origin:
    """Return the origin of a file of scores, as far as it is stated there."""
    values: Any = {}
    with suppress(*DAMAGE, OSError, ImportError):
        if format_of(file) == PARQUET:
            import pyarrow.parquet as pq

            values = json.loads((pq.read_schema(file).metadata or {})[METADATA.encode()])
        elif format_of(file) == "jsonl":
            with file.open(encoding="utf-8") as lines:
                values = json.loads(next(lines, "{}"))
        stored = values.get("labels", {"names": (), "ids": ()})
        labels = Labels(*(tuple(map(str, stored[key])) for key in ("names", "ids")))
        return Origin(str(values["model"]), str(values["data"]), labels, str(values.get("run", "")))
    return Origin()
