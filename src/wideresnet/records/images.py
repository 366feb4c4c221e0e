"""Images, their preprocessing, and the answers to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Literal, Protocol, TypeVar, get_args
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, check_choice

RGB = tuple[float, float, float]
Normalisation = tuple[RGB, RGB]                    # mean and standard deviation of RGB values in [0, 1]
Interpolation = Literal["bilinear", "bicubic", "opencv-bilinear"]
ResizeMode = Literal["shortest", "squash"]
Exif = Literal["ignore", "transpose"]
Alpha = Literal["drop", "white"]
Result = TypeVar("Result")

UNUSUAL = 0.05                                     # a p-value that text shows although the image is not unknown
REMARKS = {"en": ("unknown", "unusual", "set: ", ", "), "zh": ("未知", "罕见", "候选类别：", "、")}
MOST_PIXELS = 4096                                 # a side of a network's input
# Of RGB values in [0, 1]; the statistics every published ImageNet weight set here was trained with.
IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """The preprocessing that one set of weights expects.

    Resize (with Pillow's antialiased filter, or as OpenCV does, which reads four pixels for each), then cut the
    centre square. ``mean`` and ``std`` are of RGB values in [0, 1] and live inside the graph; no caller ever
    normalises.
    """

    resize: int                                    # pixels: shorter side, or both sides with "squash"
    crop: int                                      # side of the centre square, pixels
    interpolation: Interpolation = "bilinear"
    mode: ResizeMode = "shortest"                  # "shortest" keeps the aspect ratio
    mean: RGB = IMAGENET_MEAN
    std: RGB = IMAGENET_STD
    # Of transparent images: "drop" takes the colours as stored, as torchvision does; "white" lays them on white.
    alpha: Alpha = "drop"

    def __post_init__(self) -> None:
        for kind, value, choices in (
            ("interpolation", self.interpolation, Interpolation), ("resize mode", self.mode, ResizeMode),
            ("alpha", self.alpha, Alpha),
        ):  # fmt: skip
            check_choice(kind, value, get_args(choices))
        if not (1 <= self.crop <= MOST_PIXELS and 1 <= self.resize <= 4 * MOST_PIXELS):
            hint = f"a crop has 1 to {MOST_PIXELS:,} pixels a side, a resize four times as many at most"
            raise ConfigError(f"resize {self.resize} and crop {self.crop} pixels a side cannot be computed", hint)
        if not (all(0 <= value <= 1 for value in self.mean) and all(0 < value <= 1 for value in self.std)):
            raise ConfigError(
                f"a mean is from 0 to 1 and a standard deviation above 0, at most 1, got {self.mean} and {self.std}",
                hint="they are of RGB values from 0 to 1, such as mean 0.485 0.456 0.406 and std 0.229 0.224 0.225:"
                " divide those of values from 0 to 255 by 255",
            )

    def same_crop(self, spec: Preprocess) -> bool:
        """Return whether ``spec`` cuts the same pixels: mean and standard deviation are in the graph."""
        return replace(self, mean=spec.mean, std=spec.std) == spec

    def at(self, side: int) -> Preprocess:
        """Return the same fraction of an image at another resolution: ``side`` pixels (0: unchanged)."""
        return replace(self, resize=round(self.resize * side / self.crop), crop=side) if side else self


@dataclass(frozen=True)
class Labels:
    """The classes of a network by index. Names may repeat (ImageNet has two cranes); ids never do."""

    names: tuple[str, ...]
    ids: tuple[str, ...] = ()                      # WordNet ids for ImageNet; empty without ids

    @property
    def digest(self) -> str:
        """Text that differs between two lists of classes."""
        return f"{crc32(repr(self).encode()):08x}"


class EncodedImage(ABC):
    """An encoded image inside a larger file, such as a tar archive: read when its turn comes, from any thread."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Text that stands for its content without reading it, such as its size."""

    @abstractmethod
    def read(self, limit: int) -> bytes:
        """Return its bytes; of more than ``limit``, the first ``limit`` + 1. Raises ImageError."""


Source = Path | bytes | NDArray[np.uint8] | EncodedImage


@dataclass(frozen=True, eq=False)
class Item:
    """One image, with its class index if known.

    ``source`` is a file, encoded bytes, decoded RGB uint8 [H, W, 3], or an image inside a larger file; ``path`` names
    it in reports.
    """

    path: str
    source: Source
    label: int | None = None


class CropsByRow(Protocol):
    """The crops of N images, RGB uint8 [S, S, 3], as an array [N, S, S, 3] or made when a row is read."""

    @property
    def nbytes(self) -> int:
        """The bytes of all of them."""

    def __getitem__(self, row: int, /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive items of a run, in order: the readable ones as pixels, the others as failures.

    ``pixels`` is RGB uint8 [N, S, S, 3]; ``items`` are its N items. N may be 0 when all failed. ``failed``
    holds the indices of ``failures`` among all. ``known_scores`` [N]: of a calibrated network that has run. For a
    cascade ``member_crops`` are the other crops that its members need, by row; once it has run, ``members`` [N] are
    the indices of those that answered.
    """

    pixels: NDArray[np.uint8]
    items: tuple[Item, ...]
    failures: tuple[Failure, ...] = ()
    failed: tuple[int, ...] = ()
    known_scores: NDArray[np.float32] | None = None
    member_crops: tuple[CropsByRow, ...] = ()
    members: NDArray[np.int64] | None = None

    def in_order(self, results: Sequence[Result]) -> Iterator[Result | Failure]:
        """Yield the N ``results`` with the failures at their indices among them."""
        remaining, failures = iter(results), dict(zip(self.failed, self.failures, strict=True))
        for index in range(len(results) + len(failures)):
            yield failures[index] if index in failures else next(remaining)


@dataclass(frozen=True)
class LabelScore:
    """One class of an answer. ``probability`` is softmax over all classes, in [0, 1]."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The k likeliest classes of one image, likeliest first (ties: lower index first).

    Of a calibrated model also ``p_known``, the p-value of the image among those that the network knows, and whether it
    is so small that the image counts as ``unknown``; ``set`` are the labels of a prediction set, if one was requested.
    """

    path: str
    predictions: tuple[LabelScore, ...]
    set: tuple[str, ...] | None = None
    p_known: float | None = None
    unknown: bool | None = None

    def remark(self, language: str = "en") -> str:
        """Return "unknown" or "unusual" with the p-value in percent; an empty text for other images and models."""
        unknown, unusual, *_ = REMARKS[language]
        kind = unknown if self.unknown else unusual if (self.p_known or 1) < UNUSUAL else ""
        return f"{kind} ({100 * (self.p_known or 0):.2g} %)" if kind else ""

    def set_text(self, language: str = "en") -> str:
        """Return the labels of the set; an empty text without one."""
        *_, name, comma = REMARKS[language]
        return "" if self.set is None else name + comma.join(self.set)

    def __repr__(self) -> str:
        scores = [f"{score.label} {100 * score.probability:.1f} %" for score in self.predictions[:3]]
        parts = [*filter(None, [self.remark()]), *scores, *["…"][: len(self.predictions) > 3]]
        texts = filter(None, (" · ".join(parts), self.set_text()))
        return _printable(f"<Prediction {self.path}: {'  '.join(texts)}>")

    def _repr_html_(self) -> str:
        """Return the classes with bars of their probabilities, as a notebook shows them."""
        bar = '<div style="background:#47a;height:10px;width:{:.0f}px"></div>'
        row = f"<tr><td>{{}}</td><td>{bar}</td><td>{{:.1f}} %</td></tr>"
        pairs = ((escape(_printable(score.label)), score.probability) for score in self.predictions)
        rows = (row.format(label, 120 * probability, 100 * probability) for label, probability in pairs)
        lines = (self.path, self.remark(), self.set_text())
        caption = "<br>".join(escape(_printable(line)) for line in lines if line)
        return f'<table><caption style="text-align:left">{caption}</caption>{"".join(rows)}</table>'


@dataclass(frozen=True)
class Failure:
    """One image that could not be read: the run goes on, the report says so."""

    path: str
    error: str
    hint: str = ""


def _printable(text: str) -> str:
    """Return ``text`` with line breaks, control characters and lone surrogates as Python's ``repr`` writes them."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
