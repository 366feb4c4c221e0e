"""Class activation maps (Zhou et al., arXiv 1512.04150), computed by the graph that also classifies.

The networks here average their last map and put one linear layer on it. The two can change places:

    logit[k] = bias[k] + sum_c weight[k, c] · mean_xy map[c, y, x] = bias[k] + mean_xy sum_c weight[k, c] · map[c, y, x]

The inner sum is the evidence for class k at (y, x). Nothing is approximated and no gradient is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle, network_of
from wideresnet.classifier import Classifier, crop_items
from wideresnet.datasets.inputs import ImageInputs
from wideresnet.datasets.lookup import ClassLookup
from wideresnet.datasets.text import nfc
from wideresnet.engines import EngineOptions
from wideresnet.engines.features import Features, open_features
from wideresnet.errors import ConfigError, did_you_mean
from wideresnet.images.loader import load_batches
from wideresnet.logits import softmax, top_k
from wideresnet.records import DEFAULT_INFERENCE, Box, ClassMap, Explanation, InferenceSettings, ModelCard
from wideresnet.records.images import Alpha, Exif, Failure, Item, Labels, LabelScore
from wideresnet.tasks.classify.embed import open_layers, raise_failures
from wideresnet.tasks.load.load import bundle_of
from wideresnet.tasks.load.resolve import DEFAULT_MODEL

MAP = "map"


@dataclass(frozen=True, eq=False)
class Explainer:
    """A network whose engine also gives its last map, and the linear layer on it: ``weight`` [C, F], ``bias`` [C].

    ``stride``: see ``Explanation``.
    """

    card: ModelCard
    labels: Labels
    features: Features
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    stride: int


def explain(
    images: ImageInputs, model: Classifier | str | Path = DEFAULT_MODEL, *, k: int = 1,
    classes: Sequence[int | str] | int | str = (), engine: str | None = None, exif: Exif = "transpose",
    alpha: Alpha | None = None,
) -> list[Explanation]:  # fmt: skip
    """Return the class activation maps of each image, for its ``k`` most probable classes or for ``classes``.

    A map is float32 [h, w], the evidence for a class at each position; classes are given as in ``find_class``.
    ``images`` and crops: see ``Classifier``. ``model`` is an open classifier or a name as for ``load``; ``engine``
    (default openvino) and ``alpha``, see ``load``, are for a name. Raises ImageError at the first image that cannot be
    read.
    """
    names = np.atleast_1d(np.asarray(classes, object)).tolist()
    if names and k != 1:
        raise ConfigError("k has no effect beside classes", hint="leave out k")
    explainer = make_explainer(*open_layers(model, bundle_of(model), [MAP], engine, alpha))
    indices = [find_class(name, explainer.labels) for name in names]
    items, spec = crop_items(images, explainer.card.preprocess, exif)
    explainer = replace(explainer, card=replace(explainer.card, preprocess=spec))
    return list(raise_failures(explanations(explainer, items, InferenceSettings(exif=exif), classes=indices, k=k)))


def open_explainer(bundle: Bundle, engine: str = "openvino", options: EngineOptions | None = None) -> Explainer:
    """Open a bundle of any precision. Raises what ``open_features`` does."""
    return make_explainer(bundle, open_features(bundle, [MAP], engine, options))


def make_explainer(bundle: Bundle, features: Features) -> Explainer:
    """Return the explainer of a bundle that is open with its last map, ``features`` of [MAP].

    Raises ConfigError for a network that pools by the maximum.
    """
    from wideresnet.graph.outputs import read_classifier

    card, (weight, bias) = bundle.card, read_classifier(bundle.model)
    network = network_of(card)
    if network.pool != "avg":
        problem = f"{card.name} has no class activation maps: its pooling is {network.pool}, not a mean"
        raise ConfigError(problem, hint="explain a model with pool avg")
    *_, last = network.blocks()
    return Explainer(card, bundle.labels, features, weight, bias, last.reduction)


def explanations(
    explainer: Explainer, items: Iterable[Item], settings: InferenceSettings = DEFAULT_INFERENCE, *,
    classes: Sequence[int] = (), k: int = 1,
) -> Iterator[Explanation | Failure]:  # fmt: skip
    """Yield an explanation or a failure of each item, in order: of ``classes``, or of the ``k`` most probable ones."""
    spec, stride = explainer.card.preprocess, explainer.stride
    threads = explainer.features.engine.info.threads
    batches = load_batches(items, spec, batch_size=settings.batch_size, threads=threads, exif=settings.exif)
    for batch, outputs in explainer.features.stream_batches(batches):
        rows = zip(batch.items, batch.pixels, _explained(explainer, outputs, classes, k), strict=True)
        yield from batch.in_order([Explanation(item.path, crop, stride, maps) for item, crop, maps in rows])


def explain_crop(
    explainer: Explainer, crop: NDArray[np.uint8], classes: Sequence[int] = (), *, k: int = 1
) -> Explanation:
    """Explain one preprocessed image, RGB uint8 [S, S, 3]; the explanation has no path."""
    (maps,) = _explained(explainer, explainer.features(crop[None]), classes, k)
    return Explanation("", crop, explainer.stride, maps)


def find_class(name: int | str, labels: Labels) -> int:
    """Return the index of a class by its id, name, index (see ``ClassLookup``), or one of its comma-separated names.

    ``#3`` and the integer 3 are the index, also where classes are called by numbers. Raises ConfigError for an unknown
    class, and for a name that several classes have.
    """
    name, lookup = name if isinstance(name, str) else f"#{name}", ClassLookup(labels)
    if re.fullmatch("#[0-9]{1,9}", name) and int(name[1:]) < lookup.count:
        return int(name[1:])
    if (index := lookup.find(name)) is not None:
        return index
    key = nfc(name).strip().casefold()
    names = [[part.strip().casefold() for part in nfc(full).split(",")] for full in labels.names]
    matches = [index for index, synonyms in enumerate(names) if key in synonyms]
    if len(matches) > 1:
        sign, ids = "#" * lookup.numbered, labels.ids
        listed = ", ".join(f"{sign}{index}" + (f" ({ids[index]})" if ids else "") for index in matches[:5])
        raise ConfigError(f"{len(matches)} classes are called {name!r}", hint=f"name one by its index: {listed}")
    if not matches:
        hint = did_you_mean(key, [*labels.ids, *(synonym for synonyms in names for synonym in synonyms)])
        hint = hint or lookup.expected + (", or an index as #0" if lookup.numbered else "")
        raise ConfigError(f"no class called {name!r}", hint=hint)
    return matches[0]


def _explained(
    explainer: Explainer, outputs: Mapping[str, NDArray[np.float32]], classes: Sequence[int], k: int
) -> list[tuple[ClassMap, ...]]:
    """Return the maps of every image of a batch."""
    logits, features = outputs["logits"], outputs[MAP]
    scores = _scores(explainer, logits, classes, k)
    return [_maps(explainer, *row) for row in zip(logits, features, scores, strict=True)]


def _scores(
    explainer: Explainer, logits: NDArray[np.float32], classes: Sequence[int], k: int
) -> list[tuple[LabelScore, ...]]:
    likeliest = top_k(logits, explainer.labels, k)
    if not classes:
        return likeliest
    names = explainer.labels.names
    return [tuple(LabelScore(i, names[i], float(row[i])) for i in classes) for row in softmax(logits)]


def _maps(
    explainer: Explainer, logits: NDArray[np.float32], features: NDArray[np.float32], scores: Sequence[LabelScore]
) -> tuple[ClassMap, ...]:
    """Return the maps of the scored classes from logits [C] and last map [F, h, w] of one image.

    A ``MarginScale`` multiplies both sides by the factor of the image.
    """
    maps = np.tensordot(explainer.weight[[score.index for score in scores]], features, axes=1)
    scale = 1.0
    if (model := explainer.card.uncertainty) and model.margin:
        unscaled = explainer.weight @ features.mean((1, 2)) + explainer.bias
        scale = float(model.margin.factors(unscaled[None])[0])
    return tuple(
        ClassMap(
            score, float(logits[score.index]), scale * float(explainer.bias[score.index]), evidence,
            _peak(explainer, evidence),
        )
        for score, evidence in zip(scores, np.float32(scale) * maps, strict=True)
    )  # fmt: skip


def _peak(explainer: Explainer, evidence: NDArray[np.float32]) -> Box:
    """Return the square of one stride around the pixel with the strongest evidence, clipped to the crop."""
    stride, side = explainer.stride, explainer.card.preprocess.crop
    row, column = (int(index) * stride for index in np.unravel_index(evidence.argmax(), evidence.shape))
    half = stride // 2
    return max(0, column - half), max(0, row - half), min(side, column + half), min(side, row + half)
