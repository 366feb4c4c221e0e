"""Class activation maps, drawn over the network's crop (``POST /v1/explain``)."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

from PIL import Image

from wideresnet.engines import EngineOptions
from wideresnet.errors import ConfigError
from wideresnet.images.crops import ImageReader
from wideresnet.images.preprocess import crop_range, resized_size
from wideresnet.records import ClassMap, Explanation, Labels, Preprocess
from wideresnet.report.html.overlay import draw_evidence, encoded
from wideresnet.serve.admission import Permit
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.jobs import Outcome
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.worker import ModelWorker, describe_class
from wideresnet.tasks.classify.explain import Explainer, explain_crop, find_class, open_explainer
from wideresnet.tasks.load.load import ModelChoice, load_bundle

MAX_MAPS = 10                                      # per request


@dataclass(frozen=True)
class MapSelection:
    """The maps to draw: those of ``classes``, or of the ``k`` likeliest; with names from ``labels``."""

    classes: tuple[int, ...]
    k: int
    labels: Labels


class ExplanationWorker:
    """A thread that explains images, one at a time, with engines of its own.

    Maps need a network with an additional output. It is compiled at a model's first request and dropped with the
    model. A single thread, so that explanations do not slow down classification.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._explainers: WeakKeyDictionary[ModelWorker, Explainer] = WeakKeyDictionary()

    def submit(
        self, model: ModelWorker, data: bytes, selection: MapSelection, permit: Permit
    ) -> asyncio.Future[Outcome[dict[str, Any]]]:
        """Schedule one encoded image and return the future of its outcome, which never raises.

        The permit holds the image until its work has ended. Raises ApiError when the queue is full.
        """
        permit.set_aside(size := len(data) + 1)
        permit.acquire(1)
        loop = asyncio.get_running_loop()
        try:
            future = loop.run_in_executor(self._thread, self._run, model, data, selection, permit)
        except RuntimeError:                       # the system starts no more threads
            permit.release(1, size)
            raise
        future.add_done_callback(lambda _: permit.release(1, size))
        return asyncio.shield(future)              # a disconnect cancels the wait, not the work

    def _run(self, model: ModelWorker, data: bytes, selection: MapSelection, permit: Permit) -> Outcome[dict[str, Any]]:
        started = time.perf_counter()
        if permit.context.cancelled:
            return Outcome(None, TimeoutError(), {})
        try:
            result = self._explain(model, data, selection)
        except BaseException as error:             # even SystemExit ends this image only
            return Outcome(None, error if isinstance(error, Exception) else RuntimeError(repr(error)), {})
        return Outcome(result, None, {"explain": time.perf_counter() - started})

    def _explain(self, model: ModelWorker, data: bytes, selection: MapSelection) -> dict[str, Any]:
        spec = model.classifier.card.preprocess
        crops = ImageReader([spec], self._settings.limits).read_anywhere(data)
        crop, box = crops[0], crop_box(crops.size, spec)
        explanation = explain_crop(self._find_explainer(model), crop, selection.classes, k=selection.k)
        classes = [_class_document(explanation, class_map, selection.labels) for class_map in explanation.maps]
        return {"side": spec.crop, "box": box, "crop": _data_url(Image.fromarray(crop), "PNG"), "classes": classes}

    def _find_explainer(self, model: ModelWorker) -> Explainer:
        if model not in self._explainers:
            bundle = load_bundle(ModelChoice(model.source, facts=self._settings.facts))
            if bundle.sha256 != model.identity["graph_sha256"]:
                raise ConfigError(f"{model.name} has changed on disk", hint="send SIGHUP to reload the models")
            options = EngineOptions(self._settings.precision, self._settings.threads)
            self._explainers[model] = open_explainer(bundle, self._settings.engine, options)
        return self._explainers[model]


def parse_classes(names: Sequence[str], labels: Labels) -> tuple[int, ...]:
    """Return the distinct indices of classes, given as in ``find_class``.

    Raises ApiError for an unknown class, and for more than ``MAX_MAPS``.
    """
    if len(names) > MAX_MAPS:
        message = f"at most {MAX_MAPS} classes per request, got {len(names)}"
        raise ApiError("parameters", message, "send several requests")
    return tuple(dict.fromkeys(find_classes(names, labels)))


def find_classes(names: Sequence[str], labels: Labels) -> list[int]:
    """Return the indices of classes, given as in ``find_class``. Raises ApiError for an unknown class."""
    try:
        return [find_class(name.strip(), labels) for name in names]
    except ConfigError as error:
        raise ApiError("parameters", error.message, error.hint) from error


def crop_box(size: tuple[int, int], spec: Preprocess) -> list[float]:
    """Return left, top, right and bottom of the crop as fractions of an image of (width, height).

    They are below 0 and above 1 where the crop is padded.
    """
    spans = []
    for length in resized_size(*size, spec):
        pixels = crop_range(length, spec.crop)
        start = pixels.start - (spec.crop - len(pixels)) // 2
        spans.append((start / length, (start + spec.crop) / length))
    horizontal, vertical = spans
    return [horizontal[0], vertical[0], horizontal[1], vertical[1]]


def _class_document(explanation: Explanation, class_map: ClassMap, labels: Labels) -> dict[str, Any]:
    return {
        **describe_class(class_map.score, labels), "logit": class_map.logit, "bias": class_map.bias,
        "peak": list(class_map.peak), "overlay": _data_url(draw_evidence(explanation, class_map), "JPEG"),
    }  # fmt: skip


def _data_url(image: Image.Image, kind: Literal["PNG", "JPEG"]) -> str:
    """Return the image as a ``data:`` URL."""
    return f"data:image/{kind.lower()};base64,{base64.b64encode(encoded(image, kind)).decode('ascii')}"
