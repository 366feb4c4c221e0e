"""The operations of a bulk job, on the functions of ``tasks`` that one machine runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from wideresnet.bundle import Bundle
from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.engines import EngineOptions
from wideresnet.engines.features import open_features
from wideresnet.output.answers import RowOf, answer_layout, with_uncertainty
from wideresnet.output.features import cast_features, features_schema, features_table
from wideresnet.output.parquet import arrow_schema, arrow_table
from wideresnet.output.row_format import RecordLayout
from wideresnet.output.scores import score_layout
from wideresnet.records import Embedding, EngineInfo, Failure, InferenceSettings, Item, Prediction, Preprocess, Scored
from wideresnet.tasks.classify.classify import classify
from wideresnet.tasks.classify.embed import Pool, embeddings, row_shapes
from wideresnet.tasks.evaluate.evaluate import score
from wideresnet.tasks.load.load import open_classifier

ImageResult = Prediction | Scored | Embedding | Failure
ArrowTable = Any                                   # pyarrow.Table, which is imported where it is needed


@dataclass(frozen=True)
class OpenOperation:
    """An operation with its model opened, for any number of shards."""

    engine: EngineInfo
    spec: Preprocess
    run: Callable[[Iterable[Item]], Iterator[ImageResult]]     # one result per item, in order
    to_table: Callable[[Sequence[ImageResult]], ArrowTable]


class Operation(Protocol):
    """A command with its settings: what decides the results besides the model and the images."""

    @property
    def settings(self) -> InferenceSettings:
        """The settings of inference; a worker has its own number of threads."""

    def identity(self) -> dict[str, object]:
        """Return everything that decides the results besides the model and the images."""

    def open(self, bundle: Bundle, threads: int) -> OpenOperation:
        """Open the model with an engine of ``threads`` threads. Raises WrnError."""


@dataclass(frozen=True)
class Classify:
    """The operation of ``wrn classify``."""

    settings: InferenceSettings
    k: int = 5
    row_of: RowOf = "class"

    def identity(self) -> dict[str, object]:
        """See ``Operation``."""
        rows = {"row of": self.row_of} if self.row_of != "class" else {}       # earlier versions had no choice
        return {**_identity(self.settings), "reduced": self.settings.reduced, "k": self.k, **rows}

    def open(self, bundle: Bundle, threads: int) -> OpenOperation:
        """See ``Operation``."""
        classifier = _open_classifier(bundle, self.settings, threads)
        run = partial(classify, classifier, settings=self.settings, k=self.k)
        layout = answer_layout(min(self.k, bundle.card.classes), self.row_of)
        layout = with_uncertainty(layout, bundle.card, self.settings.coverage)
        to_table = partial(_to_table, layout)
        return OpenOperation(classifier.engine.info, bundle.card.preprocess, run, to_table)


@dataclass(frozen=True)
class Evaluate:
    """The operation of ``wrn evaluate``. ``present``: the classes of the complete data set, ascending."""

    settings: InferenceSettings
    name: str                                      # of the data set
    present: tuple[int, ...]

    def identity(self) -> dict[str, object]:
        """See ``Operation``."""
        return {**_identity(self.settings), "name": self.name, "present": self.present}

    def open(self, bundle: Bundle, threads: int) -> OpenOperation:
        """See ``Operation``."""
        classifier = _open_classifier(bundle, self.settings, threads)
        classes = len(bundle.labels.names)
        # One item per class stands for the complete data set: ranks among its classes do not depend on the shard.
        complete = LabelledData(self.name, [Item("", b"", label) for label in self.present], classes)

        def run(items: Iterable[Item]) -> Iterator[Scored | Failure]:
            data = LabelledData(self.name, list(items), classes, parent=complete, exif=self.settings.exif)
            return score(classifier, data, self.settings.batch_size, coverage=self.settings.coverage)

        to_table = partial(_to_table, score_layout(bundle.card, self.settings.coverage))
        return OpenOperation(classifier.engine.info, bundle.card.preprocess, run, to_table)


@dataclass(frozen=True)
class Embed:
    """The operation of ``wrn embed``."""

    settings: InferenceSettings
    layers: tuple[str, ...]
    pool: Pool = "mean"
    dtype: str = "float32"

    def identity(self) -> dict[str, object]:
        """See ``Operation``."""
        return {**_identity(self.settings), "layers": self.layers, "pool": self.pool, "dtype": self.dtype}

    def open(self, bundle: Bundle, threads: int) -> OpenOperation:
        """See ``Operation``."""
        options = EngineOptions(self.settings.precision, threads, "throughput")
        features, spec = open_features(bundle, self.layers, self.settings.engine, options), bundle.card.preprocess
        run = partial(embeddings, features, spec, settings=self.settings, pool=self.pool)
        schema = features_schema(row_shapes(features, spec, self.pool), self.dtype)
        dtype = np.dtype(self.dtype)

        def to_table(results: Sequence[ImageResult]) -> ArrowTable:
            rows = [cast_features(result, dtype) for result in results if isinstance(result, Embedding)]
            return features_table(rows, schema)

        return OpenOperation(features.engine.info, spec, run, to_table)


def _open_classifier(bundle: Bundle, settings: InferenceSettings, threads: int) -> Classifier:
    return open_classifier(bundle, settings.engine, EngineOptions(settings.precision, threads, "throughput"))


def _identity(settings: InferenceSettings) -> dict[str, object]:
    """Return the settings that decide the results of every operation."""
    sets = {"coverage": settings.coverage} if settings.coverage else {}
    return {key: getattr(settings, key) for key in ("engine", "precision", "batch_size", "exif")} | sets


def _to_table(layout: RecordLayout, results: Sequence[ImageResult]) -> ArrowTable:
    return arrow_table((row for result in results for row in layout.to_rows(result)), arrow_schema(layout.columns))
