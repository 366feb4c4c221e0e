"""What bulk work does with a shard's images: the same functions of ``tasks`` that one machine runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from wideresnet.bundle import Bundle
from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.engines import EngineOptions
from wideresnet.engines.features import open_features
from wideresnet.output.answers import ANSWERS
from wideresnet.output.features import cast_features, features_schema, features_table
from wideresnet.output.parquet_parts import schema_of, table_of
from wideresnet.output.row_format import Sheet
from wideresnet.output.scores import SCORES
from wideresnet.records import Embedding, EngineInfo, Exif, Failure, Item, Prediction, Preprocess, Scored
from wideresnet.tasks.classify.classify import classify
from wideresnet.tasks.classify.embed import Pool, embeddings, row_shapes
from wideresnet.tasks.evaluate.evaluate import score
from wideresnet.tasks.load.load import open_classifier

Answer = Prediction | Scored | Embedding | Failure
Table = Any                                        # pyarrow.Table


@dataclass(frozen=True)
class Running:
    """A model that was opened once, ready for many shards."""

    engine: EngineInfo
    spec: Preprocess
    answer: Callable[[Iterable[Item]], Iterator[Answer]]     # one for each item, in order
    table: Callable[[Sequence[Answer]], Table]


class Work(Protocol):
    """One verb with its settings: what decides the answers besides the model and the images."""

    @property
    def exif(self) -> Exif:
        """How photographs are turned."""
        ...

    @property
    def batch_size(self) -> int:
        """Images at a time."""
        ...

    def open(self, bundle: Bundle, threads: int) -> Running:
        """The model with an engine of so many threads. Raises WrnError."""
        ...


@dataclass(frozen=True)
class Classify:
    """The work of ``wrn classify``."""

    engine: str
    precision: Literal["f32", "bf16"]
    batch_size: int
    k: int = 5
    exif: Exif = "transpose"
    reduced: bool = False

    def open(self, bundle: Bundle, threads: int) -> Running:
        """See ``Work``."""
        classifier = _classifier(bundle, self.engine, self.precision, threads)
        answer = partial(
            classify, classifier, k=self.k, batch_size=self.batch_size, exif=self.exif, reduced=self.reduced
        )
        return Running(classifier.engine.info, bundle.card.preprocess, answer, partial(_sheet, ANSWERS))


@dataclass(frozen=True)
class Evaluate:
    """The work of ``wrn evaluate``. ``present``: the classes that the whole data set holds, ascending."""

    engine: str
    precision: Literal["f32", "bf16"]
    batch_size: int
    name: str                                      # of the data set
    present: tuple[int, ...]
    exif: Exif = "ignore"

    def open(self, bundle: Bundle, threads: int) -> Running:
        """See ``Work``."""
        classifier = _classifier(bundle, self.engine, self.precision, threads)
        classes = len(bundle.labels.names)
        # Of the whole only its classes count here: ranks among them do not depend on the shard.
        whole = LabelledData(self.name, [Item("", b"", label) for label in self.present], classes)

        def answer(items: Iterable[Item]) -> Iterator[Scored | Failure]:
            some = LabelledData(self.name, list(items), classes, parent=whole, exif=self.exif)
            return score(classifier, some, self.batch_size)

        return Running(classifier.engine.info, bundle.card.preprocess, answer, partial(_sheet, SCORES))


@dataclass(frozen=True)
class Embed:
    """The work of ``wrn embed``."""

    engine: str
    precision: Literal["f32", "bf16"]
    batch_size: int
    layers: tuple[str, ...]
    pool: Pool = "mean"
    dtype: str = "float32"
    exif: Exif = "transpose"

    def open(self, bundle: Bundle, threads: int) -> Running:
        """See ``Work``."""
        options = EngineOptions(self.precision, threads, "throughput")
        features, spec = open_features(bundle, self.layers, self.engine, options), bundle.card.preprocess
        answer = partial(
            embeddings, features, spec, pool=self.pool, batch_size=self.batch_size, exif=self.exif
        )
        schema = features_schema(row_shapes(features, spec, self.pool), self.dtype)
        dtype = np.dtype(self.dtype)

        def table(answers: Sequence[Answer]) -> Table:
            rows = [cast_features(each, dtype) for each in answers if isinstance(each, Embedding)]
            return features_table(rows, schema)

        return Running(features.engine.info, spec, answer, table)


def _classifier(bundle: Bundle, engine: str, precision: Literal["f32", "bf16"], threads: int) -> Classifier:
    return open_classifier(bundle, engine, EngineOptions(precision, threads, "throughput"))


def _sheet(sheet: Sheet, answers: Sequence[Answer]) -> Table:
    return table_of([row for answer in answers for row in sheet.rows(answer)], schema_of(sheet.columns))
