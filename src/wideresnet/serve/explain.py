"""Where a model finds its answer: its evidence, drawn over what it saw (``POST /v1/explain``)."""

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

from wideresnet.bundle.files import GRAPH
from wideresnet.engines import EngineOptions
from wideresnet.errors import ConfigError
from wideresnet.images.decode import Limits, open_image
from wideresnet.images.preprocess import crop_range, preprocess, resized_size
from wideresnet.records import ClassMap, Explanation, Labels, Preprocess
from wideresnet.report.html.overlay import draw_evidence, encoded
from wideresnet.serve.admission import Visit
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.worker import ModelWorker, Outcome, served_bundle
from wideresnet.tasks.classify.explain import Explainer, explain_crop, find_class, open_explainer

MAX_MAPS = 10                                      # of one request


@dataclass(frozen=True)
class Wanted:
    """Which maps: those of ``classes``, or else of the ``k`` likeliest; with names from ``labels``."""

    classes: tuple[int, ...]
    k: int
    labels: Labels


class Explainers:
    """The models once more, each with an engine that also gives its last map.

    That is a second compiled network, so that a model's is opened when it is first asked for, and closed with the
    model. One thread does it all, an image after the other: who explains shall not slow down who classifies.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings, self._limits = settings, Limits(settings.max_pixels, settings.max_bytes)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._open: WeakKeyDictionary[ModelWorker, Explainer] = WeakKeyDictionary()

    def submit(
        self, model: ModelWorker, data: bytes, wanted: Wanted, visit: Visit
    ) -> asyncio.Future[Outcome[dict[str, Any]]]:
        """The answer for one encoded image; it has its seat until the work has ended. The future never raises."""
        visit.seat(1)
        try:
            future = asyncio.get_running_loop().run_in_executor(self._thread, self._work, model, data, wanted, visit)
        except RuntimeError:                       # no thread can be started
            visit.unseat(1)
            raise
        future.add_done_callback(lambda _: visit.unseat(1))
        return asyncio.shield(future)              # who no longer waits cancels, and the work goes on

    def _work(self, model: ModelWorker, data: bytes, wanted: Wanted, visit: Visit) -> Outcome[dict[str, Any]]:
        began = time.perf_counter()
        if visit.gone:
            return Outcome(None, TimeoutError(), {})
        try:
            answer = self._explained(model, data, wanted)
        except BaseException as error:             # whatever it is, it is the end of one image only
            return Outcome(None, error if isinstance(error, Exception) else RuntimeError(repr(error)), {})
        return Outcome(answer, None, {"explain": time.perf_counter() - began})

    def _explained(self, model: ModelWorker, data: bytes, wanted: Wanted) -> dict[str, Any]:
        spec = model.classifier.card.preprocess
        image = open_image(data, exif="transpose", alpha=spec.alpha, limits=self._limits)
        crop, box = preprocess(image, spec), crop_box(image.size, spec)
        found = explain_crop(self._explainer(model), crop, wanted.classes, k=wanted.k)
        classes = [_class(found, each, wanted.labels) for each in found.maps]
        return {"side": spec.crop, "box": box, "crop": _url(Image.fromarray(crop), "PNG"), "classes": classes}

    def _explainer(self, model: ModelWorker) -> Explainer:
        if model not in self._open:
            bundle = served_bundle(model.source)
            if bundle.card.files[GRAPH] != model.identity["graph_sha256"]:
                raise ConfigError(f"{model.name} is another model on disk by now", hint="SIGHUP opens the models anew")
            options = EngineOptions(self._settings.precision, self._settings.threads)
            self._open[model] = open_explainer(bundle, self._settings.engine, options)
        return self._open[model]


def wanted_classes(names: Sequence[str], labels: Labels) -> tuple[int, ...]:
    """Indices of classes by index, id or name, each once. Raises ApiError for an unknown one, and for too many."""
    if len(names) > MAX_MAPS:
        words = f"at most {MAX_MAPS} classes are explained at once, got {len(names)}"
        raise ApiError("parameters", words, "send several requests")
    try:
        return tuple(dict.fromkeys(find_class(name, labels) for name in names))
    except ConfigError as error:
        raise ApiError("parameters", error.message, error.hint) from error


def crop_box(size: tuple[int, int], spec: Preprocess) -> list[float]:
    """Where the crop lies in an image of (width, height): left, top, right, bottom as shares of its sides.

    Below 0 and above 1 where the crop is padded.
    """
    spans = []
    for length in resized_size(*size, spec):
        kept = crop_range(length, spec.crop)
        start = kept.start - (spec.crop - len(kept)) // 2
        spans.append((start / length, (start + spec.crop) / length))
    (left, right), (top, bottom) = spans
    return [left, top, right, bottom]


def _class(explanation: Explanation, found: ClassMap, labels: Labels) -> dict[str, Any]:
    index = found.score.index
    return {
        "index": index,
        **({"id": labels.ids[index]} if labels.ids else {}),
        "label": labels.names[index],
        "probability": found.score.probability,
        "logit": found.logit,
        "bias": found.bias,
        "peak": list(found.peak),
        "overlay": _url(draw_evidence(explanation, found), "JPEG"),
    }


def _url(image: Image.Image, kind: Literal["PNG", "JPEG"]) -> str:
    """The image as a ``data:`` URL."""
    return f"data:image/{kind.lower()};base64,{base64.b64encode(encoded(image, kind)).decode('ascii')}"
