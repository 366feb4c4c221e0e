"""A model ready to run: decode ∘ preprocess ∘ engine ∘ top_k on one screen."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, overload

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle
from wideresnet.datasets.inputs import ImageInput, ImageInputs, as_images, input_item, input_items
from wideresnet.engines import Engine, EngineOptions
from wideresnet.engines.base import check_batch
from wideresnet.engines.cascade import CascadeEngine
from wideresnet.engines.features import Features, open_features
from wideresnet.errors import ConfigError, ImageError, check_choice
from wideresnet.images.loader import load_batches, load_crop
from wideresnet.logits import top_k
from wideresnet.output.predictions import Predictions
from wideresnet.output.progress import with_bar
from wideresnet.prediction_sets import add_uncertainty, check_coverage
from wideresnet.records import Batch, Exif, Failure, Item, Labels, ModelCard, Prediction, Preprocess

if TYPE_CHECKING:
    from wideresnet.datasets.labelled import LabelledData
    from wideresnet.engines.base import OutputsEngine
    from wideresnet.records import CalibrateReport, EvalReport, Explanation

OnError = Literal["raise", "return"]


@dataclass(frozen=True, eq=False, repr=False)
class Classifier:
    """A model with its preprocessing, labels and engine; ``wideresnet.load`` opens one.

    Every method takes one image or any iterable of images, and preprocesses them as the model requires. An image is

    - a path, or a path to a folder or shards, which stands for the images in it (folders recursively, by name),
    - the bytes of an image file, or an open binary file,
    - a NumPy array or tensor, RGB uint8 [H, W, 3] in 0..255; uint8 [H, W] (grey), [H, W, 4] and [3, H, W] are taken
      too, floats and other types refused,
    - a Pillow image of any mode.

    An array uint8 [N, S, S, 3] is a batch of crops as ``preprocess`` returns them, and is not preprocessed again.

    ``bundle`` is the model as it was loaded; ``embed`` and ``explain`` read its graph.
    """

    card: ModelCard
    labels: Labels
    engine: Engine
    bundle: Bundle | None = None
    options: EngineOptions = field(default_factory=EngineOptions)
    _features: dict[tuple[str, ...], Features] = field(default_factory=dict, init=False)

    def __repr__(self) -> str:
        info, side = self.engine.info, self.card.preprocess.crop
        return (
            f"<Classifier {self.card.name}: RGB {side}x{side} -> {len(self.labels.names)} classes,"
            f" {info.runtime} {info.version}, {info.precision}, {info.threads} threads>"
        )

    @overload
    def classify(
        self, images: ImageInputs, k: int = ..., exif: Exif = ..., *, on_error: Literal["raise"] = ...,
        batch_size: int = ..., progress: bool = ..., coverage: float = ...,
    ) -> Predictions[Prediction]: ...  # fmt: skip
    @overload
    def classify(
        self, images: ImageInputs, k: int = ..., exif: Exif = ..., *, on_error: OnError, batch_size: int = ...,
        progress: bool = ..., coverage: float = ...,
    ) -> Predictions[Prediction | Failure]: ...  # fmt: skip
    def classify(
        self, images: ImageInputs, k: int = 5, exif: Exif = "transpose", *, on_error: OnError = "raise",
        batch_size: int = 8, progress: bool = False, coverage: float = 0,
    ) -> Predictions[Any]:  # fmt: skip
        """Return the ``k`` most probable classes of each image, in order: a list with ``to_table``.

        EXIF orientation is applied unless ``exif`` is "ignore". ``on_error`` "raise" raises ImageError at the first
        image that cannot be read; "return" puts a ``Failure`` into its place. ``batch_size`` images are computed at
        once. ``progress`` shows a bar on stderr. ``coverage``, such as 0.95, adds the prediction sets of a calibrated
        model, which hold the right class of this fraction of images. For more images than memory should hold answers
        of, see ``iter_classify``.
        """
        batches, crops = self._batches(images, exif, batch_size, on_error), list[NDArray[np.uint8] | Failure]()
        answers = self._answers(batches, k, coverage, crops)
        return Predictions(with_bar(answers, "classifying", count_of(images)) if progress else answers, crops)

    def iter_classify(
        self, images: ImageInputs, k: int = 5, exif: Exif = "transpose", *, on_error: OnError = "raise",
        batch_size: int = 8, progress: bool = False, coverage: float = 0,
    ) -> Iterator[Prediction | Failure]:  # fmt: skip
        """Yield the ``k`` most probable classes of each image, in order, for any number of images, even endless.

        A few batches are in memory: ``images`` is iterated as answers are taken. The arguments are those of
        ``classify``. Ending the loop early ends the threads that decode.
        """
        answers = self._answers(self._batches(images, exif, batch_size, on_error), k, coverage)
        return with_bar(answers, "classifying", count_of(images)) if progress else answers

    def logits(self, images: ImageInputs, exif: Exif = "transpose", *, batch_size: int = 8) -> NDArray[np.float32]:
        """Return the logits of N images: float32 [N, C]. See ``classify``; crops [N, S, S, 3] run as one batch.

        Raises ImageError at the first image that cannot be read.
        """
        if isinstance(images, np.ndarray) and images.ndim == 4:
            check_choice("way to treat EXIF", exif, get_args(Exif))
            return self.engine(images)
        rows = [logits for _, logits in self.stream(self._batches(images, exif, batch_size))]
        return np.concatenate(rows) if rows else np.empty((0, len(self.labels.names)), np.float32)

    def embed(
        self, images: ImageInputs, *, layers: Sequence[str] = ("features",), pool: Literal["none", "mean"] = "none",
        exif: Exif = "transpose", batch_size: int = 8,
    ) -> dict[str, NDArray[np.float32]]:  # fmt: skip
        """Return intermediate features by layer: float32 [N, C, H, W] or [N, C]; see ``wideresnet.embed``."""
        import wideresnet  # the public functions are in layers above this one (docs/decisions/0019)

        return wideresnet.embed(images, self, layers=layers, pool=pool, exif=exif, batch_size=batch_size)

    def explain(
        self, images: ImageInputs, *, k: int = 1, classes: Sequence[int | str] | int | str = (),
        exif: Exif = "transpose",
    ) -> list[Explanation]:  # fmt: skip
        """Return the class activation maps of each image, float32 [h, w] per class; see ``wideresnet.explain``."""
        import wideresnet

        return wideresnet.explain(images, self, k=k, classes=classes, exif=exif)

    def evaluate(
        self, data: LabelledData | Path | str, batch_size: int = 0, *, progress: bool = False, coverage: float = 0
    ) -> EvalReport:
        """Return top-1 and top-5 accuracy over labelled images; see ``wideresnet.evaluate``."""
        import wideresnet

        return wideresnet.evaluate(self, data, batch_size, progress=progress, coverage=coverage)

    def calibrate(
        self, data: LabelledData | Path | str, output: Path | str, *, test: LabelledData | Path | str | None = None,
        bank: Path | str | None = None,
    ) -> CalibrateReport:  # fmt: skip
        """Write this model calibrated on labelled images that it was not trained on; see ``wideresnet.calibrate``."""
        import wideresnet

        return wideresnet.calibrate(self, data, output, test=test, bank=bank)

    def preprocess(self, image: ImageInput, exif: Exif = "transpose") -> NDArray[np.uint8]:
        """Return the crop of one image that the network is given, of a cascade the first: RGB uint8 [S, S, 3]."""
        return input_crop(image, self.card.preprocess, exif)

    def stream(self, batches: Iterable[Batch]) -> Generator[tuple[Batch, NDArray[np.float32]], None, None]:
        """Yield each batch with its logits [N, C], in order; the next batches are read while the engine works.

        Of a calibrated model the batches have their ``known_scores``, of a cascade the ``members`` that answered.
        """
        waiting: deque[Batch] = deque()

        def read() -> Iterator[Batch]:
            for batch in batches:
                waiting.append(batch)
                yield batch

        if isinstance(self.engine, CascadeEngine):
            for logits, members in self.engine.answers((batch.pixels, *batch.member_crops) for batch in read()):
                yield replace(waiting.popleft(), members=members), logits
            return
        for logits, *scores in self._outputs(batch.pixels for batch in read()):
            yield _with_scores(waiting.popleft(), scores), logits

    def run(self, batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
        """Return one batch as ``stream`` does, divided among the streams of the engine."""
        if isinstance(self.engine, CascadeEngine):
            return next(self.stream([batch]))
        parts = np.array_split(batch.pixels, max(1, min(self.engine.info.streams, len(batch.pixels))))
        logits, *scores = map(np.concatenate, zip(*self._outputs(parts), strict=True))
        return _with_scores(batch, scores), logits

    def answer(self, batch: Batch, logits: NDArray[np.float32], k: int, coverage: float = 0) -> list[Prediction]:
        """Return the predictions for the N images of a batch from their logits [N, C]; see ``classify``."""
        answers = zip(batch.items, top_k(logits, self.labels, k), strict=True)
        predictions = [Prediction(item.path, answer) for item, answer in answers]
        if (model := self.card.uncertainty) is None:
            return predictions
        return add_uncertainty(predictions, batch, logits, self.labels, model, coverage)

    def features(self, layers: Sequence[str]) -> Features:
        """Return this model opened with further outputs, once per combination of ``layers``.

        Raises ConfigError for an unknown layer, and for a classifier that was not opened by ``wideresnet.load``.
        """
        key = tuple(dict.fromkeys(layers))
        if key not in self._features:
            if self.bundle is None:
                raise ConfigError("this classifier has no graph to read layers from", hint="open it with 'load'")
            self._features[key] = open_features(self.bundle, key, self.engine.info.runtime, self.options)
        return self._features[key]

    def _outputs(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.float32]]]:
        """Yield the logits of each batch, and of a calibrated model the known scores."""
        if self.card.uncertainty is None:
            return ([logits] for logits in self.engine.stream(batches))
        return cast("OutputsEngine", self.engine).outputs(batches)

    def _answers(
        self, batches: Generator[Batch, None, None], k: int, coverage: float,
        crops: list[NDArray[np.uint8] | Failure] | None = None,
    ) -> Iterator[Prediction | Failure]:  # fmt: skip
        """Yield the answers to all images of ``batches``; ``crops`` receives the first crops and failures."""
        check_coverage(self.card, coverage, str((self.bundle and self.bundle.folder) or ""))
        with closing(batches), closing(self.stream(batches)) as answered:
            for batch, logits in answered:
                if crops is not None and (room := Predictions.SHOWN - len(crops)) > 0:
                    crops += islice(batch.in_order([crop.copy() for crop in batch.pixels]), room)
                yield from batch.in_order(self.answer(batch, logits, k, coverage))

    def _batches(
        self, images: ImageInputs, exif: Exif, batch_size: int, on_error: OnError = "raise"
    ) -> Generator[Batch, None, None]:
        check_choice("way to treat errors", on_error, get_args(OnError))
        items, spec = crop_items(images, self.card.preprocess, exif)
        threads = self.engine.info.threads
        further = self.card.specs[1:]
        if further and spec is not self.card.preprocess:
            raise ConfigError(f"{self.card.name} is a cascade that takes several crops of an image", "give images")
        batches = load_batches(items, [spec, *further], batch_size=batch_size, threads=threads, exif=exif)
        return batches if on_error == "return" else readable(batches)


def _with_scores(batch: Batch, scores: Sequence[NDArray[np.float32]]) -> Batch:
    return replace(batch, known_scores=scores[0].ravel()) if scores else batch


def input_crop(image: ImageInput, spec: Preprocess, exif: Exif = "transpose") -> NDArray[np.uint8]:
    """Preprocess one image: RGB uint8 [S, S, 3]. Raises ImageError."""
    item = input_item(image, exif, spec.alpha)
    is_file = isinstance(image, str | Path) and isinstance(item.source, Path)    # no pipe, which was read by now
    return load_crop(image if is_file else item.source, spec, exif=exif)  # type: ignore[arg-type]


def crop_items(images: ImageInputs, spec: Preprocess, exif: Exif) -> tuple[Iterator[Item], Preprocess]:
    """Return images as items, with the preprocessing that they need: of crops uint8 [N, S, S, 3] none."""
    several = as_images(images)
    if isinstance(several, np.ndarray):
        check_batch(several, spec.crop)
        spec = replace(spec, resize=spec.crop, mode="squash")   # the identity for crops of this size
    return input_items(several, exif, spec.alpha), spec


def count_of(images: object) -> int | None:
    """Return the number of images in a list, for a progress bar; None where it is not known, as of a folder."""
    return len(images) if isinstance(images, list | tuple) and len(images) > 1 else None


def readable(batches: Generator[Batch, None, None]) -> Generator[Batch, None, None]:
    """Yield the batches. Raises ImageError at the first image that could not be read."""
    with closing(batches):
        for batch in batches:
            for failure in batch.failures:
                raise ImageError(f"{failure.path}: {failure.error}", failure.hint)
            yield batch
